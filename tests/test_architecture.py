"""The architecture as a test: who may import whom, and what an import may cost."""

import ast
import graphlib
import pathlib
import subprocess
import sys

import hyperx

PACKAGE = pathlib.Path(hyperx.__file__).parent
ROOT = PACKAGE.parent

# Rooms from top to bottom: a module imports from its own room and from lower levels.
LEVELS = (
    {"cli", "t5x_plugin"},
    {"runs", "tasks", "serve"},
    {"data"},
    {"inference"},
    {"costs", "program"},
    {"objectives"},
    {"model"},
    {"methods"},
    {"hypernetworks"},
    {"backbone"},
    {"ops"},
    {"emission", "task_state"},
    {"adaptation"},
    {"optim"},
    {"checkpoints"},
    {"sharding"},
    {"axes", "config"},
)
LEVEL = {room: number for number, rooms in enumerate(LEVELS) for room in rooms}

# Beyond the order: what a room may import at all.
ONLY = {
    "data": {"data"},
    "tasks": {"data"},
    "optim": {"optim", "axes", "config"},
    "checkpoints": {"checkpoints", "sharding", "axes", "config"},
    "axes": set(),
    "config": set(),
} | dict.fromkeys(
    ("inference", "model", "methods", "hypernetworks", "backbone", "ops"),
    LEVEL.keys() - {"optim", "checkpoints"},
)
TENSORFLOW = {"tensorflow", "tensorflow_datasets", "seqio", "clu", "t5", "t5x"}


def modules():
    """Every module of hyperx, its top-level room, and its path."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] not in ("__init__", "__main__"):
            yield ".".join(parts), parts[0], path


MODULES = list(modules())


def imported(path):
    """Full names of what a module imports anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_all_rooms_are_known():
    assert {room for _, room, _ in MODULES} <= LEVEL.keys()


def test_imports_point_downwards():
    wrong = [
        f"{name} imports {full}"
        for name, room, path in MODULES
        for full in imported(path)
        if full.startswith("hyperx.") and not _allowed(room, full)
    ]
    assert wrong == []


def test_no_module_imports_itself_in_a_circle():
    names = {f"hyperx.{name}" for name, _, _ in MODULES}
    graph = {
        f"hyperx.{name}": {
            module
            for full in imported(path)
            for module in (full, full.rpartition(".")[0])
            if module in names
        }
        for name, _, path in MODULES
    }
    graphlib.TopologicalSorter(graph).prepare()  # Raises CycleError, with the circle.


def _allowed(room, full):
    target = full.split(".")[1]
    if room == "cli" and full == "hyperx.data.startup":
        return True
    if target == "data" and room not in ("runs", "tasks", "data", "t5x_plugin"):
        return False
    if target == room:
        return True
    return LEVEL[target] > LEVEL[room] and target in ONLY.get(room, LEVEL.keys())


def test_tensorflow_stays_in_its_rooms():
    found = {
        (name, full.split(".")[0])
        for name, room, path in MODULES
        for full in imported(path)
        if full.split(".")[0] in TENSORFLOW
        and room not in ("data", "tasks", "t5x_plugin")
    }
    # For TensorBoard, when a log is opened.
    assert found <= {("runs.metrics_log", "clu")}


def test_t5x_is_imported_in_one_place():
    found = {
        name
        for name, _, path in MODULES
        for full in imported(path)
        if full.split(".")[0] == "t5x"
    }
    assert found == {"t5x_plugin.library"}


def test_mesh_axes_are_named_in_one_place():
    for name, room, path in MODULES:
        if room in ("sharding", "data", "tasks", "runs", "cli"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        strings = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)}
        assert not strings & {"data", "fsdp", "model"}, (
            f"hyperx.{name} names a mesh axis"
        )


def test_files_stay_short():
    lengths = {
        path.relative_to(ROOT): len(path.read_text(encoding="utf-8").splitlines())
        for folder in ("hyperx", "tests", "tasks")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert {path: length for path, length in lengths.items() if length > 400} == {}


def run(program):
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_importing_hyperx_is_light():
    program = (
        "import sys, time\n"
        "import jax\n"
        "start = time.process_time()\n"
        "import hyperx\n"
        "print(time.process_time() - start)\n"
        "import hyperx.model, hyperx.inference.predictor, hyperx.optim.optimizers\n"
        "import hyperx.methods.hint, hyperx.checkpoints.store\n"
        f"heavy = {TENSORFLOW} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    assert float(run(program)) < 1.0
