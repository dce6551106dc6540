"""promptsource (Bach et al. 2022): its templates, and prompts rendered with them.

A folder `<data set>[/<subset>]/templates.yaml` for each data set holds templates: Jinja
for input and target, with `|||` between them, and for the answers to choose among.
Pure Python with PyYAML and Jinja.

NOTE: of the original, a column that is missing renders as nothing; here it is an error.
Its random `choice` is drawn anew each time; here it depends on a seed. Texts are not
cut to 2,048 signs.
"""

import dataclasses
import functools
import os
import pathlib
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jinja2
import yaml
from jinja2 import meta, sandbox

from hyperx.data import folders
from hyperx.data.p3 import lists as p3_lists

SEPARATOR = "|||"
HOW_TO_GET = (
    "clone the original with `git clone"
    " https://github.com/bigscience-workshop/promptsource` and give its folder"
    " `promptsource/templates` as `templates`"
)

# Stands for a separator within the data; no text has this sign of private use.
_PROTECTED = "\ue000"
_RANDOM = "_random"  # in the context of a template


class MalformedTemplate(ValueError):
    """A file or template that is not as promised; names both and the fault."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Template:
    """A prompt of a data set; `answer_choices` is Jinja, None if it is open-ended.

    `original_task` tells whether it asks what the data set was made for.
    """

    dataset: str
    subset: str | None
    name: str
    jinja: str
    answer_choices: str | None
    original_task: bool

    @property
    def configuration(self) -> str:
        """Its name in P3."""
        return p3_lists.configuration(self.dataset, self.subset, self.name)


class Rendered(NamedTuple):
    """A prompt; `choices` is None if it is open-ended."""

    input: str
    target: str
    choices: tuple[str, ...] | None


def read_file(path: str | os.PathLike[str]) -> tuple[Template, ...]:
    """The templates of one `templates.yaml`.

    Raises:
      FileNotFoundError: there is no such file.
      MalformedTemplate: it is no YAML, or lacks something.
    """
    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(
            f"expected templates at {path}, found nothing; {HOW_TO_GET}"
        )
    try:
        content = yaml.load(pathlib.Path(path).read_bytes(), _Loader)
        subset = content.get("subset")
        return tuple(
            Template(
                dataset=content["dataset"],
                subset=None if subset is None else str(subset),
                name=fields["name"],
                jinja=fields["jinja"],
                answer_choices=fields["answer_choices"],
                original_task=bool(fields["metadata"]["original_task"]),
            )
            for fields in content["templates"].values()
        )
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise MalformedTemplate(
            f"{path}: expected a data set and its templates in YAML, each with name, "
            f"jinja, answer_choices and metadata, got {type(error).__name__}: {error}"
        ) from error


@functools.cache
def read_folder(directory: str | os.PathLike[str]) -> Mapping[str, Template]:
    """All templates of a folder by their configuration in P3.

    Raises:
      FileNotFoundError: there are none.
      MalformedTemplate: of `read_file`.
    """
    paths = sorted(folders.local(directory).rglob("templates.yaml"))
    if not paths:
        raise FileNotFoundError(
            f"expected <data set>[/<subset>]/templates.yaml in {directory}, found none;"
            f" {HOW_TO_GET}"
        )
    return {t.configuration: t for path in paths for t in read_file(path)}


def render(template: Template, row: Mapping[str, Any], *, seed: str = "") -> Rendered:
    """A template filled with a row of its data set.

    Args:
      template: one of that data set.
      row: by column; `-` in names of columns is read as `_`.
      seed: together with the template, of what it draws at random.

    Returns:
      Stripped texts. They are empty, both, where a condition in the template says that
      it does not apply to the row; the target alone, where the answer is not known.

    Raises:
      MalformedTemplate: it names a column that the row lacks, fails otherwise, or does
        not render to an input and a target.
    """
    columns = {key.replace("-", "_"): _protect(value) for key, value in row.items()}
    columns[_RANDOM] = random.Random(f"{seed}/{template.configuration}")
    choices = None
    if template.answer_choices is not None:
        text = _fill(template, template.answer_choices, columns)
        choices = [choice.strip() for choice in text.split(SEPARATOR)]
    text = _fill(template, template.jinja, columns | {"answer_choices": choices})
    parts = [_restore(part) for part in text.split(SEPARATOR)]
    if parts == [""]:
        parts = ["", ""]
    if len(parts) != 2:
        raise MalformedTemplate(
            f"{template.configuration}: expected an input, {SEPARATOR} and a target, "
            f"got {len(parts)} parts: {text!r:.200}"
        )
    known = None if choices is None else tuple(_restore(choice) for choice in choices)
    return Rendered(*parts, known)


def fixed_choices(template: Template) -> tuple[str, ...] | None:
    """The answers to choose among, if they are the same for all rows."""
    jinja = template.answer_choices
    if jinja is None or meta.find_undeclared_variables(ENVIRONMENT.parse(jinja)):
        return None
    return tuple(c.strip() for c in _fill(template, jinja, {}).split(SEPARATOR))


def _fill(template: Template, jinja: str, columns: Mapping[str, Any]) -> str:
    try:
        return _compile(jinja).render(columns)
    except Exception as error:  # A template may run into any.
        raise MalformedTemplate(
            f"{template.configuration}: expected a template that fits the columns "
            f"{sorted(columns.keys() - {_RANDOM, 'answer_choices'})}, got "
            f"{type(error).__name__}: {error}"
        ) from error


@functools.lru_cache(maxsize=4096)
def _compile(jinja: str) -> jinja2.Template:
    return ENVIRONMENT.from_string(jinja)


def _protect(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace(SEPARATOR, _PROTECTED)
    if isinstance(value, list):
        return [_protect(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _protect(item) for key, item in value.items()}
    return value


def _restore(text: str) -> str:
    return text.strip().replace(_PROTECTED, SEPARATOR)


@jinja2.pass_context
def _choice(context: jinja2.runtime.Context, items: Sequence[Any]) -> Any:
    return context[_RANDOM].choice(items)


def _most_frequent(items: Sequence[Any]) -> list[Any]:
    counts = Counter(items)
    return [item for item in counts if counts[item] == max(counts.values())]


# Sandboxed: templates are code from elsewhere.
ENVIRONMENT = sandbox.SandboxedEnvironment(undefined=jinja2.StrictUndefined)
ENVIRONMENT.globals["zip"] = zip
ENVIRONMENT.filters |= {"choice": _choice, "most_frequent": _most_frequent}


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Plain data alone, and the two kinds of objects that the files hold."""


for _tag in ("!Template", "!TemplateMetadata"):
    _Loader.add_constructor(
        _tag, lambda loader, node: loader.construct_mapping(node, deep=True)
    )
