"""Jumps between wells: what is proposed, and that the law stays as it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from mft_engine.laws.jumps import Jumps, fitted_jumps
from mft_engine.laws.particles import TiltedLaw, moved, prior_particles
from mft_engine.laws.wider import log_widened
from mft_engine.network.activations import get_activation
from mft_engine.rng import Stream, host_generator

CPU = torch.device("cpu")


def two_wells(n: int = 1000) -> np.ndarray:
    random = host_generator(0, Stream.SUBSAMPLE)
    return random.standard_normal((n, 3)) * [0.1, 0.2, 0.5] + np.where(np.arange(n) % 2, 3.0, -2.0)[:, None]


def fitted() -> Jumps:
    found = fitted_jumps(two_wells(), np.ones(1000), seed=0, device=CPU, dtype=torch.float64)
    assert found is not None
    return found


def test_the_density_of_proposals_is_that_of_the_mixture_they_are_drawn_from() -> None:
    jumps = fitted()
    u = jumps.proposed(*jumps.numbers(20_000, host_generator(1, Stream.SUBSAMPLE)))
    each = [
        np.log(share) + multivariate_normal(mean, root @ root.T).logpdf(u.numpy())
        for share, mean, root in zip(jumps.shares, jumps.means.numpy(), jumps.roots.numpy(), strict=True)
    ]
    over_prior = logsumexp(each, axis=0) - multivariate_normal(np.zeros(3)).logpdf(u.numpy())
    np.testing.assert_allclose(jumps.log_density(u).numpy(), over_prior, rtol=1e-9, atol=1e-9)
    # A quarter comes from the prior, of which 1 in 1,000 lies beyond the wells' first coordinate of 3 +- .2; the error
    # of a share of 20,000 is .0035.
    near = ((u[:, 0] - 3).abs() < 0.6).double().mean()
    assert abs(float(near) - 0.375) < 5 * 0.0035


def test_jumps_leave_the_law_as_it_is_and_cross_between_its_wells() -> None:
    # The tilt 36 tanh^2(.3 u_1) makes two wells about +-3.8, with ten nats between: trajectories stay where they began.
    inputs = torch.tensor([[0.3, 0.0, 0.0]], dtype=torch.float64)
    law = TiltedLaw(inputs, get_activation("tanh"), torch.tensor([[6.0]], dtype=torch.float64))
    particles = prior_particles(3, 4, 1000, seed=0, device=CPU, dtype=torch.float64)
    left = replace(particles, u=particles.u * torch.tensor([0.2, 1.0, 1.0]) - torch.tensor([3.8, 0.0, 0.0]))
    settled = moved(left, law, 20)
    assert float((settled.u[:, 0] > 0).double().mean()) < 0.02
    both = torch.cat([settled.u, -settled.u]).numpy()
    jumps = fitted_jumps(both, np.ones(len(both)), seed=0, device=CPU, dtype=torch.float64)
    crossed = moved(replace(left, jumps=jumps), law, 20)
    # Errors of a share and of a variance of 4,000 draws: .008 and .022.
    assert abs(float((crossed.u[:, 0] > 0).double().mean()) - 0.5) < 4 * 0.008
    assert abs(float((crossed.u[:, 1] ** 2).mean()) - 1) < 4 * 0.022
    assert abs(float(crossed.u[:, 0].abs().mean() - settled.u[:, 0].abs().mean())) < 4 * 0.015


def test_too_few_particles_in_wells_and_too_many_inputs_make_no_jumps() -> None:
    kind = {"seed": 0, "device": CPU, "dtype": torch.float64}
    assert fitted_jumps(two_wells(), np.zeros(1000), **kind) is None
    alone = np.eye(1000)[0]
    assert fitted_jumps(two_wells(), alone, **kind) is None
    assert fitted_jumps(np.zeros((100, 40)), np.ones(100), **kind) is None


def test_the_wider_prior_has_the_density_over_the_prior_that_is_stated() -> None:
    drawn = prior_particles(2, 2, 20_000, seed=0, device=CPU, dtype=torch.float64, is_wide=True)
    wider, outward = log_widened(drawn.u)
    # E_wide[1 / ratio] = 1; the reciprocal is at most 4, and its error over 40,000 draws below .01.
    assert abs(float((-wider).exp().mean()) - 1) < 4 * 0.01
    step = 1e-6
    up, down = (log_widened(drawn.u * (1 + s))[0] for s in (step, -step))
    slope = outward * (drawn.u**2).sum(1)
    torch.testing.assert_close((up - down) / (2 * step), slope, rtol=1e-5, atol=1e-6)
