"""The T5 backbone: the only one, and without knowledge of any method."""
