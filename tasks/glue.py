"""GLUE (Wang et al. 2019) as seqio tasks, in the formats of T5 and of HyperFormer.

glue_<data set>          cola, sst2, mrpc, qqp, stsb, mnli (validated on its matched
                         questions), mnli_mismatched (no training split), qnli, rte and
                         wnli: an answer is generated
glue_<data set>_ranked   the same, but choices are ranked
glue, glue_ranked        mixtures of all but wnli, by size

Importing this registers all of them with the defaults below; nothing is read before a
dataset is built. `register` registers anew, with another folder or format. The labels
of the split `test` are hidden: reading it is an error, but see `make_test`.
"""

import os

from hyperx.data import averages, vocabularies
from hyperx.data.glue import formats as glue_format
from hyperx.data.glue import glue
from hyperx.data.glue import metrics as glue_metrics
from hyperx.data.glue import tasks as glue_tasks

_of = glue_tasks.Member.of
_MATCHED = {
    "train": "train",
    "validation": "validation_matched",
    "test": "test_matched",
}
_MISMATCHED = {"validation": "validation_mismatched", "test": "test_mismatched"}
MEMBERS = (
    _of(glue.COLA, glue_metrics.matthews, "matthews"),
    _of(glue.SST2, glue_metrics.accuracy, "accuracy"),
    _of(glue.MRPC, glue_metrics.f1_accuracy, "mean"),
    _of(glue.QQP, glue_metrics.f1_accuracy, "mean"),
    _of(glue.STSB, glue_metrics.correlations, "mean"),
    _of(glue.MNLI, glue_metrics.accuracy, "accuracy", splits=_MATCHED),
    _of(
        glue.MNLI,
        glue_metrics.accuracy,
        "accuracy",
        name="glue_mnli_mismatched",
        splits=_MISMATCHED,
        weight=0,
    ),
    _of(glue.QNLI, glue_metrics.accuracy, "accuracy"),
    _of(glue.RTE, glue_metrics.accuracy, "accuracy"),
)
WNLI = _of(glue.WNLI, glue_metrics.accuracy, "accuracy")

BENCHMARKS: tuple[averages.Benchmark, ...] = ()


def register(
    directory: str | os.PathLike[str] | None = None,
    *,
    vocabulary: str = vocabularies.T5,
    condition: str = "name",
    targets: str = "words",
    name_in_inputs: bool = True,
    make_test: bool = False,
    temperature: float = 1.0,
    maximum: int | None = None,
    skip_malformed: bool = False,
) -> tuple[str, ...]:
    """Registers all tasks and both mixtures (again, if need be); returns the mixtures.

    Args:
      directory: holds the folder `glue`, see `hyperx.data.glue.records`; or `hf:`,
        which reads the Hugging Face hub; None takes the environment variable GLUE_DIR
        when data are read.
      vocabulary: name of the vocabulary of all features (`vocabularies.get`).
      condition: `name`, `description` or `inputs`, see `formats.Format`.
      targets: labels as `words` (T5) or `numbers` (HyperFormer, Hyperdecoders).
      name_in_inputs: whether inputs begin with the name of the data set.
      make_test: have a labelled split `test` as HyperFormer makes one, see
        `hyperx.data.glue.splits`; there is no glue_mnli_mismatched then.
      temperature: T of the mixtures, whose rates are sizes to the power of 1 / T.
      maximum: size beyond which a data set weighs no more.
      skip_malformed: leave malformed records out, logged, instead of raising.
    """
    global BENCHMARKS
    members = [m for m in MEMBERS if not make_test or "train" in m.splits]
    benchmarks = []
    for name, ranked in (("glue", False), ("glue_ranked", True)):
        family = glue_tasks.Family(
            directory=directory,
            vocabulary=vocabularies.get(vocabulary),
            form=glue_format.Format(
                condition=condition,
                targets=targets,
                name_in_inputs=name_in_inputs,
                ranked=ranked,
            ),
            make_test=make_test,
            skip_malformed=skip_malformed,
        )
        mixed = [member.ranked() if ranked else member for member in members]
        for member in (*mixed, WNLI.ranked() if ranked else WNLI):
            family.add(member)
        glue_tasks.mix(name, mixed, temperature=temperature, maximum=maximum)
        title = "GLUE, ranked" if ranked else "GLUE"
        benchmarks.append(glue_tasks.benchmark(name, mixed, title))
    BENCHMARKS = averages.register(benchmarks)
    return "glue", "glue_ranked"


def task_names() -> tuple[str, ...]:
    """The names of the eight data sets, as rows tell them in `task`."""
    return tuple(dict.fromkeys(member.data_set.task for member in MEMBERS))


register()
