"""MRQA 2019: files, windows, scores."""
