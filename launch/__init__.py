"""Launching: one hyperx command on one machine, a pod, several pods, or GPU nodes.

`python -m launch --to=LAUNCHER ...` from a checkout turns a `launch.job.Job` into a
shell script of an existing launcher's commands and runs it; `--dry_run` prints it
instead. Each launcher is one module with a function ``plan``; see docs/launching.md.
"""
