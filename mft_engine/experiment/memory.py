"""How much memory a run needs at the least, said before it is asked for."""

from __future__ import annotations

import psutil

from mft_engine.recipe import Recipe

# Of every array of neurons there are the state, its noise, its gradient and the one that is made of them; of layered
# networks features, slopes and what comes back at every point.
COPIES_OF_NEURONS = 4
COPIES_OF_FEATURES = 3
COPIES_OF_POINTS = 4
BYTES = {"float32": 4, "float64": 8}
# Beyond what is free, some can be had from what others do not use at the moment.
GENEROSITY = 1.2


class TooLargeError(MemoryError):
    """A run that does not fit into this machine; the message says how much it needs and how much there is."""


def needed_bytes(recipe: Recipe, n_points: int, n_inputs: int, n_out: int) -> int:
    """Bytes that training a recipe holds at once, at the least.

    Args:
        n_points: at which the network is evaluated in a step; n_inputs, n_out: numbers at each of them.
    """
    widths = recipe.network.n_neurons
    in_step = min(n_points, recipe.training.batch_size) if recipe.training.batch_size else n_points
    incoming = [n_inputs, *widths[:-1]]
    neurons = sum(n * before for n, before in zip(widths, incoming, strict=True)) + widths[-1] * n_out
    features = sum(widths) * in_step if len(widths) > 1 else 0  # one hidden layer is gone through in blocks
    fresh = recipe.foreground.n_neurons * (n_inputs + n_out)
    numbers = COPIES_OF_NEURONS * (neurons + fresh) + COPIES_OF_FEATURES * features
    return BYTES.get(recipe.engine.dtype, 4) * numbers + 8 * COPIES_OF_POINTS * n_points * (n_inputs + n_out)


def require_memory(needed: int) -> None:
    """Refuse what does not fit.

    Raises:
        TooLargeError: it does not.
    """
    free = psutil.virtual_memory().available + psutil.swap_memory().free
    if needed > GENEROSITY * free:
        raise TooLargeError(f"at least {needed / 1e9:,.1f} GB are needed and {free / 1e9:,.1f} GB are free")
