"""Direct Preference Optimisation for Anima."""
