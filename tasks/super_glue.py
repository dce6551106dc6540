"""SuperGLUE (Wang et al. 2019) as seqio tasks, in the format of T5.

super_glue_<data set>          boolq, cb, copa, multirc, record, rte, wic and wsc: an
                               answer is generated
super_glue_<data set>_ranked   the same, but choices are ranked
super_glue, super_glue_ranked  mixtures of all, by number of training rows

Importing this registers all of them with the defaults below; nothing is read before a
dataset is built. `register` registers anew, with another folder or format. The labels
of the split `test` are hidden: reading it is an error.

In T5's WSC the referent is named; where choices are ranked or labels are numbers, it is
said whether the marked words are the referent. ReCoRD is trained on once for each right
answer; T5 weighs both by their rows, 259 and 138,854.
"""

import os

from hyperx.data import averages, vocabularies
from hyperx.data.glue import formats as glue_format
from hyperx.data.glue import metrics as glue_metrics
from hyperx.data.glue import super_glue
from hyperx.data.glue import tasks as glue_tasks

_of = glue_tasks.Member.of
MEMBERS = (
    _of(super_glue.BOOLQ, glue_metrics.accuracy, "accuracy"),
    _of(super_glue.CB, glue_metrics.macro_f1_accuracy, "mean"),
    _of(super_glue.COPA, glue_metrics.accuracy, "accuracy"),
    _of(super_glue.MULTIRC, glue_metrics.multirc, "mean"),
    _of(super_glue.RECORD, glue_metrics.record, "mean"),
    _of(super_glue.RTE, glue_metrics.accuracy, "accuracy"),
    _of(super_glue.WIC, glue_metrics.accuracy, "accuracy"),
)
WSC = _of(super_glue.WSC, glue_metrics.accuracy, "accuracy")
WSC_REFERENT = _of(super_glue.WSC_REFERENT, glue_metrics.referents, "accuracy")

BENCHMARKS: tuple[averages.Benchmark, ...] = ()


def register(
    directory: str | os.PathLike[str] | None = None,
    *,
    vocabulary: str = vocabularies.T5,
    condition: str = "name",
    targets: str = "words",
    name_in_inputs: bool = True,
    temperature: float = 1.0,
    maximum: int | None = None,
    skip_malformed: bool = False,
) -> tuple[str, ...]:
    """Registers all tasks and both mixtures (again, if need be); returns the mixtures.

    Args:
      directory: holds the folder `super_glue`, see `hyperx.data.glue.records`; or
        `hf:`, which reads the Hugging Face hub; None takes the environment variable
        GLUE_DIR when data are read.
      vocabulary: name of the vocabulary of all features (`vocabularies.get`).
      condition: `name`, `description` or `inputs`, see `formats.Format`.
      targets: labels as `words` (T5) or `numbers`.
      name_in_inputs: whether inputs begin with the name of the data set.
      temperature: T of the mixtures, whose rates are sizes to the power of 1 / T.
      maximum: size beyond which a data set weighs no more.
      skip_malformed: leave malformed records out, logged, instead of raising.
    """
    global BENCHMARKS
    benchmarks = []
    for name, ranked in (("super_glue", False), ("super_glue_ranked", True)):
        family = glue_tasks.Family(
            directory=directory,
            vocabulary=vocabularies.get(vocabulary),
            form=glue_format.Format(
                condition=condition,
                targets=targets,
                name_in_inputs=name_in_inputs,
                ranked=ranked,
            ),
            skip_malformed=skip_malformed,
        )
        named = targets == "words" and not ranked
        members = (*MEMBERS, WSC_REFERENT if named else WSC)
        if ranked:
            members = tuple(member.ranked() for member in members)
        for member in members:
            family.add(member)
        glue_tasks.mix(name, members, temperature=temperature, maximum=maximum)
        title = "SuperGLUE, ranked" if ranked else "SuperGLUE"
        benchmarks.append(glue_tasks.benchmark(name, members, title))
    BENCHMARKS = averages.register(benchmarks)
    return "super_glue", "super_glue_ranked"


def task_names() -> tuple[str, ...]:
    """The names of the eight data sets, as rows tell them in `task`."""
    return tuple(member.data_set.task for member in (*MEMBERS, WSC))


register()
