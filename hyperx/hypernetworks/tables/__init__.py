"""Weights that are parameters themselves, one set for all tasks or one for each."""
