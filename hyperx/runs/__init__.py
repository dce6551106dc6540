"""What `hyperx` does on the command line, one linear story per module."""
