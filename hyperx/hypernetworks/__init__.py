"""Conditioners (condition → code), generators (code → emission), and their union."""
