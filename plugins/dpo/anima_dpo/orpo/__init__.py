"""Odds Ratio Preference Optimisation: fine-tune and prefer in one go."""
