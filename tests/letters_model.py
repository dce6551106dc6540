"""Tiny models that read letters, for tests of what keeps and serves task states."""

import jax
from conftest import initial_params

from hyperx import sharding
from hyperx.inference.predictor import Predictor

LENGTHS = {"condition": 24, "inputs": 12, "prompt": 24, "targets": 10}


class Letters:
    """A vocabulary of letters and spaces: a is 2, b is 3, and so on; space is 28."""

    def encode(self, text):
        if not all(letter == " " or "a" <= letter <= "z" for letter in text):
            raise ValueError(f"expected letters, got {text[:40]!a}")
        return [28 if letter == " " else ord(letter) - 95 for letter in text]

    def decode(self, ids):
        return "".join(
            " " if i == 28 else chr(i + 95) if i < 28 else "?" for i in ids if i > 1
        )


def predictor(config, seed=0):
    with sharding.use(sharding.make_mesh(1, 1, devices=jax.devices()[:1])):
        return Predictor(config, initial_params(config, seed), Letters(), LENGTHS)
