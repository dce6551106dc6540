"""Pure functions on arrays: all of hyperx's arithmetic, free of Flax modules."""
