"""Claims about neurons drawn from a tilted law: its moments, its wells, its random numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mft_engine.laws.tempered import TemperedSample, Tilt, climb
from mft_engine.network.activations import get_activation
from mft_engine.slices import finished

VARIANCE = 2.0


def sample_tilted(law: Tilt, n: int, *, seed: int, draw: int = 0) -> TemperedSample:
    """The climb to its end."""
    return finished(climb(law, n, seed=seed, draw=draw))


def one_point(strength: float) -> Tilt:
    """p(w) ~ exp(-w^2/4 + strength tanh(w)^2) in one dimension: two wells for a large strength."""
    one = torch.ones(1, 1, dtype=torch.float64)
    return Tilt(one, get_activation("tanh"), VARIANCE, 1.0, 1.0, form=strength * one)


def moment(strength: float, power: int) -> tuple[float, float]:
    """E |w|^power and its variance, by quadrature."""
    w = np.linspace(-12, 12, 20001)
    p = np.exp(-(w**2) / (2 * VARIANCE) + strength * np.tanh(w) ** 2)
    p /= p.sum()
    mean = float((p * np.abs(w) ** power).sum())
    return mean, float((p * np.abs(w) ** (2 * power)).sum()) - mean**2


@pytest.mark.parametrize("strength", [0.0, -3.0, 3.0, 25.0])
def test_moments_of_drawn_neurons_are_those_of_the_law(strength):
    n = 4000
    w = sample_tilted(one_point(strength), n, seed=1).w[:, 0].numpy()
    for power in (1, 2):
        mean, variance = moment(strength, power)
        # Resampled neurons share ancestors: four standard errors of half as many independent ones.
        assert abs((np.abs(w) ** power).mean() - mean) < 4 * (variance / (n / 2)) ** 0.5


def test_two_deep_wells_get_half_of_the_neurons_each():
    n = 4000
    sample = sample_tilted(one_point(25.0), n, seed=2)
    assert sample.n_rungs >= 3
    right = float((sample.w > 0).double().mean())
    # Each rung that resamples adds its own binomial scatter; they are n_rungs at most.
    assert abs(right - 0.5) < 4 * 0.5 * (sample.n_rungs / n) ** 0.5
    assert float((sample.w.abs() < 0.3).double().mean()) < 0.02


@pytest.mark.parametrize("which", ["below", "last"])
def test_the_gradient_of_the_tilt_is_its_derivative(which):
    generator = torch.Generator().manual_seed(1)
    points = torch.randn(6, 3, dtype=torch.float64, generator=generator)
    root = torch.randn(6, 6, dtype=torch.float64, generator=generator)
    square = torch.randn(6, dtype=torch.float64, generator=generator)
    tanh, form = get_activation("tanh"), root + root.T
    law = {
        "below": Tilt(points, tanh, 1.0, 0.3, 0.7, form=form),
        "last": Tilt(points, tanh, 1.0, 0.3, 0.7, signal=square, own_penalty=root @ root.T),
    }[which]
    w = torch.randn(5, 3, dtype=torch.float64, generator=generator).requires_grad_()
    value, gradient = law.tilt(w)
    (expected,) = torch.autograd.grad(value.sum(), w)
    torch.testing.assert_close(gradient, expected)


def test_the_same_seed_and_draw_give_the_same_neurons():
    law = one_point(3.0)
    assert torch.equal(sample_tilted(law, 100, seed=1).w, sample_tilted(law, 100, seed=1).w)
    assert not torch.equal(sample_tilted(law, 100, seed=1).w, sample_tilted(law, 100, seed=1, draw=1).w)


def test_a_tilt_without_an_end_is_refused_in_words():
    one = torch.ones(1, 1, dtype=torch.float64)
    form = torch.full((1, 1), 1e9, dtype=torch.float64)
    law = Tilt(one, get_activation("quadratic"), VARIANCE, 1.0, 1.0, form=form)
    with pytest.raises(ArithmeticError, match="cannot be drawn"):
        sample_tilted(law, 50, seed=1)
