"""What compiling takes by number of layers, and the memory of what is compiled.

    python -m benchmarks.compile_time

A training step and greedy decoding of HINT on T5 v1.1 small with 2 to 24 layers in each
stack. Layers are scanned, as hyperx has them; for comparison the training step also
with all layers unrolled. (A decoding step has its layers one by one; there is no other
form of it.) Each program is compiled in a process of its own and again in another one,
which finds it in JAX's compilation cache. Nothing is run, and no parameters are made.
Writes `docs/results/compile_time.{md,json,png}`.
"""

import dataclasses
import multiprocessing
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from benchmarks import random_models, results
from benchmarks.compile_time import report
from benchmarks.compile_time.programs import DECODING, TRAINING, Job, compiled

LAYERS, QUICK_LAYERS = (2, 6, 12, 24), (1, 2)
SIZES = dict(groups=2, rows=4, condition=128, inputs=256, targets=64)
QUICK_SIZES = dict(groups=2, rows=2, condition=8, inputs=8, targets=8)


def main(argv: Sequence[str] | None = None) -> None:
    """Compiles everything twice and writes the report."""
    args = results.arguments(__doc__, argv)
    result = results.machine() | (QUICK_SIZES if args.quick else SIZES)
    rows = []
    for job in _jobs(quick=args.quick):
        with tempfile.TemporaryDirectory() as folder:
            cold, warm = (_in_a_process(job, folder) for _ in range(2))
        rows.append({"program": job.name, "layers": job.layers, **cold, "cached": warm})
        print(rows[-1], flush=True)
    path = args.output / "compile_time"
    result["programs"] = rows
    results.write(path, result, report.page(result))
    report.draw(rows, path)


def _jobs(*, quick: bool) -> Iterator[Job]:
    sizes = QUICK_SIZES if quick else SIZES
    for layers in QUICK_LAYERS if quick else LAYERS:
        backbone = dataclasses.replace(
            random_models.backbone(quick=quick),
            num_encoder_layers=layers,
            num_decoder_layers=layers,
        )
        config = random_models.hint(backbone)
        for program, unrolled in (
            (TRAINING, False),
            (TRAINING, True),
            (DECODING, False),
        ):
            yield Job(program=program, config=config, sizes=sizes, unrolled=unrolled)


def _in_a_process(job: Job, folder: str) -> dict[str, Any]:
    """`compiled` in a process that knows nothing of earlier ones."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(compiled, job, folder).result()


if __name__ == "__main__":
    main()
