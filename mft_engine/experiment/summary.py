"""The summary document of a run: plain numbers, never NaN."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from mft_engine.questions.table import QUESTIONS

if TYPE_CHECKING:
    from mft_engine.experiment.outcome import Outcome
    from mft_engine.theory.theory import Theory

SCHEMA = "mft-lab/summary/1"


def summarise(outcome: Outcome, facts: dict[str, Any]) -> dict[str, Any]:
    """The JSON document of `mft-lab run`.

    Args:
        outcome: what was computed.
        facts: what only the experiment knows: device, kernel, times, step size, order parameters with errors.
    """
    # Here and not above: whoever reads summaries alone needs neither tasks nor theory, which bring torch.
    from mft_engine.questions.closure import closure_summary

    recipe = outcome.recipe
    seconds = facts["seconds"]
    background = {
        "loss": outcome.background.loss,
        "test_loss": facts["test_loss"],
        "n_neurons": sum(len(cloud.theta) for cloud in outcome.background.clouds),
        "n_steps": facts["n_steps"],
        "time": facts["time"],
        "step_size": facts["step_size"],
        "eta_theta": facts["eta_theta"],
        "seconds": seconds,
        "steps_per_second": facts["n_steps"] / seconds if seconds > 0 else None,
        "kind": outcome.background.kind,
        "kernel": facts["kernel"],
        "average_age": facts["average_age"],
        "is_complete": facts["is_complete"],
        "warning": step_size_warning(facts["eta_theta"], facts["step_size"]),
        **facts["generalisation"],
        **facts["background_accuracy"],
    }
    comparisons = [comparison.to_dict() for comparison in outcome.comparisons]
    orders = facts["order_parameters"]
    references = facts["references"]
    theory, certificate = outcome.theory, outcome.certificate
    document = {
        "schema": SCHEMA,
        "recipe": recipe.name,
        "digest": recipe.digest,
        "seed": recipe.seed,
        "device": facts["device"],
        "dtype": recipe.engine.dtype,
        "rule": outcome.points.rule,
        "data": facts["data"],
        "background": background,
        "foreground": None
        if outcome.foreground is None
        else {
            "loss": outcome.foreground.loss,
            "n_neurons": len(outcome.foreground.theta),
            "method": outcome.foreground.kind,
            "seconds": facts["foreground_seconds"],
            **facts["sampler"],
            **facts["foreground_accuracy"],
        },
        "theory": None
        if theory is None
        else theory.to_dict()
        | {"test_loss": facts["theory_test_loss"], "network_loss": network_loss(theory, recipe.network.n_neurons[-1])},
        "closure": closure_summary(recipe),
        "references": None
        if references is None
        else {
            "gaussian_process_loss": references.gaussian_process_loss,
            "gaussian_process_network_loss": references.gaussian_process_network_loss,
        },
        "certificate": certificate.to_dict() if certificate else None,
        **{name: outcome.answers[name].to_dict() if name in outcome.answers else None for name in QUESTIONS},
        "posterior": asdict(facts["posterior"]) if facts["posterior"] else None,
        "kernel": outcome.data_kernels.to_dict() if outcome.data_kernels else None,
        "comparison": comparisons[0] if comparisons else None,
        "feature_learning": {
            "kl_from_prior": certificate.kl_from_prior if certificate else None,
            "kernel_change": certificate.kernel_change if certificate else None,
            "order_parameters": {name: mean for name, (mean, _) in orders.items()},
            "order_parameters_error": {name: error for name, (_, error) in orders.items()},
            **({"fourier": facts["fourier"]} if facts["fourier"] else {}),
        },
        "layers": comparisons,
        "run_dir": None,
    }
    return without_nan(document)


def network_loss(theory: Theory, n_neurons: int) -> float | None:
    """Expected loss of a network of N neurons at the law's equilibrium: its function fluctuates; None if unknown.

    |y - f|^2 + Tr C (I + C/T)^-1 / N: small in the mean field, all of the posterior's variance at exponent 1/2.
    """
    from mft_engine.theory.theory import function_variance  # brings torch

    variance = function_variance(theory, n_neurons)
    return None if variance is None else theory.loss + variance


def step_size_warning(eta_theta: float, step_size: float) -> str | None:
    """A sentence where the step is too large for its numbers to be trusted, naming the largest safe one."""
    if eta_theta <= 1.5:
        return None
    safe = 1.4 * step_size / eta_theta
    return (
        f"The step size {step_size:.3g} is too large here (step size x Theta = {eta_theta:.2f}, stable below 2): "
        f"loss and cloud are distorted. The largest safe step size is {safe:.2g}."
    )


def without_nan(value: Any) -> Any:
    """The same document with plain numbers alone: None for what is not finite, and no negative zero."""
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    if isinstance(value, np.ndarray):
        return without_nan(value.tolist())
    if isinstance(value, (np.bool_, np.integer)):
        return value.item()
    if isinstance(value, (float, np.floating)):
        return float(value) + 0.0 if math.isfinite(value) else None
    return value
