"""The same T5 in hyperx and in transformers, and what both do with it."""

import dataclasses
import pathlib
import time
from collections.abc import Callable
from typing import Any

import transformers

from benchmarks import random_models
from hyperx.checkpoints.huggingface import writing
from hyperx.methods.plain import Plain
from hyperx.model import ModelConfig

OURS, THEIRS = "hyperx", "transformers"


@dataclasses.dataclass(frozen=True)
class Size:
    """Rows of a batch, and tokens of a row."""

    rows: int
    inputs: int
    targets: int


SIZE, QUICK_SIZE = Size(8, 256, 64), Size(2, 16, 8)


class Pair:
    """Plain T5 v1.1 with random weights, in float32 and without dropout.

    Attributes:
        quick: whether it is a tiny one.
        config: of our model.
        mesh: where our model is.
        params: of our model.
    """

    def __init__(self, folder: pathlib.Path, *, quick: bool) -> None:
        backbone = random_models.backbone(quick=quick)
        backbone = dataclasses.replace(backbone, remat="none")
        self.quick, self._folder = quick, folder / "t5"
        self.config = ModelConfig(backbone=backbone, method=Plain(reads="inputs"))
        self.mesh = random_models.one_device()
        self.params = random_models.parameters(self.config, self.mesh)
        writing.write(self._folder, backbone, self.params)

    def theirs(self) -> transformers.T5ForConditionalGeneration:
        """A model of transformers with the same weights."""
        return transformers.T5ForConditionalGeneration.from_pretrained(self._folder)


class Side:
    """What a library does.

    Attributes:
        processor: seconds of all cores together that it has taken, each time.
    """

    def __init__(self, run: Callable[[], Any]) -> None:
        self._run = run
        self.processor: list[float] = []

    def __call__(self) -> Any:
        start = time.process_time()
        result = self._run()
        self.processor.append(time.process_time() - start)
        return result


@dataclasses.dataclass(frozen=True)
class Part:
    """What is measured.

    Attributes:
        name: of it.
        sizes: in words.
        sides: by library; each returns numbers once they have been computed.
        same: whether such results are of the same computation.
        goal: which part of the speed of transformers hyperx has to have.
    """

    name: str
    sizes: str
    sides: dict[str, Side]
    same: Callable[[Any, Any], bool]
    goal: float
