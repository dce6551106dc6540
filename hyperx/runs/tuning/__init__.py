"""Tuning of one task state: data, the tuner, what is told of it."""
