"""Jumps of whole neurons between the wells of a law: independence proposals from a mixture fitted to other particles.

    q(u) = sum_k share_k N(u; mean_k, covariance_k),   accepted with p(u') q(u) / (p(u) q(u'))

Narrow wells are entered and left by trajectories once in hundreds of moves (four of ten signs: their irrelevant weights
have to shrink to a tenth together). Proposals that know where the wells lie cross in a few, whatever they hold: a
wrong fit costs acceptance alone. The particles that are fitted must not be those that jump.

Source: Tierney, Ann. Statist. 22 (1994), 1701 (independence chains); the fit by expectation and maximisation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]

# Gaussians beside the prior, and the prior's share among the proposals.
N_WELLS = 32
PRIOR_SHARE = 0.25
# Of fitted covariances: wells of kinked features have longer tails than Gaussians.
INFLATION = 1.5
FITTED = 4000
# Inputs up to which Gaussians resemble wells well enough to be accepted.
MOST_INPUTS = 32


@dataclass(frozen=True)
class Jumps:
    """A mixture that whole neurons are proposed from.

    Attributes:
        shares: (n,) of total 1; means: (n, n_inputs); roots: (n, n_inputs, n_inputs) lower, of the covariances;
            the first is the prior.
    """

    shares: Array
    means: Tensor
    roots: Tensor

    def draw(self, n: int, generator: np.random.Generator) -> Tensor:
        """(n, n_inputs) proposals."""
        means = self.means
        kind = torch.as_tensor(generator.choice(len(self.shares), size=n, p=self.shares), device=means.device)
        noise = torch.as_tensor(generator.standard_normal((n, means.shape[1])), dtype=means.dtype, device=means.device)
        return means[kind] + torch.bmm(self.roots[kind], noise[:, :, None])[:, :, 0]

    def log_density(self, u: Tensor) -> Tensor:
        """(n,) log q over the prior's density."""
        parts = []
        for share, mean, root in zip(self.shares, self.means, self.roots, strict=True):
            scaled = torch.linalg.solve_triangular(root, (u - mean).T, upper=False)
            parts.append(math.log(share) - float(root.diagonal().log().sum()) - 0.5 * (scaled * scaled).sum(0))
        return torch.logsumexp(torch.stack(parts), 0) + 0.5 * (u * u).sum(1)


def fitted_jumps(u: Array, weights: Array, *, seed: int, device: torch.device, dtype: torch.dtype) -> Jumps | None:
    """The mixture about the wells of some particles; None where there are too few particles in wells, or too many inputs.

    Args:
        u: (n, n_inputs) particles; weights: (n,) how much each tells of the wells, at least 0: its probability times
            its tilt.
    """
    d, total = u.shape[1], float(weights.sum())
    if d > MOST_INPUTS or not total > 0:
        return None
    from sklearn.mixture import GaussianMixture  # a second that only short ways are worth
    from threadpoolctl import threadpool_limits

    marks = (np.arange(FITTED) + 0.5) / FITTED * total
    chosen = np.minimum(np.searchsorted(np.cumsum(weights), marks), len(u) - 1)
    n_wells = min(N_WELLS, len(np.unique(chosen)) // (2 * d))
    if n_wells < 1:
        return None
    with threadpool_limits(1):  # the same bits for any number of threads
        fit = GaussianMixture(
            n_wells, reg_covar=1e-4, max_iter=60, tol=1e-2, init_params="k-means++", random_state=seed % 2**31
        ).fit(u[chosen])
        roots = np.linalg.cholesky(INFLATION * fit.covariances_)
    shares = np.concatenate([[PRIOR_SHARE], (1 - PRIOR_SHARE) * fit.weights_])

    def tensor(values: Array) -> Tensor:
        return torch.as_tensor(values, dtype=dtype, device=device)

    return Jumps(
        shares / shares.sum(),
        tensor(np.concatenate([np.zeros((1, d)), fit.means_])),
        tensor(np.concatenate([np.eye(d)[None], roots])),
    )
