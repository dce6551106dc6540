"""Planning: what a program needs of a TPU slice, compiled without one."""
