"""Attention that keeps segments apart."""
