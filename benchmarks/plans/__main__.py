"""What published methods need of TPU slices, by `hyperx plan`.

    python -m benchmarks.plans
    python -m benchmarks.plans --only='hint-xl-.*' --timeout=1200

Every plan is compiled in a process of its own, which takes minutes, and kept in
`out/plans`; what is there is not compiled again. Writes
`docs/results/plans.{md,json,png}` from all that is there.
"""

import argparse
import dataclasses
import json
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.plans import report

ROOT = pathlib.Path(__file__).parents[2]
PLANS = ROOT / "out" / "plans"
RESULTS = ROOT / "docs" / "results" / "plans"

# As models/hint_<size>.gin has it.
LENGTHS = {"condition": 1024, "inputs": 1024, "prompt": 1024, "targets": 256}
BATCH = ("BATCH_SIZE=1024", "ROWS=16", f"TASK_FEATURE_LENGTHS={LENGTHS}")

METHODS = {
    "hint": (),  # models/hint_<size>.gin
    "hyper_t5_prefix": ("methods/hyper_t5_prefix.gin",),
    "hyper_t5_lora": ("methods/hyper_t5_lora.gin",),
    "hyperdecoders": ("methods/hyperdecoders.gin",),
    # It knows tasks by name: those of GLUE.
    "hyperprompt": ("data/glue.gin", "methods/hyperprompt_global.gin"),
    "t5": ("methods/inputs_only.gin",),
}
# By size and generation: a slice, a mesh, parts of the batch.
SLICES = {
    "base": {
        "v4": ("4x4x4", "data=64", 1),
        "v5e": ("8x8", "data=64", 1),
        "v5p": ("2x2x4", "data=16", 1),
        "v6e": ("4x4", "data=16", 2),
    },
    "xl": {
        "v4": ("4x4x8", "data=32,model=4", 1),
        "v5e": ("8x16", "data=32,model=4", 1),
        "v5p": ("4x4x4", "data=16,model=4", 1),
        "v6e": ("8x16", "data=32,model=4", 1),
    },
    "xxl": {
        "v4": ("4x8x8", "data=16,fsdp=4,model=4", 1),
        "v5e": ("16x16", "data=4,fsdp=8,model=8", 2),
        "v5p": ("4x4x8", "data=32,model=4", 1),
        "v6e": ("16x16", "data=16,fsdp=4,model=4", 1),
    },
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """One plan.

    Attributes:
        name: of its file.
        flags: of `hyperx plan`.
    """

    name: str
    flags: tuple[str, ...]

    @property
    def path(self) -> pathlib.Path:
        return PLANS / f"{self.name}.json"

    def run(self, timeout: float) -> str:
        """Compiles it; returns what came of it, in a word or the error."""
        command = [sys.executable, "-m", "hyperx", "plan", "--json", *self.flags]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
                cwd=ROOT,
            )
        except subprocess.TimeoutExpired:
            return f"not done after {timeout:.0f} s"
        if not done.stdout:
            return done.stderr.strip()
        found = {"name": self.name, "flags": self.flags} | json.loads(done.stdout)
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(found, indent=2) + "\n")
        partial.replace(self.path)
        return "fits" if found["fits"] else "does not fit"


def plans() -> Iterator[Plan]:
    """All plans: every method, size and generation; then variations of HINT's."""
    for size, slices in SLICES.items():
        for method in METHODS:
            for generation in slices:
                yield _plan(method, size, generation)
    for rows in (1, 4):
        yield _plan("hint", "xl", "v4", f"rows{rows}", f"ROWS={rows}")
    yield _plan("hint", "xl", "v4", "parts2", "MICRO_BATCHES=2")
    for remat in ("dots", "none"):
        yield _plan("hint", "xl", "v5p", remat, f'REMAT="{remat}"')
    for size, slice_, mesh, *macros in (
        ("base", "v5e:2x2", "data=4"),
        ("xl", "v5e:2x2", "data=1,model=4"),
        ("xl", "v5e:2x2", "data=1,model=4", "EVAL_ROWS=8"),
        ("xxl", "v5e:4x4", "data=2,model=8"),
    ):
        label = "-".join(["decode", *(m.lower().replace("=", "") for m in macros)])
        yield _plan("hint", size, slice_, label, *macros, mesh=mesh)


def _plan(
    method: str, size: str, chips: str, label: str = "", *macros: str, mesh: str = ""
) -> Plan:
    """A plan on the slice that a size has of a generation, or on another one."""
    name, slice_, parts = chips.replace(":", "-"), chips, 1
    if not mesh:
        shape, mesh, parts = SLICES[size][chips]
        slice_ = f"{chips}:{shape}"
    settings = (*((f"MICRO_BATCHES={parts}",) if parts > 1 else ()), *macros)
    files = (f"models/hint_{size}.gin",)
    if method != "hint":
        files = ("runs/super_ni.gin", f"backbones/t5_1_1_{size}.gin", *METHODS[method])
        settings = (*BATCH, *settings)
    flags = (
        *(f"--gin_file={file}" for file in files),
        *(f"--gin.{setting}" for setting in settings),
        f"--topology={slice_}",
        f"--mesh={mesh}",
    )
    if label.startswith("decode"):
        flags = (*flags, "--decode")
    return Plan(name="-".join(filter(None, (method, size, name, label))), flags=flags)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="a regular expression of names")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds per plan")
    parser.add_argument("--list", action="store_true", help="print names and commands")
    args = parser.parse_args()
    chosen = [plan for plan in plans() if re.search(args.only, plan.name)]
    PLANS.mkdir(parents=True, exist_ok=True)
    for plan in chosen:
        if args.list:
            print(plan.name, *plan.flags)
        elif not plan.path.exists():
            print(f"{plan.name}: ", end="", flush=True)
            print(plan.run(args.timeout), flush=True)
    found = [json.loads(p.path.read_text()) for p in plans() if p.path.exists()]
    if found and not args.list:
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.with_suffix(".md").write_text(report.markdown(found))
        RESULTS.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
        report.picture(found, RESULTS.with_suffix(".png"))


if __name__ == "__main__":
    main()
