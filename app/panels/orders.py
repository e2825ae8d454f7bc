"""Order parameters on the screen: their words, and their values and errors for a cloud that the window holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mft_engine.experiment.outcome import Cloud


def order_words(name: str) -> tuple[str, str]:
    """Label and meaning of an order parameter."""
    if name.startswith("overlap_"):
        part = name.removeprefix("overlap_")
        return f"⟨φ, {part}⟩²", (
            f"Mean over the last hidden layer's neurons of E[φ {part}]², the squared overlap of a neuron's activation "
            f"function with the part {part} of the target"
        )
    if name == "overlap":
        return "overlap", "Share of the neurons' weight that lies in the directions which the target depends on; 0 to 1"
    order = name.removeprefix("cos")
    return f"⟨cos {order}θ⟩", (
        f"Mean of cos({order} angle(w)) over the neurons, with its standard error; −1 to 1, no unit. "
        "0 for a cloud without that symmetry"
    )


def cloud_orders(clouds: Sequence[Cloud], names: Iterable[str]) -> dict[str, tuple[float, float]]:
    """Mean and standard error of the order parameters that can be read off a cloud.

    The error is that of independent neurons: an upper bound for a background, because its neurons repel.

    Args:
        clouds: one a hidden layer; the first has cos k angle(w) in the plane (3 columns), the last one the overlaps.
        names: "cos4", "overlap_u", ...; others are left out.
    """
    found = {}
    theta, last = clouds[0].theta, clouds[-1]
    for name in names:
        values = None
        if name.startswith("overlap_"):
            column = f"⟨φ, {name.removeprefix('overlap_')}⟩"
            if column in last.names:
                values = last.theta[:, last.names.index(column)] ** 2
        elif name.startswith("cos") and theta.shape[1] == 3:
            values = np.cos(float(name.removeprefix("cos")) * np.arctan2(theta[:, 1], theta[:, 0]))
        if values is not None and len(values) > 1:
            found[name] = (float(values.mean()), float(values.std() / np.sqrt(len(values))))
    return found
