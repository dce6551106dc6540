"""Decoding: strategies, and the loop that runs them token by token."""

from hyperx.inference.decoding.requests import Requests
from hyperx.inference.decoding.running import Running
from hyperx.inference.decoding.strategies import Beam, Greedy, Sample, Shape, Strategy

__all__ = ["Beam", "Greedy", "Requests", "Running", "Sample", "Shape", "Strategy"]
