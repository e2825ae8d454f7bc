"""The data kernel and its change from initialisation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mft_engine.experiment.experiment import Experiment
from mft_engine.network.activations import get_activation
from mft_engine.points.measure import polar_rule
from mft_engine.questions.data_kernel import data_kernel, kernel_change
from mft_engine.questions.references import reference_lines
from mft_engine.recipe import load_recipe
from mft_engine.tasks import build_task

RULE = polar_rule(4, 16)
X, W = torch.as_tensor(RULE.inputs), torch.as_tensor(RULE.weights)


def test_the_kernel_is_the_mean_over_neurons_of_products_of_activations() -> None:
    activation = get_activation("relu_tanh")
    theta = torch.as_tensor(np.random.default_rng(0).standard_normal((10_000, 3)))
    i, j = 3, 17
    direct = (activation.phi(theta[:, :2] @ X[i]) * activation.phi(theta[:, :2] @ X[j])).mean()
    assert data_kernel(theta, X, activation)[i, j].item() == pytest.approx(direct.item(), rel=1e-12)


def test_readouts_and_the_order_of_neurons_do_not_change_it_and_a_line_of_neurons_does() -> None:
    activation = get_activation("relu_tanh")
    theta = torch.as_tensor(np.random.default_rng(0).standard_normal((500, 3)))
    other = theta.flip(0) * torch.tensor([1.0, 1.0, 7.0])
    line = theta * torch.tensor([1.0, 0.0, 1.0])
    assert kernel_change(theta, other, X, W, activation) == pytest.approx(0, abs=1e-12)
    assert kernel_change(theta, line, X, W, activation) > 0.02


def test_training_changes_the_kernel_in_the_mean_field_and_not_at_the_lazy_end() -> None:
    changes = {}
    for background in ("trained", "lazy"):
        experiment = Experiment(
            load_recipe("clover").replace({"foreground.background": background, "network.n_neurons": 1024,
                                           "training.time": 4.0})
        )  # fmt: skip
        while not experiment.is_complete:
            experiment.advance(500)
        list(experiment.certify())
        changes[background] = experiment.certificate.kernel_change
    # A finite cloud's kernel scatters by 1/N, the lazy one no more than that.
    assert changes["lazy"] < 3 / 1024 and changes["trained"] > 10 / 1024


def test_the_reference_lines_of_the_clover_are_the_gaussian_process() -> None:
    """Posterior mean's loss .4408 and variance .186, so a lazy network's own loss is .627 (independent prototype)."""
    recipe = load_recipe("clover")
    lines = reference_lines(recipe, build_task(recipe.task))
    assert lines.gaussian_process_loss == pytest.approx(0.4408, abs=1e-3)
    assert lines.gaussian_process_network_loss == pytest.approx(0.627, abs=2e-3)


def test_the_tangent_line_starts_with_the_targets_power_and_only_falls() -> None:
    recipe = load_recipe("sgd-clover-free")
    lines = reference_lines(recipe, build_task(recipe.task))
    assert lines.tangent_losses[0] == pytest.approx(1.0, abs=1e-3)
    assert np.all(np.diff(lines.tangent_losses) <= 1e-12) and lines.tangent_times[-1] == pytest.approx(50.0)
