"""What turns gradients into updates: optimizers, schedules, and what is frozen."""
