"""A model of letters, and examples for it: what the tests of tuning share."""

import jax
from conftest import initial_params

from hyperx import sharding
from hyperx.inference.predictor import Predictor

LENGTHS = {"condition": 12, "inputs": 10, "prompt": 20, "targets": 8}
ROWS = [
    {"input": left, "output": right}
    for left, right in (("abc", "cba"), ("de", "ed"), ("fgh", "hgf"), ("i", "iz"))
]


class Letters:
    """A vocabulary of letters: a is 2, b is 3, and so on."""

    def encode(self, text):
        if not all("a" <= letter <= "z" for letter in text):
            raise ValueError(f"expected letters, got {text!r}")
        return [ord(letter) - ord("a") + 2 for letter in text]

    def decode(self, ids):
        return "".join(chr(i - 2 + ord("a")) if i < 28 else "?" for i in ids)


def predictor(config, params=None):
    """A predictor with given parameters, or initial ones."""
    with sharding.use(sharding.make_mesh(1, 1, devices=jax.devices()[:1])):
        params = initial_params(config) if params is None else params
        return Predictor(config, params, Letters(), LENGTHS)
