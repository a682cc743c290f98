"""Two losses for Anima: `focal` and `distill`."""
