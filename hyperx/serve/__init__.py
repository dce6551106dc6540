"""Serving: an HTTP service over one model and a bank of task states.

`server` runs it, `app` has the routes, `service` is what they call. One thread, the
`worker`, owns the device: it takes rows from `waiting`, lays them out by `menu`, and
runs them on the `engine`.
"""
