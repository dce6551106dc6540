"""Packaging: what an installation carries, wherever it is used from."""

import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]


def _run(*command, cwd):
    result = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built from a copy of the checkout, so that nothing is left in it."""
    folder = tmp_path_factory.mktemp("packaging")
    copy = folder / "checkout"
    copy.mkdir()
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("hyperx", "gin", "tasks"):
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    pip = ["-m", "pip", "--no-input", "--disable-pip-version-check", "wheel"]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "-w", folder]
    _run(*pip, *options, copy, cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


def test_a_wheel_carries_code_tasks_and_configs(wheel):
    def files(folder, pattern):
        paths = (ROOT / folder).rglob(pattern)
        return {path.relative_to(ROOT / folder).as_posix() for path in paths}

    expected = {
        *(f"hyperx/{name}" for name in files("hyperx", "*.py")),
        "hyperx/serve/page.html",
        *(f"hyperx/tasks/{name}" for name in files("tasks", "*.py")),
        *(f"hyperx/configs/{name}" for name in files("gin", "*.gin")),
    }
    packed = {
        name for name in zipfile.ZipFile(wheel).namelist() if "-info/" not in name
    }
    assert packed == expected
    assert not (ROOT / "gin" / "__init__.py").exists()  # It would shadow gin-config.


def test_the_wheel_describes_itself(wheel):
    archive = zipfile.ZipFile(wheel)
    (info,) = {name.split("/")[0] for name in archive.namelist() if "-info/" in name}
    metadata = archive.read(f"{info}/METADATA").decode()
    assert "License-Expression: Apache-2.0" in metadata
    assert "==" not in metadata.partition("\n\n")[0].replace('extra == "', "")
    entry_points = archive.read(f"{info}/entry_points.txt").decode()
    assert "hyperx = hyperx.cli:main" in entry_points


def test_an_installed_wheel_finds_its_configs_and_tasks(wheel, tmp_path):
    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)
    (name, *_) = sorted((ROOT / "gin" / "runs").glob("*.gin"))
    program = (
        "import importlib.util, sys\n"
        f"sys.path.insert(0, {str(installed)!r})\n"
        "from hyperx.runs import gin_files\n"
        f"assert str(gin_files.CONFIGS).startswith({str(installed)!r})\n"
        f"assert 'runs/{name.name}' in gin_files.listing('runs')\n"
        "assert importlib.util.find_spec('hyperx.tasks.toyworld').origin.startswith("
        f"{str(installed)!r})\n"
    )
    _run("-c", program, cwd=tmp_path)
