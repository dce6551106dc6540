"""Joining: states of single conditions laid out alike, and put side by side.

What is joined has the same shapes, dtypes and placement as everything else that was
joined: one program per number of conditions and length of their memories, whatever the
tasks are.
"""

from collections.abc import Sequence

import jax
from jax.sharding import Mesh

from hyperx import sharding, task_state
from hyperx.adaptation import Memory
from hyperx.inference import buckets
from hyperx.task_state import TaskState


def placed(state: TaskState, mesh: Mesh) -> TaskState:
    """The same arrays where their axes declare; not copied if they are there."""
    places = sharding.declared(state, state.axes(), mesh)
    return jax.device_put(state, jax.tree.map(lambda leaf: leaf.sharding, places))


def joined(states: Sequence[TaskState], mesh: Mesh) -> TaskState:
    """Several states side by side; a single one as it is.

    Args:
        states: of one condition each, all of one model.
        mesh: where they lie.

    Returns:
        A state of as many groups as the next power of two that the mesh can hold, the
        last one repeated, and with a memory as long as the longest.
    """
    if len(states) == 1:
        return states[0]
    groups = buckets.groups(len(states), sharding.group_parts(mesh))
    states = [*states, *states[-1:] * (groups - len(states))]
    longest = max(map(memory_length, states))
    with sharding.use(mesh):
        fitting = tuple(with_memory_length(state, longest, mesh) for state in states)
        return placed(_join(fitting), mesh)


def memory_length(state: TaskState) -> int:
    """Positions of a state's memory; 0 if it has none."""
    return 0 if state.memory is None else state.memory.length


def with_memory_length(state: TaskState, length: int, mesh: Mesh) -> TaskState:
    """The same with invisible positions behind its memory, if it has one."""
    if memory_length(state) in (0, length):
        return state
    with sharding.use(mesh):
        return state.replace(memory=_padded(state.memory, length))


@jax.jit
def _join(states: tuple[TaskState, ...]) -> TaskState:
    return task_state.concat(states).constrain()


_padded = jax.jit(Memory.padded, static_argnums=1)
