"""Evaluation jobs: many checkpoints, tasks and controls, and what is told of them."""
