"""What a configured call would lack, found before it is made.

Gin itself either checks the whole configuration, needed or not, or fails in mid-call.
"""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import gin

# Gin's name for what a macro is: a function whose scope is the macro's name.
MACRO = "gin.macro"


def bindings() -> dict[tuple[str, str], dict[str, Any]]:
    """Parameter values by scope and full name; gin has no public view of them."""
    return gin.config._CONFIG


def macros_read() -> set[str]:
    """The names of the macros that some binding reads."""
    references = gin.config.iterate_references(bindings())
    return {ref.config_key[0] for ref in references if ref.config_key[1] == MACRO}


def missing(function: Callable[..., Any], arguments: Iterable[str]) -> list[str]:
    """What a call of a configurable with `arguments` lacks, one sentence each."""
    selector = gin.config._inverse_lookup(function).selector
    provided = {*arguments, *gin.get_bindings(function, resolve_references=False)}
    unbound = [
        f"{function.__module__}.{function.__name__} needs a value for {name}"
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        and name not in provided
    ]
    return unbound + _unset(selector, set(arguments))


def _unset(selector: str, given: set[str]) -> list[str]:
    """Problems with the values that a call with `given` arguments would evaluate."""
    problems = []
    seen = set()
    pending = _uses(selector, skip=given)
    while pending:
        user, reference = pending.pop()
        scope, used = reference.config_key
        if used == "gin.constant" and scope == "gin.REQUIRED":
            problems.append(f"{user} is required: give --gin.{user}=VALUE")
        elif used == MACRO and reference.config_key not in bindings():
            problems.append(
                f"{user} reads {scope}, which has no value: give one by "
                f"--gin.{scope}=VALUE or by another --gin_file"
            )
        elif reference.config_key not in seen:
            seen.add(reference.config_key)
            pending += _uses(used, scope if used == MACRO else None)
    return sorted(set(problems))


def _uses(
    selector: str, scope: str | None = None, skip: Iterable[str] = ()
) -> list[tuple[str, Any]]:
    """The references in the bindings of `selector`, each with the name that uses it.

    A function may be called in any scope, so that all its bindings count; a macro is
    its scope.
    """
    short = gin.config._REGISTRY.minimal_selector(selector)
    return [
        (key[0] if selector == MACRO else f"{short}.{name}", reference)
        for key, values in bindings().items()
        if key[1] == selector and scope in (None, key[0])
        for name, value in values.items()
        if name not in skip
        for reference in gin.config.iterate_references(value)
    ]
