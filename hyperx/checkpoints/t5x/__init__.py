"""Checkpoints of t5x, read and written without it.

A legacy one is a directory with one msgpack file, ``checkpoint``, and a zarr array for
every parameter; a newer one is a directory that Orbax wrote. Both hold a tree
``target`` of parameters in float32 or bfloat16, and an optimizer's state, which is left
where it is.
"""
