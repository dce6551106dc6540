"""Collectives are counted as a compiled program has them."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from hyperx import program, sharding
from hyperx.program import Collectives

# As the TPU compiler writes: layouts, an asynchronous pair, a collective that is spread
# over two fusions, and a reduction of which a part is kept.
TPU = """
HloModule jit_step, is_scheduled=true

%all-reduce-scatter (input: f32[512,1024]) -> f32[128,1024] {
  %input = f32[512,1024]{1,0:T(8,128)} parameter(0)
  %all-reduce.6 = f32[512,1024]{1,0:T(8,128)} all-reduce(%input), channel_id=12
  ROOT %slice.2 = f32[128,1024]{1,0:T(8,128)S(1)} dynamic-slice(%all-reduce.6, %c)
}

%first (p: f32[128,16]) -> f32[1024,16] {
  %all-gather.13 = f32[1024,16]{1,0:T(8,128)} all-gather(%p), channel_id=8, dims={0}
}

%second (p: f32[128,16]) -> f32[1024,16] {
  ROOT %all-gather.15 = f32[1024,16]{1,0:T(8,128)} all-gather(%p), channel_id=8
}

ENTRY %main (a: f32[128,16]) -> (f32[128,1024], bf16[8,4]) {
  %fusion = f32[128,1024]{1,0:T(8,128)S(1)} fusion(%a), calls=%all-reduce-scatter
  %start = (bf16[8,4]{1,0:T(8,128)(2,1)}, bf16[8,4]{1,0}, u32[]{:S(2)}, u32[]{:S(2)})
    collective-permute-start(%b), channel_id=10
  %done = bf16[8,4]{1,0:T(8,128)(2,1)S(1)} collective-permute-done(%start)
  %sum = (f32[8]{0}, pred[4]{0}, /*index=2*/f32[]) all-reduce(%c, %d, %e), channel_id=3
  %plain = f32[2,3]{1,0} all-to-all(%f), replica_groups={}
  %other = f32[2,3]{1,0} all-to-all(%plain), replica_groups={}
  ROOT %tuple = (f32[128,1024]{1,0}, bf16[8,4]{1,0}) tuple(%fusion, %done)
}
"""


def test_a_program_of_tpus():
    assert program.collectives(TPU) == {
        "all-gather": Collectives(1, 1024 * 16 * 4),
        "all-reduce": Collectives(1, 8 * 4 + 4 + 4),
        "all-to-all": Collectives(2, 2 * 2 * 3 * 4),
        "collective-permute": Collectives(1, 8 * 4 * 2),
        "reduce-scatter": Collectives(1, 128 * 1024 * 4),
    }


def test_without_collectives():
    text = jax.jit(lambda x: x + 1).lower(jnp.zeros(4)).compile().as_text()
    assert program.collectives(text) == {}


@pytest.mark.parametrize(
    ("left", "right", "out", "wanted"),
    [
        # The contracted axis is split: one sum of the whole product.
        ((None, "model"), ("model", None), (), {"all-reduce": Collectives(1, 512)}),
        # A split kernel is gathered.
        ((), (None, "model"), (), {"all-gather": Collectives(1, 512)}),
    ],
)
def test_a_program_of_this_machine(left, right, out, wanted):
    mesh = sharding.make_mesh(1, model=8)

    def array(shape, names):
        where = NamedSharding(mesh, PartitionSpec(*names))
        return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=where)

    product = jax.jit(
        jnp.matmul, out_shardings=NamedSharding(mesh, PartitionSpec(*out))
    )
    lowered = product.lower(array((8, 16), left), array((16, 16), right))
    assert program.collectives(lowered.compile().as_text()) == wanted
