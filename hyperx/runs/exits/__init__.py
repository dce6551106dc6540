"""Exits: task states in formats that other runtimes read."""
