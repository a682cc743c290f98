"""Simple Preference Optimisation: rewards are mean log-probs, with a margin between them."""
