"""Mixtures of tasks and mixtures that are registered elsewhere, put together in gin."""

from collections.abc import Mapping, Sequence

import seqio


def register(
    name: str, rates: Mapping[str, float], registered: Sequence[object] = ()
) -> tuple[str, ...]:
    """Registers a mixture (again, if need be); returns its name.

    Args:
      name: of the mixture.
      rates: how often each member is drawn in training, by its name, relative to the
        others. The tasks of a member that is a mixture share its rate as they do alone.
      registered: what a configuration registered on the way here.

    Raises:
      ValueError: a member is not registered, a rate is not positive, or two members
        have a task in common.
    """
    del registered
    if not rates or min(rates.values()) <= 0:
        raise ValueError(f"expected positive rates of {name!r}, got {dict(rates)}")
    shares: dict[str, float] = {}
    for member, rate in rates.items():
        own = _shares(name, member)
        common = sorted(own.keys() & shares.keys())
        if common:
            raise ValueError(
                f"expected members of {name!r} without common tasks, got {common[:5]} "
                f"({len(common)}) in {member!r} and another one"
            )
        shares |= {task: rate * share for task, share in own.items()}
    if name in seqio.MixtureRegistry.names():
        seqio.MixtureRegistry.remove(name)
    seqio.MixtureRegistry.add(name, list(shares.items()))
    return (name,)


def _shares(mixture: str, member: str) -> dict[str, float]:
    """The share of each task of a member; those that train have shares that sum to 1.

    A mixture within a mixture would give a share to tasks without a training split.
    """
    known = {*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()}
    if member not in known:
        raise ValueError(
            f"expected members of the mixture {mixture!r} that are registered, got "
            f"{member!r}; known so far are {sorted(known)}"
        )
    provider = seqio.get_mixture_or_task(member)
    tasks = seqio.get_subtasks(provider)
    mixed = isinstance(provider, seqio.Mixture)
    trained = {
        task.name: float(provider.get_rate(task)) if mixed else 1.0
        for task in tasks
        if "train" in task.splits
    }
    total = sum(trained.values())
    return {
        task.name: trained[task.name] / total if task.name in trained else 1.0
        for task in tasks
    }
