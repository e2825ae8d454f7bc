"""Claims about the continuous xor: two hidden layers learn it, and each layer's foreground is what theory says."""

from __future__ import annotations

import numpy as np
import pytest

from mft_engine.compare.clouds import Comparison
from mft_engine.experiment.events import ComparisonReady
from mft_engine.experiment.experiment import Experiment
from mft_engine.laws import tempered as annealed
from mft_engine.recipe import load_recipe


def compared(experiment: Experiment) -> tuple[Comparison, ...]:
    for _ in experiment.foreground():
        pass
    (answer,) = [event for event in experiment.compare() if isinstance(event, ComparisonReady)]
    return answer.comparisons


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_continuous_xor_is_learnt_and_both_layers_are_self_consistent(seed):
    experiment = Experiment(load_recipe("continuous-xor").replace({"seed": seed}))
    while not experiment.is_complete:
        experiment.advance(500)
    # The target has variance 1; measured .0446 to .0456 over four seeds.
    assert experiment.background.loss < 0.07
    for comparison in compared(experiment):
        assert comparison.verdict in ("consistent", "close")
    # Composition: the upper layer holds the product that neither input plane has, as much of it as a share of 1/3.
    orders = experiment.background.window_orders()
    assert orders["overlap_uv"][0] > 10 * orders["overlap_uv"][1] > 0
    told_by = experiment.setting.network.told_by
    parts = told_by.functions.T @ (told_by.weights * experiment.background.mean_prediction().float())
    # E[f g] of a perfect fit is 1/sqrt(3) for each of u, v, uv; a loss of .05 in all leaves each within .15 of it.
    np.testing.assert_allclose(parts.numpy(), 3**-0.5, atol=0.15)


def test_fresh_neurons_in_an_untrained_background_are_told_from_it_in_both_layers(monkeypatch):
    monkeypatch.setattr(annealed, "FEWEST_WALKERS", 256)  # shapes of deep wells need fewer than their weights
    recipe = load_recipe("continuous-xor-wrong").replace(
        {"network.n_neurons": 64, "foreground.n_neurons": 64, "comparison.n_permutations": 199, "task.n_angles": 8}
    )
    layers = compared(Experiment(recipe))
    assert [comparison.verdict for comparison in layers] == ["inconsistent", "inconsistent"]
