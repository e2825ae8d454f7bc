"""What a run tells of itself: the facts of its summary, and its functions as maps of the plane."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from mft_engine.device import describe_device, to_host
from mft_engine.experiment.background import Background
from mft_engine.experiment.events import FieldsReady
from mft_engine.experiment.foreground import Foreground
from mft_engine.experiment.setting import Setting
from mft_engine.questions.fourier import fourier_summary
from mft_engine.tasks import Task


def facts_of(background: Background, sampler: Foreground) -> dict[str, Any]:
    """Numbers of a run that are no answers: how far, how fast, how right."""
    state, task, gap = background.state, background.task, background.gap_to_test()
    shares = background.window_accuracies() if task.n_out > 1 else background.accuracies()
    return {
        "device": describe_device(background.device),
        "kernel": background.kernel.name,
        "n_steps": state.step,
        "time": state.time,
        "step_size": state.step_size,
        "eta_theta": state.step_size * state.eigenvalue,
        "seconds": background.training_seconds,
        "foreground_seconds": sampler.seconds,
        "sampler": sampler.health,
        "average_age": state.average_age,
        "is_complete": background.is_complete,
        "order_parameters": background.window_orders(),
        "test_loss": background.measured_test_loss(),
        "generalisation": {}
        if gap is None
        else {"test_minus_train": gap.mean, "test_minus_train_error": gap.standard_error},
        "background_accuracy": shares,
        "foreground_accuracy": sampler.accuracies(),
        "fourier": _waves(background, sampler),
        "data": dict(task.data) or None,
    }


def _waves(background: Background, sampler: Foreground) -> dict[str, Any] | None:
    """The clouds as waves, for additions modulo P."""
    task, setting = background.task, background.setting
    if not task.modulus or task.points is None:
        return None
    clouds = {"initial": background.initial_theta, "background": to_host(background.state.theta)}
    if sampler.fresh is not None:
        clouds["foreground"] = sampler.fresh.theta
    scale = float(task.points.inputs.max())
    return fourier_summary(clouds, task.modulus, setting.activation.name, scale, background.recipe.seed)


def maps(
    task: Task,
    setting: Setting,
    background: Callable[[Tensor], np.ndarray],
    foreground: Callable[[Tensor], Tensor | None],
    n_pixels: int,
    extent: float,
) -> FieldsReady:
    """Target, background, foreground and residual on a square of the plane.

    Args:
        background, foreground: the functions at inputs (n, 2); extent: half side of the square.
    """
    line = (np.arange(n_pixels) + 0.5) / n_pixels * 2 * extent - extent
    x1, x2 = np.meshgrid(line, line)
    grid = np.stack([x1.ravel(), x2.ravel()], axis=1)
    shape, inputs = (n_pixels, n_pixels), setting.tensor(grid)
    target = np.asarray(task.target(grid), dtype=np.float64).reshape(shape)
    learnt, sampled = background(inputs).reshape(shape), foreground(inputs)
    return FieldsReady(
        extent=extent,
        target=target,
        background=learnt,
        foreground=None if sampled is None else to_host(sampled).reshape(shape),
        residual=target - learnt,
    )
