"""P3: what a template says apart from the data, as an instruction for a hypernetwork.

HINT (Ivison et al. 2023) reads prompts in which every piece of data is `[MASK]`, made
by hand. Here they are made of the template's own source: variables are bound to
placeholders, a loop over data is told once, and where the data decide between texts,
all of them are told with `/` between them.
"""

import functools
import random
import re
from collections.abc import Iterator
from typing import Any

import jinja2
from jinja2 import meta, nodes, visitor

from hyperx.data.p3 import promptsource

PLACEHOLDER = "[MASK]"

# Around the texts that data decide between, until they are joined.
_BEGIN, _OR, _END = "\ue001", "\ue002", "\ue003"
_ALTERNATIVES = re.compile(f"{_BEGIN}([^{_BEGIN}{_END}]*){_END}")
_PLACEHOLDERS = re.compile(rf"(?:{re.escape(PLACEHOLDER)})+", re.IGNORECASE)


@functools.cache
def of(template: promptsource.Template) -> str:
    """The instruction of a template.

    Raises:
      promptsource.MalformedTemplate: the template does not work on placeholders, or
        says nothing.
    """
    fixed = promptsource.fixed_choices(template)
    source = _ENVIRONMENT.parse(template.jinja)
    columns = meta.find_undeclared_variables(source) - _ENVIRONMENT.globals.keys()
    data: dict[str, Any] = {name: _Placeholder() for name in columns}
    data["_random"] = random.Random(template.configuration)
    if fixed is not None:
        data["answer_choices"] = list(fixed)
    try:
        told = _Alternatives(fixed is not None).visit(source)
        text = _ENVIRONMENT.from_string(told).render(data)
    except Exception as error:  # A template may run into any.
        raise promptsource.MalformedTemplate(
            f"{template.configuration}: expected a template that can be told without "
            f"data, got {type(error).__name__}: {error}"
        ) from error
    text = _tidy(_join(text).split(promptsource.SEPARATOR)[0])
    if not text:
        raise promptsource.MalformedTemplate(
            f"{template.configuration}: expected a template that says something, got "
            "nothing without data"
        )
    return text


def _join(text: str) -> str:
    """Resolves alternatives from the innermost outwards."""
    while text != (text := _ALTERNATIVES.sub(_joined, text)):
        pass
    return text


def _joined(match: re.Match[str]) -> str:
    """Alternatives that say something, up to the separator, which comes last."""
    texts = match[1].split(_OR)
    inputs = [text.split(promptsource.SEPARATOR)[0] for text in texts]
    distinct = {text.strip(): text for text in inputs if text.strip()}
    end = promptsource.SEPARATOR if promptsource.SEPARATOR in match[1] else ""
    return "/".join(distinct.values()) + end


def _tidy(text: str) -> str:
    text = _PLACEHOLDERS.sub(PLACEHOLDER, text)
    text = re.sub(r"[ \t]+", " ", text)
    text = re.sub(r" ?\n ?", "\n", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


class _Alternatives(visitor.NodeTransformer):
    """Puts all texts of a condition on the data one after the other, between signs."""

    def __init__(self, has_fixed_choices: bool):
        self._known = {"loop", *_ENVIRONMENT.globals}
        if has_fixed_choices:
            self._known.add("answer_choices")

    def visit_If(self, node: nodes.If) -> Any:
        branches = [node, *node.elif_]
        for branch in branches:
            branch.body = self._visit_all(branch.body)
        node.else_ = self._visit_all(node.else_)
        if all(self._is_known(branch.test) for branch in branches):
            return node
        told = [_text(_BEGIN)]
        for body in (*(branch.body for branch in branches), node.else_):
            told += [*body, _text(_OR)]
        return [*told, _text(_END)]

    def _visit_all(self, body: list[nodes.Node]) -> list[nodes.Node]:
        return [node for child in body for node in self.visit_list(child)]

    def _is_known(self, test: nodes.Expr) -> bool:
        template = nodes.Template([nodes.Output([test])], lineno=1)
        template.set_environment(_ENVIRONMENT)
        return meta.find_undeclared_variables(template) <= self._known


def _text(text: str) -> nodes.Output:
    return nodes.Output([nodes.TemplateData(text)])


class _Placeholder(str):
    """A piece of data that is not known; so is all that is made of it."""

    def __new__(cls) -> "_Placeholder":
        return super().__new__(cls, PLACEHOLDER)

    def __getattribute__(self, name: str) -> Any:
        return super().__getattribute__(name) if name.startswith("__") else self

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator["_Placeholder"]:
        return iter([self])

    def __index__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = str.__hash__


def _unknown(self: _Placeholder, *arguments: Any, **options: Any) -> _Placeholder:
    return self


_BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow")
for _name in (
    *(f"{side}{name}" for side in ("", "r") for name in _BINARY),
    *("call", "getitem", "lt", "le", "gt", "ge", "neg", "abs", "round"),
):
    setattr(_Placeholder, f"__{_name}__", _unknown)


class _Environment(jinja2.Environment):
    """Where what is picked by a placeholder is one."""

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(argument, _Placeholder):
            return argument
        return super().getitem(obj, argument)


_ENVIRONMENT = _Environment(undefined=jinja2.StrictUndefined)
_ENVIRONMENT.globals |= promptsource.ENVIRONMENT.globals
_ENVIRONMENT.filters |= promptsource.ENVIRONMENT.filters
