"""What clouds and functions are told apart by: order parameters of a cloud, agreement of two functions."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mft_engine.awaited import Awaited
from mft_engine.device import to_host
from mft_engine.estimates import Estimate
from mft_engine.recorded import Recorded

ORDERS = (2, 3, 4, 6, 8)

Values = Tensor | np.ndarray


def host_array(values: Values) -> np.ndarray:
    """A float64 numpy copy of a tensor on any device, or of an array."""
    return np.array(to_host(values) if isinstance(values, Tensor) else values, dtype=np.float64)


def order_parameters(theta: Values, n_inputs: int, n_relevant: int = 0) -> dict[str, Estimate]:
    """`awaited_order_parameters` at once, of a tensor or an array."""
    return awaited_order_parameters(torch.as_tensor(theta), n_inputs, n_relevant).now()


def awaited_order_parameters(cloud: Tensor, n_inputs: int, n_relevant: int = 0) -> Awaited[dict[str, Estimate]]:
    """How far the cloud of input weights is from having no direction, with the standard error over neurons.

        cos_k = (1/N) sum_i cos(k angle(w_i)),   angle(w) = atan2(w2, w1)            two inputs
        overlap = sum_i a_i^2 |w_i|^2 (|P w_i|^2/|w_i|^2) / sum_i a_i^2 |w_i|^2       otherwise

    P projects on the inputs that the target depends on; without features the overlap is n_relevant/d. Neurons count by
    their part in the function, so that those which stay at the prior do not hide the ones that have learnt.

    The error is that of independent neurons: right for a foreground; neurons of a background repel, so for
    one instant of it the error is on the large side. Averages along a run have their own error (`averaged`).

    Args:
        cloud: (n_neurons, n_params), columns w1 .. wd, then readouts.
        n_inputs: d; there is an angle only for d = 2.
        n_relevant: the target depends on the first so many inputs alone; 0 where that is not known.

    Returns:
        to be fetched before the next cloud is looked at:
        {"cos2", "cos3", "cos4", "cos6", "cos8"} for two inputs, else {"overlap"} where n_relevant is known.
    """
    if n_inputs != 2:
        if not 0 < n_relevant < n_inputs:
            return Awaited((), lambda _: {})
        numbers = _OVERLAP(cloud, n_inputs=n_inputs, n_relevant=n_relevant)
        return Awaited(numbers, lambda told: {"overlap": Estimate(*told)})
    return Awaited(_WAVES(cloud), _read_waves)


def _waves(cloud: Tensor) -> tuple[Tensor, Tensor]:
    angle = torch.atan2(cloud[:, 1], cloud[:, 0])
    waves = torch.stack([(k * angle).cos() for k in ORDERS])
    error = waves.std(dim=1) / len(cloud) ** 0.5 if len(cloud) > 1 else waves[:, 0] * torch.nan
    return waves.mean(dim=1), error


def _read_waves(told: list[float]) -> dict[str, Estimate]:
    means, errors = told[: len(ORDERS)], told[len(ORDERS) :]
    return {f"cos{k}": Estimate(m, e) for k, m, e in zip(ORDERS, means, errors, strict=True)}


def _overlap(cloud: Tensor, n_inputs: int, n_relevant: int) -> tuple[Tensor, Tensor]:
    squares = cloud[:, :n_inputs] ** 2 * (cloud[:, n_inputs:] ** 2).sum(1, keepdim=True)
    inside, total = squares[:, :n_relevant].sum(1), squares.sum(1)
    ratio = inside.sum() / total.sum()
    # The error of a ratio of sums over independent neurons.
    scatter = (inside - ratio * total).std() if len(cloud) > 1 else ratio * torch.nan
    return ratio, scatter / total.mean() / len(cloud) ** 0.5


_WAVES, _OVERLAP = Recorded(_waves), Recorded(_overlap)


def function_alignment(f_bg: Values, f_fg: Values, weights: Values) -> float:
    """Cosine of the angle between two network functions under the measure of x.

        E[f_bg f_fg] / sqrt(E[f_bg^2] E[f_fg^2])

    Not the theory's `alignment`, which is E[y f]/E[y^2]. An iid foreground's function is noisier than the
    background's (Tr C / N), so the number is below 1 even where the laws agree.

    Args:
        f_bg, f_fg: (n_points,) or (n_points, n_out); weights: (n_points,) that sum to 1.

    Returns:
        a number in [-1, 1]; nan where a function vanishes.
    """
    measure = host_array(weights)
    first, second = host_array(f_bg).reshape(len(measure), -1), host_array(f_fg).reshape(len(measure), -1)

    def product(f: np.ndarray, g: np.ndarray) -> float:
        return float((measure[:, None] * f * g).sum())

    norm = (product(first, first) * product(second, second)) ** 0.5
    return product(first, second) / norm if norm > 0 else float("nan")
