"""P3 made anew: the rows of a data set, rendered with promptsource's templates.

Pure Python. NOTE: a rendered prompt equals that in P3 where its template draws nothing
at random and the data set has not changed; the number of an example is that of its row.
"""

import logging
import os
import pathlib
from collections.abc import Mapping, Sequence

from hyperx.data import ranking, records
from hyperx.data.p3 import lists as p3_lists
from hyperx.data.p3 import promptsource
from hyperx.data.p3 import rows as p3_rows

logger = logging.getLogger(__name__)


class Rendered:
    """The prompts of one data set, as `p3.Folder` has them of many.

    A template with answers to choose among gives two configurations, as in P3: one of
    that name, and `<...>_score_eval`.

    Args:
      dataset: its name, as promptsource has it.
      subset: its configuration, if it has several.
      files: by split, files of JSON lines or Parquet with the columns of the hub.
      templates: promptsource's folder of templates.
      seed: of what templates draw at random.

    Raises:
      FileNotFoundError: a file or the templates of the data set are missing.
    """

    def __init__(
        self,
        dataset: str,
        subset: str | None,
        files: Mapping[str, Sequence[str | os.PathLike[str]]],
        templates: str | os.PathLike[str],
        *,
        seed: int = 0,
    ):
        self._files = {
            split: [pathlib.Path(path).expanduser() for path in paths]
            for split, paths in files.items()
        }
        for path in (path for paths in self._files.values() for path in paths):
            if not path.is_file():
                raise FileNotFoundError(
                    f"expected rows of {dataset} at {path}, found nothing; save them "
                    "from the Hugging Face hub as JSON lines or Parquet"
                )
        self._seed = seed
        folder = pathlib.Path(templates).expanduser() / dataset / (subset or "")
        self._templates = {}
        for template in promptsource.read_file(folder / "templates.yaml"):
            self._templates[template.configuration] = template
            if template.answer_choices is not None:
                ranked = template.configuration + p3_lists.SCORE_EVAL
                self._templates[ranked] = template
        self.splits = dict.fromkeys(self._templates, tuple(self._files))

    def read(
        self, configuration: str, split: str, *, skip_malformed: bool = False
    ) -> tuple[p3_rows.Example, ...]:
        """Renders all rows of a split.

        Rows to which the template does not apply, or whose answer is not known, are
        left out, logged.

        Args:
          configuration: of `splits`.
          split: one of its splits.
          skip_malformed: leave malformed rows out, logged, instead of raising.

        Raises:
          ValueError: the template does not fit a row, or the target is none of its
            choices (`records.MalformedRecord`), or no row is left.
        """
        template = self._templates[configuration]
        is_ranked = configuration.endswith(p3_lists.SCORE_EVAL)
        count = 0

        def parse(row: records.Record, place: str) -> p3_rows.Example | None:
            nonlocal count
            count += 1
            return _render(template, row, place, count - 1, is_ranked, self._seed)

        read = records.read(self._files[split], parse, skip_malformed=skip_malformed)
        examples = tuple(example for example in read if example is not None)
        if not examples:
            raise ValueError(
                f"expected rows that {configuration} applies to in {self._files[split]}"
                f", got {count} to which it does not"
            )
        if len(examples) < count:
            left_out = count - len(examples)
            logger.info("%s, %s: left out %d rows", configuration, split, left_out)
        return examples


def _render(
    template: promptsource.Template,
    row: records.Record,
    place: str,
    number: int,
    is_ranked: bool,
    seed: int,
) -> p3_rows.Example | None:
    """The example made of a row; None if it renders to nothing."""
    try:
        rendered = promptsource.render(template, row, seed=f"{seed}/{number}")
    except promptsource.MalformedTemplate as error:
        raise records.MalformedRecord(f"{place}: {error}") from error
    if not rendered.input or not rendered.target:
        return None
    example = p3_rows.Example(
        id=str(number), inputs=rendered.input, targets=rendered.target
    )
    if not is_ranked:
        return example
    return _ranked(example, rendered.choices, place)


def _ranked(
    example: p3_rows.Example, choices: tuple[str, ...], place: str
) -> p3_rows.Example:
    if example.targets not in choices:
        raise records.MalformedRecord(
            f"{place}: expected a target among {choices}, got {example.targets!r}"
        )
    answer = choices.index(example.targets)
    ranking.check({"choices": choices, "answer": answer}, place)
    return p3_rows.Example(
        id=example.id,
        inputs=example.inputs,
        targets=example.targets,
        choices=choices,
        answer=answer,
    )
