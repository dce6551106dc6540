"""Training on meshes of every kind: the same losses, and nothing where it must not be.

Eight simulated devices; the programs are those that training compiles.
"""

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from meshes import (
    CASES,
    Run,
    forms,
    generated,
    mesh_of,
    named,
    run_of,
    shapes_in,
)

from hyperx import adaptation, program, sharding

MESHES = ("8x1x1", "1x8x1", "1x1x8", "2x1x4", "2x2x2")
each_method = pytest.mark.parametrize("name", CASES)
each_mesh = pytest.mark.parametrize("mesh_name", MESHES)


@each_method
def test_losses_are_the_same_on_every_mesh(name):
    curves = {mesh_name: run_of(name, mesh_name).losses for mesh_name in MESHES}
    expected = curves.pop("8x1x1")
    assert expected[-1] < expected[0]
    assert len(set(expected)) == len(expected)
    for mesh_name, losses in curves.items():
        np.testing.assert_allclose(losses, expected, rtol=1e-5, err_msg=mesh_name)


@each_mesh
@each_method
def test_a_state_comes_out_where_it_is_declared_to_lie(name, mesh_name):
    run = run_of(name, mesh_name)
    leaves = jax.tree_util.tree_leaves_with_path(run.state)
    wanted = jax.tree.leaves(run.abstract)
    for (path, leaf), declared in zip(leaves, wanted, strict=True):
        assert leaf.sharding.is_equivalent_to(declared.sharding, leaf.ndim), path
        shard = declared.sharding.shard_shape(leaf.shape)
        assert leaf.addressable_shards[0].data.shape == shard, path
    # All of a T5 but its norms and position tables is split over fsdp and model.
    backbone = jax.tree.leaves({**run.state.params, "hypernetwork": {}})
    held = sum(leaf.addressable_shards[0].data.size for leaf in backbone)
    size = sum(leaf.size for leaf in backbone)
    assert 1 <= held / size * (8 // run.mesh.shape["data"]) < 1.1


def misplaced(run, name):
    """What a training program holds too much of, or nothing of."""
    case, there = CASES[name], shapes_in(run.text)
    shapes = generated(case, run.mesh, run.abstract.params)
    for path, leaf, names in named(shapes):
        layers, *one = leaf.shape
        if len(one) < 3 or one[0] == 1:
            continue  # Too small to be known by its shape, or shared by all groups.
        declared, too_whole = forms(one, names[1:], run.mesh)
        if declared not in there:
            yield path, declared, "is missing"
        yield from ((path, form, "is too whole") for form in too_whole & there)
        if case.backbone.remat == "none":
            continue  # What is generated is kept for the gradient.
        stacked = {tuple(sorted((layers, *f))) for f in (declared, *too_whole)}
        yield from ((path, form, "is of all layers") for form in stacked & there)


@each_mesh
@each_method
def test_a_training_program_holds_weights_of_its_own_rows_a_layer_at_a_time(
    name, mesh_name
):
    assert list(misplaced(run_of(name, mesh_name), name)) == []


def replicated(parts):
    whole = lambda x: jax.lax.with_sharding_constraint(x, PartitionSpec())  # noqa: E731
    return jax.tree.map(whole, parts)


def test_replicated_weights_would_be_found(monkeypatch):
    monkeypatch.setattr(adaptation, "constrain", replicated)
    found = list(misplaced(Run("hyper_t5_lora", "2x2x2"), "hyper_t5_lora"))
    assert {why for *_, why in found} >= {"is too whole"}


def elsewhere(stacks, mesh):
    """What of generated weights does not lie where it is declared to."""
    for path, leaf, names in named(stacks):
        declared = sharding.declared(leaf, names, mesh).sharding
        if not leaf.sharding.is_equivalent_to(declared, leaf.ndim):
            yield path, leaf.sharding.spec, declared.spec


@each_method
def test_materialised_weights_lie_where_they_are_declared_to_lie(name, monkeypatch):
    params = run_of(name, "2x2x2").state.params
    mesh = mesh_of("2x2x2")
    assert list(elsewhere(generated(CASES[name], mesh, params), mesh)) == []
    monkeypatch.setattr(adaptation, "constrain", lambda parts: parts)
    found = list(elsewhere(generated(CASES[name], mesh, params), mesh))
    # Where heads are split as what they write, XLA would do the same unasked.
    assert bool(found) == (name != "hyperprompt")


@each_method
def test_collectives_are_of_the_kinds_that_a_mesh_asks_for(name):
    def kinds(mesh_name):
        return set(program.collectives(run_of(name, mesh_name).text))

    assert kinds("8x1x1") == {"all-reduce"}
    assert {"all-reduce"} <= kinds("1x1x8") <= {"all-reduce", "all-gather"}
    assert {"all-reduce"} <= kinds("2x1x4") <= {"all-reduce", "all-gather"}
    gathered = {"all-gather", "all-reduce", "all-to-all", "reduce-scatter"}
    assert {"all-gather"} <= kinds("1x8x1") <= gathered
    # Where a kernel is split over both axes its parts may change their order first.
    assert {"all-gather"} <= kinds("2x2x2") <= gathered | {"collective-permute"}
