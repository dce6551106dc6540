"""AdamW is optax's with the norm clipped first; its state lies with its parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hyperx.optim.optimizers import AdamW

PARAMS = {"w": jnp.full((2, 3), 0.5), "b": jnp.ones(3)}
AXES = {"w": ("embed", "mlp"), "b": ("mlp",)}


def updates_of(optimizer, factors):
    """The last update after gradients scaled by `factors`."""
    transformation = optimizer.build(AXES)
    state = transformation.init(PARAMS)
    for factor in factors:
        grads = {"w": jnp.full((2, 3), 30.0 * factor), "b": jnp.full(3, -40.0 * factor)}
        updates, state = transformation.update(grads, state, PARAMS)
    return updates


def test_adamw_clips_the_norm_of_all_gradients():
    options = dict(learning_rate=0.1, b2=0.98, weight_decay=0.01)
    norm = (6 * 30.0**2 + 3 * 40.0**2) ** 0.5
    # The second gradient is too small to be clipped: clipping shows in the moments.
    clipped = updates_of(AdamW(**options, clip_norm=1.0), (1.0, 1e-4))
    by_hand = updates_of(AdamW(**options), (1.0 / norm, 1e-4))
    unclipped = updates_of(AdamW(**options), (1.0, 1e-4))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), clipped, by_hand
    )
    assert not np.allclose(clipped["w"], unclipped["w"], rtol=1e-3)


def test_state_axes_fit_the_state():
    for optimizer in (
        AdamW(learning_rate=0.1, clip_norm=1.0),
        AdamW(learning_rate=lambda step: 0.1 / (step + 1.0)),
    ):
        axes = optimizer.state_axes(PARAMS, AXES)
        state = optimizer.build(AXES).init(PARAMS)
        jax.tree.map(
            lambda leaf, names: (leaf.ndim == len(names)) or 1 / 0, state, axes
        )
        moments = [s for s in jax.tree.leaves(axes, is_leaf=_is_adam) if _is_adam(s)]
        assert [(m.count, m.mu, m.nu) for m in moments] == [((), AXES, AXES)]


def _is_adam(node):
    return isinstance(node, optax.ScaleByAdamState)
