"""The strategy `distill` for Anima."""
