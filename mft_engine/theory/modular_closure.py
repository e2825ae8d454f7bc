"""The closure of modular addition in Fourier space: as printed, and with the factor that its own action asks for.

A quadratic neuron has input vectors on Z_P with Fourier amplitudes w_k, v_k. Its action

    S = P [ (1/2) sum (|w_k|^2 + |v_k|^2) - u a^2 sum |w_k|^2 |v_k|^2 ] + (P gamma/6) sum (|w_k|^6 + |v_k|^6)

has, beside 0, wells in which one frequency carries everything. |a| is the share of the target that is not learnt yet.
The printed closure lacks the 4 P^2 of sum_p (y_p.h)^2 = 4 P^3 sum |w_k|^2 |v_k|^2; networks are to be compared with the
corrected one alone.

Source: Rubin, Seroussi, Ringel, arXiv 2310.03789; the correction: docs/physics.md, section 6.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

Form = Literal["printed", "corrected"]
Branch = Literal["equilibrium", "unaligned", "aligned"]


@dataclass(frozen=True)
class ModularAddition:
    """The setting, in the paper's units.

    Attributes:
        noise: sigma^2.
        n_neurons, modulus: N and P.
        readout_variance: sigma_a^2.
        gamma: weight of the sixth power that keeps amplitudes finite.
        form: "printed", or "corrected" by the factor 4 P^2 in L.
    """

    noise: float
    n_neurons: int = 1000
    modulus: int = 401
    readout_variance: float = 2e-6
    gamma: float = 1e-4
    form: Form = "corrected"

    def __post_init__(self) -> None:
        for name in ("noise", "n_neurons", "modulus", "readout_variance", "gamma"):
            if not (getattr(self, name) > 0 and math.isfinite(getattr(self, name))):
                raise ValueError(f"{name} = {getattr(self, name)!r}: the closure needs a finite number above 0")
        if self.form not in ("printed", "corrected"):
            raise ValueError(f'form = {self.form!r}: there is "printed" and "corrected"')

    @property
    def u(self) -> float:
        """How hard the data pull, u = 2 sigma_a^2 P^2 / (N sigma^4)."""
        return 2.0 * self.readout_variance * self.modulus**2 / (self.n_neurons * self.noise**2)

    @property
    def label(self) -> str:
        """For legends: which closure this is."""
        return "closure as printed" if self.form == "printed" else "closure, corrected (4 P^2)"

    @property
    def gain(self) -> float:
        """What an aligned neuron's w_+^4 is multiplied by in L: sigma_a^2, corrected 4 P^2 sigma_a^2."""
        return self.readout_variance * (4.0 * self.modulus**2 if self.form == "corrected" else 1.0)

    @property
    def onset(self) -> float:
        """sigma^2 at which the aligned well comes down to S = 0 while nothing is learnt: u = 2 sqrt(gamma/3).

        S = S' = 0 at w^4 = 3/gamma and u a^2 = 2 sqrt(gamma/3). In the mixed phase S stays there: |a| = sigma^2/onset.
        """
        return math.sqrt(self.readout_variance * self.modulus**2 / (self.n_neurons * math.sqrt(self.gamma / 3.0)))

    @property
    def mixed_end(self) -> float:
        """sigma^2 at which every neuron is aligned and the mixed phase ends, onset - gain 3/gamma; 0 if it never does.

        In the limit of sharp phases, where L = onset - sigma^2 in the mixed phase and can be gain w_+^4 at most.
        """
        return max(0.0, self.onset - self.gain * 3.0 / self.gamma)


@dataclass(frozen=True)
class ModularClosure:
    """A solution |a|, and what follows from it.

    Attributes:
        unlearned: |a|; 1 where nothing is learnt.
        branch: "equilibrium", or the one in which no neuron ("unaligned") or every neuron ("aligned") has a frequency.
        amplitude: w_+^2 of an aligned neuron; None where there is no aligned well.
        action: S there, in nats, against 0 for a neuron without a frequency.
        aligned_mass: 4 e^-S / (1 + 4 e^-S) (0 or 1 on the other branches).
    """

    setting: ModularAddition
    unlearned: float
    branch: Branch
    amplitude: float | None
    action: float | None
    aligned_mass: float

    @property
    def phase(self) -> Literal["unaligned", "mixed", "aligned"]:
        """By the share of aligned neurons: below what moves |a| by 1 %, in between, more than 99 %."""
        if self.aligned_mass > 0.99:
            return "aligned"
        return "unaligned" if self.unlearned > 0.99 else "mixed"


def aligned_well(setting: ModularAddition, unlearned: float) -> tuple[float, float] | None:
    """Where the aligned well is, w_+^2 = (u a^2 + sqrt(u^2 a^4 - gamma))/gamma, and S there; None where there is none.

    With |w_k|^2 = |v_k|^2 = x in one frequency S = P (x - u a^2 x^2 + gamma x^3/3).
    """
    pull = setting.u * unlearned**2
    if pull * pull < setting.gamma:
        return None
    x = (pull + math.sqrt(pull * pull - setting.gamma)) / setting.gamma
    return x, setting.modulus * (x - pull * x**2 + setting.gamma * x**3 / 3.0)


def _learning(setting: ModularAddition, unlearned: float, branch: Branch) -> float:
    """L(|a|): what the aligned neurons contribute against sigma^2."""
    well = aligned_well(setting, unlearned)
    if branch == "unaligned" or well is None:
        return 0.0
    return setting.gain * well[0] ** 2 * (1.0 if branch == "aligned" else _mass(well[1]))


def _mass(action: float) -> float:
    return float(expit(math.log(4.0) - action))


def solve_modular_closure(setting: ModularAddition, branch: Branch = "equilibrium") -> list[ModularClosure]:
    """Every solution of the closure on a branch.

        |a| = sigma^2 / (L + sigma^2),   L = gain w_+^4 4 e^-S / (1 + 4 e^-S)

    L grows with |a|, so that a branch has one solution at most; none where the well, as it is born, already takes more
    than the balance allows (the aligned branch at small sigma^2; the equilibrium at small P only).
    """
    if branch == "unaligned":
        return [_described(setting, 1.0, branch)]
    # A hair above its birth, so that the well is there in float64 as well.
    lowest = birth_of_the_well(setting) * (1.0 + 1e-12)
    if lowest >= 1.0:  # no well for any residual
        return [_described(setting, 1.0, branch)] if branch == "equilibrium" else []

    def excess(unlearned: float) -> float:
        """|a| (L + sigma^2) - sigma^2, rising."""
        return unlearned * (_learning(setting, unlearned, branch) + setting.noise) - setting.noise

    if excess(lowest) > 0:
        return []
    root = float(brentq(excess, lowest, 1.0, xtol=1e-15, rtol=1e-14))
    return [_described(setting, root, branch)]


def birth_of_the_well(setting: ModularAddition) -> float:
    """The |a| at which the aligned well is born, u a^2 = sqrt(gamma) (above 1: it never is)."""
    return math.sqrt(math.sqrt(setting.gamma) / setting.u)


def _described(setting: ModularAddition, unlearned: float, branch: Branch) -> ModularClosure:
    well = aligned_well(setting, unlearned)
    mass = 0.0 if well is None or branch == "unaligned" else 1.0 if branch == "aligned" else _mass(well[1])
    amplitude, action = well if well is not None else (None, None)
    return ModularClosure(setting, unlearned, branch, amplitude, action, mass)


def fourier_pull(w: np.ndarray, v: np.ndarray) -> float:
    """4 P^3 sum_{k != 0} |w_k|^2 |v_k|^2, w_n = sum_k w_k e^(2 pi i k n/P): what all classes see of a neuron.

    It equals sum_p (y_p . h)^2 over the P^2 pairs, h(n, m) = (w_n + v_m)^2, y_p = delta(n + m = p) - 1/P. The printed
    closure leaves the prefactor out of L.

    Args:
        w, v: (P,) input weights of the two one-hot numbers.
    """
    modulus = len(w)
    power = np.abs(np.fft.fft(w) / modulus) ** 2 * np.abs(np.fft.fft(v) / modulus) ** 2
    return float(4.0 * modulus**3 * power[1:].sum())


def follow_modular_closure(
    setting: ModularAddition, noises: Iterable[float], branch: Branch = "equilibrium"
) -> list[list[ModularClosure]]:
    """Every solution at each sigma^2, all else equal."""
    return [solve_modular_closure(replace(setting, noise=noise), branch) for noise in noises]
