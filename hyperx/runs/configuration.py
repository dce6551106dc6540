"""Gin at the edge: files and bindings in, one configured call out.

Gin files begin with ``from __gin__ import dynamic_registration``, import the modules
whose functions they bind, and leave the public knobs to upper-case macros::

    from __gin__ import dynamic_registration
    from hyperx.runs import train
    TRAIN_STEPS = 1000
    MODEL_DIR = %gin.REQUIRED
    train.train.total_steps = %TRAIN_STEPS
    train.train.model_dir = %MODEL_DIR

    configuration.parse(["run.gin"], ['MODEL_DIR = "out"'])
    configuration.call("hyperx.runs.train.train")

Gin keeps one configuration per process; `parse` replaces it.
"""

import contextlib
import copy
import importlib
import inspect
import os
import re
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import gin
import jax
from etils import epath

from hyperx.runs import gin_checks, gin_files
from hyperx.runs.gin_files import PathLike

# The configuration that `write` leaves in a model's folder.
SAVED = "config.gin"
SAVED_OPERATIVE = "operative_config.gin"


class ConfigurationError(ValueError):
    """Something about gin files or bindings that their author can mend."""


def parse(
    files: Sequence[PathLike] = (),
    bindings: Sequence[str] = (),
    search_paths: Sequence[PathLike] = (),
    model_dir: PathLike | None = None,
) -> None:
    """Replaces the configuration of this process.

    Args:
        files: gin files; later ones override earlier ones. A name, also in an
            `include`, is a path, or relative to one of `search_paths` or to
            `hyperx/configs`. Without any, the configuration saved in the model's
            folder is read.
        bindings: ``NAME = value`` lines that override the files.
        search_paths: folders to look for files in.
        model_dir: the model's folder: the macro ``MODEL_DIR``, whatever else sets it.

    Raises:
        ConfigurationError: for a missing or malformed file, a name that nothing knows,
            or a macro in `bindings` that neither a file nor another binding uses.
    """
    if model_dir is None:
        model_dir = _model_dir(bindings)
    gin.clear_config()
    with gin_files.reader(search_paths):
        for file in files or [_saved(model_dir)]:
            with _file_errors(file):
                gin.parse_config_file(os.fspath(file))
    defined = {
        scope
        for scope, selector in gin_checks.bindings()
        if selector == gin_checks.MACRO
    }
    for binding in bindings:
        with _binding_errors(binding):
            gin.parse_config(binding)
    _check_macros(bindings, defined)
    if model_dir is not None:
        gin.bind_parameter("MODEL_DIR/gin.macro.value", os.fspath(model_dir))


def call(name: str, **arguments: Any) -> Any:
    """Calls a function with the parameters that the configuration binds to it.

    Args:
        name: the full name of the function, such as ``hyperx.runs.train.train``.
        **arguments: parameters that take precedence over bound ones.

    Returns:
        What the function returns.

    Raises:
        ConfigurationError: if a required parameter or a macro that the call depends on
            has no value. Macros that it does not depend on may be unset.
    """
    module_name, function_name = name.rsplit(".", 1)
    function = getattr(importlib.import_module(module_name), function_name)
    try:
        configured = gin.get_configurable(function)
    except ValueError:  # No gin file mentions it, which is fine.
        configured = gin.external_configurable(function, module=module_name)
    if problems := gin_checks.missing(function, arguments):
        raise ConfigurationError("; ".join(problems))
    return configured(**arguments)


def macro(name: str) -> Any:
    """The value that the configuration gives to a macro; None without one."""
    bound = gin_checks.bindings().get((name, gin_checks.MACRO), {})
    value = copy.deepcopy(bound.get("value"))  # Evaluates references, says gin.
    return None if value is gin.REQUIRED else value


def write(model_dir: PathLike) -> None:
    """Saves the configuration in a model's folder, for `parse` to read again.

    ``config.gin`` holds everything that is bound; ``operative_config.gin`` what has
    been used so far, defaults included. Of a job with several processes the first one
    writes.
    """
    if jax.process_index():
        return
    folder = epath.Path(model_dir)
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / SAVED, gin.config_str(max_line_length=88))
    _replace(folder / SAVED_OPERATIVE, gin.operative_config_str(max_line_length=88))


def _replace(path: epath.Path, text: str) -> None:
    """Writes a file whole or not at all, whenever the process is killed."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _model_dir(bindings: Iterable[str]) -> str | None:
    """The text that `bindings` give to the macro MODEL_DIR."""
    for binding in bindings:
        name, _, value = binding.partition("=")
        if name.strip() == "MODEL_DIR":
            with _binding_errors(binding):
                parsed = gin.config.parse_value(value.strip())
                return parsed if isinstance(parsed, str) else None
    return None


def _saved(model_dir: PathLike | None) -> epath.Path:
    if model_dir is None:
        raise ConfigurationError(
            "expected --gin_file=FILE.gin or the folder of a trained model "
            "(--model_dir=DIR), got neither"
        )
    path = epath.Path(model_dir) / SAVED
    if not path.is_file():
        raise ConfigurationError(
            f"expected --gin_file=FILE.gin or a trained model, got {model_dir}, "
            f"which holds no {SAVED}"
        )
    return path


@contextlib.contextmanager
def _file_errors(file: PathLike) -> Iterator[None]:
    """Turns whatever gin, or a module it imports, raises into `ConfigurationError`."""
    try:
        yield
    except Exception as error:
        # The first line says what is wrong, the next ones where.
        problem, newline, place = str(error).partition("\n")
        message = f"{file}: {_with_suggestion(problem)}{newline}{place}"
        raise ConfigurationError(message) from error


@contextlib.contextmanager
def _binding_errors(binding: str) -> Iterator[None]:
    """As `_file_errors`, for a binding of the command line."""
    try:
        yield
    except (SyntaxError, tokenize.TokenError) as error:
        raise ConfigurationError(
            "expected NAME=VALUE, the value a Python literal with quotes around text: "
            f"--gin.NAME='\"text\"', got {binding}"
        ) from error
    except Exception as error:
        problem = str(error).partition("\n")[0]
        message = f"{binding}: {_with_suggestion(problem)}"
        raise ConfigurationError(message) from error


def _with_suggestion(problem: str) -> str:
    """Adds what gin leaves out of a message about an unknown name: the known ones."""
    registry = gin.config._REGISTRY
    if match := re.search(r"No configurable matching '(.+?)'", problem):
        bound = {
            selector
            for _, selector in gin_checks.bindings()
            if selector != gin_checks.MACRO
        }
        known = map(registry.minimal_selector, bound)
        return problem.rstrip(".") + gin_files.did_you_mean(match[1], known)
    match = re.search(r"'(.+)' doesn't have a parameter named '(.+)'", problem)
    if match and (configurable := registry.get_match(match[1])):
        known = inspect.signature(configurable.wrapped).parameters
        return problem.rstrip(".") + gin_files.did_you_mean(match[2], known)
    return problem


def _check_macros(bindings: Iterable[str], defined: set[str]) -> None:
    """Raises unless files define, or something reads, each macro in `bindings`."""
    known = defined | gin_checks.macros_read()
    for binding in bindings:
        name = binding.partition("=")[0].strip()
        if "." not in name and name not in known:
            raise ConfigurationError(
                f"expected a macro of the gin files, got {name}"
                f"{gin_files.did_you_mean(name, known)}"
            )
