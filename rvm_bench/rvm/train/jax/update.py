"""One update of a training: the gradient over a batch taken in parts, clipping, AdamW. Pure, for `jax.jit`."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from rvm_bench.rvm.jax.model import RVM
from rvm_bench.rvm.jax.objective import loss
from rvm_bench.rvm.train.recipes import Recipe
from rvm_bench.rvm.train.trainer import decayed


class State(NamedTuple):
    """All that an update changes: the parameters, float32, and optax's state, the moments and how many updates."""

    weights: Any
    optimiser: Any


def optimiser(recipe: Recipe) -> optax.GradientTransformation:
    """Clipping, then AdamW without its learning rate: weights go along `-rate` times what it gives.

    The decay is decoupled and times the rate, as torch's: weights - rate (moments' direction + weight_decay weights).
    """
    return optax.chain(
        optax.clip_by_global_norm(recipe.clip_norm),
        optax.scale_by_adam(recipe.beta1, recipe.beta2, recipe.eps),
        optax.add_decayed_weights(recipe.weight_decay, _decayed),
    )


def update(
    model: RVM, recipe: Recipe, shardings: Any, state: State, parts: Mapping[str, jax.Array], rate: jax.Array
) -> tuple[State, dict[str, jax.Array]]:
    """The next state, and float32 scalars: the "loss" and the "gradient_norm" before clipping, over all clips.

    Args:
        shardings: of the weights; gradients are kept in the same.
        parts: a batch (see `loss`) with the axis of its parts in front; they are taken one after the other, and are of
            one size, so that the mean over them is that over all clips.
        rate: the learning rate.
    """
    value, gradient = mean_gradient(model, recipe, shardings, state.weights, parts)
    direction, following = optimiser(recipe).update(gradient, state.optimiser, state.weights)
    weights = jax.tree.map(lambda weight, step: weight - rate * step, state.weights, direction)
    return State(weights, following), {"loss": value, "gradient_norm": optax.tree.norm(gradient)}


def mean_gradient(
    model: RVM, recipe: Recipe, shardings: Any, weights: Any, parts: Mapping[str, jax.Array]
) -> tuple[jax.Array, Any]:
    """The loss, float32 [], and its gradient, as the weights."""

    def add(total: Any, part: Mapping[str, jax.Array]) -> tuple[Any, None]:
        found = jax.value_and_grad(lambda w: loss(model, w, part, mask_ratio=recipe.mask_ratio))(weights)
        value, gradient = jax.tree.map(jnp.add, total, found)
        return (value, jax.lax.with_sharding_constraint(gradient, shardings)), None

    count = len(parts["source"])
    total, _ = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, (jnp.float32(0), weights)), parts)
    return jax.tree.map(lambda sums: sums / count, total)


def _decayed(weights: Any) -> Any:
    """True where AdamW decays, as a tree like the weights."""
    return unflatten_dict({name: decayed(name) for name in flatten_dict(weights, sep="/")}, sep="/")
