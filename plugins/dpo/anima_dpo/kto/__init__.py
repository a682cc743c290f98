"""Kahneman-Tversky Optimisation: single answers, each a good one or a bad one."""
