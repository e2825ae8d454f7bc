"""Jumps of whole neurons between the wells of a law: independence proposals from a mixture fitted to other particles.

    q(u) = sum_k share_k N(u; mean_k, covariance_k),   accepted with p(u') q(u) / (p(u) q(u'))

Narrow wells are entered and left by trajectories once in hundreds of moves (four of ten signs: their irrelevant weights
have to shrink to a tenth together). Proposals that know where the wells lie cross in a few, whatever they hold: a
wrong fit costs acceptance alone. The particles that are fitted must not be those that jump.

Source: Tierney, Ann. Statist. 22 (1994), 1701 (independence chains); the fit by expectation and maximisation.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property

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
# Particles that are fitted, and turns of the fit.
FITTED, N_TURNS = 2000, 30
# Inputs up to which Gaussians resemble wells well enough to be accepted.
MOST_INPUTS = 32
# Numbers in the roots of proposals that are made together.
MOST_ROOTS = 2**26


@dataclass(frozen=True)
class Jumps:
    """A mixture that whole neurons are proposed from.

    Attributes:
        shares: (n,) of total 1; means: (n, n_inputs); roots: (n, n_inputs, n_inputs) lower, of the covariances;
            inverses: of the roots. The first Gaussian is the prior.
    """

    shares: Array
    means: Tensor
    roots: Tensor
    inverses: Tensor

    def numbers(self, n: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Which Gaussian, (n,), and standard normal numbers, (n, n_inputs), of as many proposals."""
        kind = generator.choice(len(self.shares), size=n, p=self.shares)
        return kind, generator.standard_normal((n, self.means.shape[1]))

    def proposed(self, kind: np.ndarray, noise: np.ndarray) -> Tensor:
        """(n, n_inputs) proposals made of `numbers`."""
        means = self.means
        chosen = torch.as_tensor(kind, device=means.device)
        xi = torch.as_tensor(noise, dtype=means.dtype, device=means.device)
        n_rows = max(1, MOST_ROOTS // self.roots[0].numel())
        parts = [
            torch.bmm(self.roots[which], numbers[:, :, None])[:, :, 0]
            for which, numbers in zip(torch.split(chosen, n_rows), torch.split(xi, n_rows), strict=True)
        ]
        return means[chosen] + torch.cat(parts)

    def log_density(self, u: Tensor) -> Tensor:
        """(n,) log q over the prior's density."""
        scaled = torch.matmul(u - self.means[:, None], self.inverses.transpose(1, 2))
        return torch.logsumexp(self._heights[:, None] - 0.5 * scaled.square_().sum(2), 0) + 0.5 * (u * u).sum(1)

    @cached_property
    def _heights(self) -> Tensor:
        """(n,) log of each Gaussian's share over the root of its determinant."""
        return torch.as_tensor(self.shares).log().to(self.means) + self.inverses.diagonal(dim1=1, dim2=2).log().sum(1)


def fitted_jumps(u: Array, weights: Array, *, seed: int, device: torch.device, dtype: torch.dtype) -> Jumps | None:
    """The mixture about the wells of some particles; None with too few of them in wells, or too many inputs.

    Args:
        u: (n, n_inputs) particles; weights: (n,) how much each tells of the wells, at least 0: its probability times
            its tilt.
    """
    d, total = u.shape[1], float(weights.sum())
    if d > MOST_INPUTS or not total > 0:
        return None
    from sklearn.exceptions import ConvergenceWarning  # a second that only short ways are worth
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits

    marks = (np.arange(FITTED) + 0.5) / FITTED * total
    chosen = np.minimum(np.searchsorted(np.cumsum(weights), marks), len(u) - 1)
    n_wells = min(N_WELLS, len(np.unique(chosen)) // (2 * d))
    if n_wells < 1:
        return None
    # One thread: the same bits for any number. A fit that has not come to its end proposes well enough.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fit = GaussianMixture(
            n_wells, reg_covar=1e-4, max_iter=N_TURNS, tol=1e-2, init_params="k-means++", random_state=seed % 2**31
        ).fit(u[chosen])
        roots = np.linalg.cholesky(INFLATION * fit.covariances_)
    shares = np.concatenate([[PRIOR_SHARE], (1 - PRIOR_SHARE) * fit.weights_])

    def tensor(values: Array) -> Tensor:
        return torch.as_tensor(values, dtype=dtype, device=device)

    roots = np.concatenate([np.eye(d)[None], roots])
    means = np.concatenate([np.zeros((1, d)), fit.means_])
    return Jumps(shares / shares.sum(), tensor(means), tensor(roots), tensor(np.linalg.inv(roots)))
