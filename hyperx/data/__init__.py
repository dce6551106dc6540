"""Sources, formats, grouping and metrics: all of hyperx that imports TensorFlow."""
