"""Strategies: what is offered, what is selected, who answers each slot."""
