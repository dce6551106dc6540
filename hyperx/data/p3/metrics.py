"""P3: what is reported of held-out data sets, each asked by several templates."""

import functools
from collections.abc import Callable, Mapping

import numpy as np

from hyperx.data import averages
from hyperx.data.p3 import lists as p3_lists

_OF_TEMPLATES = {
    "": np.median,
    "/mean": np.mean,
    "/min": np.min,
    "/q1": functools.partial(np.quantile, q=0.25),
    "/q3": functools.partial(np.quantile, q=0.75),
    "/max": np.max,
}


def over_templates(
    values: Mapping[str, float], dataset_of: Callable[[str], str] = p3_lists.group_of
) -> dict[str, float]:
    """Median and spread over the templates of each data set, and means of data sets.

    Args:
      values: by name of a configuration.
      dataset_of: such a name to the data set it is of.

    Returns:
      `<data set>`, its median, as T0 reports it (Sanh et al. 2022), and
      `<data set>/mean`, `/min`, `/q1` (the lower quartile), `/q3`, `/max`; `mean`, over
      data sets, of their medians, and `mean_of_means`, of their means, as HINT
      (Ivison et al. 2023) has it.
    """
    figures, means = {}, {}
    for suffix, of in _OF_TEMPLATES.items():
        of_sets = averages.over_groups(values, dataset_of, of)
        means[suffix] = of_sets.pop("mean")
        figures |= {name + suffix: value for name, value in of_sets.items()}
    return figures | {"mean": means[""], "mean_of_means": means["/mean"]}
