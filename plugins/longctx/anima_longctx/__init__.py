"""Strategies for Anima."""
