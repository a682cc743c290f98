"""The strategy `focal` for Anima."""
