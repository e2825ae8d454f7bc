"""Particles drawn around the wells of a law, against the same law on a grid of the plane."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mft_engine.device import set_threads
from mft_engine.laws.particles import Particles, TiltedLaw
from mft_engine.laws.wells import Wells, climbed, distinct, drawn_around, has_mirrors, joined
from mft_engine.network.activations import get_activation
from mft_engine.sections import EngineSection
from mft_engine.slices import finished
from mft_engine.tasks.modular import affine_images, two_hot


def law_of(name: str, size: float = 0.9) -> TiltedLaw:
    """A law of two inputs and two readouts with several wells some 20 nats deep."""
    generator = torch.Generator().manual_seed(1)
    inputs = 1.2 * torch.randn(12, 2, generator=generator)
    return TiltedLaw(inputs, get_activation(name), size * torch.randn(12, 2, generator=generator))


def wells_of(law: TiltedLaw, n_starts: int = 400) -> Wells:
    starts = 3 * torch.randn(n_starts, 2, generator=torch.Generator().manual_seed(2))
    return distinct(finished(climbed(law, starts, 40)), has_mirrors(law))


def on_a_grid(law: TiltedLaw) -> tuple[float, float]:
    """log Z and E|u|^2 by the trapezoidal rule on a square of 18 by 18."""
    side = torch.linspace(-9, 9, 1201, dtype=torch.float64)
    u = torch.stack(torch.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2)
    tilt = law.log_tilt(u.float())
    square = (u * u).sum(1)
    log_p = tilt - 0.5 * square - math.log(2 * math.pi) + 2 * math.log(float(side[1] - side[0]))
    return float(torch.logsumexp(log_p, 0)), float((torch.softmax(log_p, 0) * square).sum())


def log_z_of(particles: Particles) -> tuple[float, float]:
    """The mean of the populations' estimates of Z, and its standard error, of the logarithm."""
    z = (particles.log_z - particles.log_z.max()).exp()
    mean = float(z.mean())
    return math.log(mean) + float(particles.log_z.max()), float(z.std()) / mean / math.sqrt(len(z))


@pytest.mark.parametrize("name", ["tanh_squared", "tanh"])
def test_z_and_the_length_of_a_neuron_are_those_of_the_grid(name: str) -> None:
    law = law_of(name)
    exact, square = on_a_grid(law)
    particles = finished(drawn_around(wells_of(law), law, 16, 4000, seed=3))
    found, error = log_z_of(particles)
    # A hundredth of Z may lie where particles from the Gaussians seldom come: heavy weights that are seldom drawn, and
    # of which the scatter of the populations that did not draw them knows nothing.
    assert abs(found - exact) < 4 * error + 0.01 and error < 0.02
    parts = (particles.log_weights.exp() * (particles.u.double() ** 2).sum(1).reshape(16, -1)).sum(1)
    assert abs(float(parts.mean()) - square) < 4 * float(parts.std()) / 4


def test_wells_of_one_well_are_the_prior_where_nothing_pulls() -> None:
    law = law_of("tanh", size=0.0)
    wells = wells_of(law, 10)
    assert float(wells.modes.norm(dim=1).max()) < 0.21  # .02 nats from the top, where a climb may end
    particles = finished(drawn_around(wells, law, 16, 2000, seed=0))
    found, error = log_z_of(particles)
    # u and -u are the same well, and may not be counted twice.
    assert abs(found) < 4 * error + 1e-6
    parts = (particles.log_weights.exp() * (particles.u.double() ** 2).sum(1).reshape(16, -1)).sum(1)
    assert abs(float(parts.mean()) - 2.0) < 4 * float(parts.std()) / 4


def test_a_well_that_is_not_listed_is_missed_and_one_listed_twice_is_counted_once() -> None:
    law = law_of("tanh_squared")
    wells = wells_of(law)
    exact, _ = on_a_grid(law)
    share = torch.softmax(wells.log_weights, 0)
    without = wells.some(torch.arange(1, len(wells)))
    found, error = log_z_of(finished(drawn_around(without, law, 16, 1500, seed=1)))
    assert float(share[0]) > 0.5 and found < exact - 0.5
    twice = joined((wells, wells.some(torch.tensor([0, 1]))))
    found, error = log_z_of(finished(drawn_around(twice, law, 16, 1500, seed=1)))
    assert abs(found - exact) < 4 * error + 0.01
    assert len(distinct(twice, True)) == len(wells)


def test_wells_and_particles_are_the_same_with_any_number_of_threads() -> None:
    law = law_of("tanh_squared")
    before, found = torch.get_num_threads(), []
    try:
        for n_threads in (1, 2, 3):
            set_threads(EngineSection(n_threads=n_threads))
            wells = wells_of(law, 5000)
            found.append((wells, finished(drawn_around(wells, law, 4, 700, seed=5))))
    finally:
        torch.set_num_threads(before)
    for wells, particles in found[1:]:
        assert torch.equal(wells.modes, found[0][0].modes)
        assert torch.equal(particles.u, found[0][1].u) and torch.equal(particles.log_weights, found[0][1].log_weights)


def test_climbing_ends_where_nothing_pulls_any_more() -> None:
    law = law_of("tanh_squared")
    wells = wells_of(law)
    assert float(wells.left.max()) < 0.02
    nudged = wells.modes + 0.05 * torch.randn(len(wells), 2, generator=torch.Generator().manual_seed(3))
    again = finished(climbed(law, nudged, 40))
    heights = [law.log_tilt(w.modes) - 0.5 * (w.modes.double() ** 2).sum(1) for w in (wells, again)]
    assert float((heights[0] - heights[1]).abs().max()) < 0.04


@pytest.mark.parametrize("modulus", [5, 7])
def test_images_of_a_neuron_see_the_images_of_all_pairs(modulus: int) -> None:
    images = affine_images(modulus)
    assert images.shape == ((modulus - 1) // 2 * modulus**2, 2 * modulus)
    assert len({tuple(row) for row in images.tolist()}) == len(images)
    pairs = np.stack(np.meshgrid(np.arange(modulus), np.arange(modulus), indexing="ij"), -1).reshape(-1, 2)
    inputs = two_hot(pairs, modulus, 0.7)
    sums = pairs.sum(1) % modulus
    for row in images[:: max(1, len(images) // 20)]:
        # The pair that takes the image's weights to those of each pair: sums that were equal stay equal.
        at = {tuple(x): k for k, x in enumerate(inputs.tolist())}
        places = [at[tuple(x)] for x in inputs[:, np.argsort(row)].tolist()]
        assert len(set(zip(sums.tolist(), sums[places].tolist(), strict=True))) == modulus
