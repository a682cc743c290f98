"""Checks that any strategy can be put to."""
