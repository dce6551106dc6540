"""Toyworld: instructions made from a seed, and what follows them."""
