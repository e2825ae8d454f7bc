"""The loss of the infinitely wide network along gradient descent, and how far a network of N neurons strays from it.

At T = 0 on points that stay, training is a deterministic flow of the initial law. Neurons that start on a scrambled
Sobol net carry that law to about 1/n, not 1/sqrt(n): a few scramblings give the limit and its error. A network of N
independent initial neurons has

    loss_N(t) = loss(t) + b(t)/N + s(t)/sqrt(N) xi

with b and s measured on many small networks of independent neurons.

Source: docs/physics.md, section 12.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import special
from torch import Tensor

from mft_engine import dynamics
from mft_engine.dynamics import Problem, State
from mft_engine.dynamics.table import DYNAMICS
from mft_engine.points.measure import sobol_normal
from mft_engine.questions.replay import InForce
from mft_engine.recipe import Recipe
from mft_engine.rng import Stream, normal

N_SCRAMBLINGS = 4
# Small networks whose scatter tells that of a wide one, and their neurons.
N_NETWORKS = 32
N_SMALL = 512
# Neurons of a Sobol net, as a power of two: 8 times the network's own, within these.
SMALLEST_NET, LARGEST_NET = 10, 13
# Neurons x points x steps that are worth the wait: some seconds on one core.
MOST_WORK = 4e10
SLICE_STEPS = 10
# Chance of a word of alarm about a network that does follow the curve, all its records together.
LEVEL = 0.001
# Relative difference of two steps that are one.
SAME_STEP = 1e-6
COLUMNS = ("times", "losses", "errors", "expected", "spread")


@dataclass(frozen=True)
class TrainingCurve:
    """The answer.

    Attributes:
        times, losses, errors: (n_records,) the limit, and its standard error from the scramblings.
        expected, spread: (n_records,) mean and standard deviation of a network of N independent initial neurons.
        farthest: the largest distance of the run's own loss from `expected`, in standard deviations.
        verdict: "on the curve", "off the curve" or None; why: a sentence.
    """

    times: tuple[float, ...]
    losses: tuple[float, ...]
    errors: tuple[float, ...]
    expected: tuple[float, ...]
    spread: tuple[float, ...]
    farthest: float | None
    verdict: str | None
    why: str

    @property
    def remark(self) -> str:
        """Only that a run is off the curve."""
        return self.why if self.verdict == "off the curve" else ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for summary and store."""
        return {name: list(getattr(self, name)) for name in COLUMNS} | {
            "farthest": self.farthest,
            "verdict": self.verdict,
            "why": self.why,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainingCurve:
        """What `to_dict` gave."""
        times, losses, errors, expected, spread = (tuple(values[name]) for name in COLUMNS)
        return cls(times, losses, errors, expected, spread, values["farthest"], values["verdict"], values["why"])


def no_answer(why: str) -> TrainingCurve:
    """Where there is no curve."""
    return TrainingCurve((), (), (), (), (), None, None, why)


def why_no_curve(recipe: Recipe) -> str:
    """The sentence that says why no curve is drawn; empty where one is."""
    training = recipe.training
    if training.temperature > 0:
        return "The curve of infinite width is for training without noise."
    if training.dynamics not in ("sgd", "langevin"):
        return "The curve of infinite width is drawn for gradient descent."
    if recipe.network.n_layers > 1:
        return "The curve of infinite width is drawn for one hidden layer."
    if training.batch_size or training.rule_rotates:
        return "The curve of infinite width needs points that stay."
    if recipe.initial.law != "gaussian":
        return "The curve of infinite width begins at a Gaussian law."
    if recipe.foreground.background != "trained":
        return "The curve of infinite width is that of the trained network."
    return ""


def training_curve(
    recipe: Recipe, problem: Problem, path: Sequence[InForce], state: State, rows: Sequence[Mapping[str, float]]
) -> Iterator[float | TrainingCurve]:
    """The curve up to the run's present step, beside the run.

    Args:
        problem: of the run; path: the recipes in force, from step 0 on; state: where it stands.
        rows: recorded along it, with step and loss.

    Yields:
        the fraction done, at last the answer.
    """
    reason = why_no_curve(recipe)
    n_neurons, n_points = recipe.network.n_neurons[0], len(problem.inputs)
    if not reason and len(rows) < (2 if recipe.training.step_size == "auto" else 1):
        reason = "The curve of infinite width begins with the first records."
    exponent = int(np.clip(math.ceil(math.log2(8 * n_neurons)), SMALLEST_NET, LARGEST_NET))
    work = (N_SCRAMBLINGS * 2**exponent + N_NETWORKS * N_SMALL) * n_points * state.step
    if not reason and work > MOST_WORK:
        reason = f"The curve of infinite width would take {work / MOST_WORK:.2g} times as long as is worth the wait."
    if reason:
        yield no_answer(reason)
        return
    is_automatic = recipe.training.step_size == "auto"
    path = _at_the_runs_pace(path, rows) if is_automatic else path
    curves: list[np.ndarray] = []
    n_curves = N_SCRAMBLINGS + N_NETWORKS
    shares = np.array([2.0**exponent] * N_SCRAMBLINGS + [float(N_SMALL)] * N_NETWORKS)
    ends = np.cumsum(shares) / shares.sum()
    for k in range(n_curves):
        is_net = k < N_SCRAMBLINGS
        theta = _net(recipe, problem, exponent, k) if is_net else _independent(recipe, problem, k - N_SCRAMBLINGS)
        for item in _trained(theta, problem, path, state.step):
            if isinstance(item, float):
                yield float(ends[k] - (1 - item) * shares[k] / shares.sum())
            else:
                curves.append(item)
    # Within its first record a run looks for its step while the cloud forms: the curve begins with the second.
    first = 1 if is_automatic else 0
    nets, small = (np.array(part)[:, first:] for part in (curves[:N_SCRAMBLINGS], curves[N_SCRAMBLINGS:]))
    rows = rows[first:]
    mean, error = nets.mean(axis=0), nets.std(axis=0, ddof=1) / N_SCRAMBLINGS**0.5
    expected = mean + (small.mean(axis=0) - mean) * N_SMALL / n_neurons
    spread = small.std(axis=0, ddof=1) * (N_SMALL / n_neurons) ** 0.5
    own = np.array([row["loss"] for row in rows][: len(mean)])
    times = tuple(float(row["time"]) for row in rows[: len(mean)])
    far = np.abs(own - expected) / np.hypot(spread, error)
    farthest = float(far.max())
    # Student's law of a spread that comes from N_NETWORKS networks; every record counts as a test of its own.
    usual = float(special.stdtrit(N_NETWORKS - 1, 1 - LEVEL / (2 * len(own))))
    verdict = "on the curve" if farthest <= usual else "off the curve"
    follows = "follows" if farthest <= usual else "leaves"
    why = (
        f"The run {follows} the loss of infinite width: at most {farthest:.1f} standard deviations of a network of "
        f"{n_neurons:,} neurons away, {usual:.1f} being usual; at its end infinite width has {mean[-1]:.4f}."
    )
    limit, errors, middle, scatter = (tuple(map(float, column)) for column in (mean, error, expected, spread))
    yield TrainingCurve(times, limit, errors, middle, scatter, farthest, verdict, why)


def _at_the_runs_pace(path: Sequence[InForce], rows: Sequence[Mapping[str, float]]) -> list[InForce]:
    """The same path with the steps that the run took from record to record.

    An automatic step depends on the neurons: other networks would be elsewhere in time at the same record.
    """
    ahead, found = list(path), list[InForce]()
    recipe = ahead[0][1]
    step, time, size = 0, 0.0, 0.0
    for row in rows:
        taken = (row["time"] - time) / (row["step"] - step)
        inside = [begin for begin, _ in ahead if step < begin < row["step"]]
        for begin in (step, *inside):
            before = recipe
            while ahead and ahead[0][0] <= begin:
                recipe = ahead.pop(0)[1]
            if recipe is not before or abs(taken - size) > SAME_STEP * taken:
                size = taken
                found.append((begin, recipe.replace({"training.step_size": size})))
        step, time = int(row["step"]), row["time"]
    return found


def _net(recipe: Recipe, problem: Problem, exponent: int, draw: int) -> Tensor:
    """Initial neurons on a scrambled Sobol net, (2^exponent, n_inputs + n_out)."""
    n_inputs = problem.inputs.shape[1]
    points = sobol_normal(exponent, n_inputs + problem.n_out, recipe.seed, Stream.TRAINING_CURVE, draw)
    return torch.as_tensor(points, dtype=problem.inputs.dtype, device=problem.inputs.device) * _widths(recipe, problem)


def _independent(recipe: Recipe, problem: Problem, draw: int) -> Tensor:
    """Independent initial neurons, (N_SMALL, n_inputs + n_out), of networks that the run is none of."""
    n_params = problem.inputs.shape[1] + problem.n_out
    device, dtype = problem.inputs.device, problem.inputs.dtype
    drawn = normal(recipe.seed, Stream.TRAINING_CURVE, draw, N_SMALL, n_params, device=device, dtype=dtype)
    return drawn * _widths(recipe, problem)


def _widths(recipe: Recipe, problem: Problem) -> Tensor:
    initial, n_inputs = recipe.initial, problem.inputs.shape[1]
    widths = [initial.input_weight_std] * n_inputs + [initial.readout_std] * problem.n_out
    return torch.tensor(widths, dtype=problem.inputs.dtype, device=problem.inputs.device)


def _trained(theta: Tensor, problem: Problem, path: Sequence[InForce], n_steps: int) -> Iterator[float | np.ndarray]:
    """The recorded losses of a network that starts at theta, after fractions done."""
    state, ahead, losses = dynamics.init(theta, problem), list(path), []
    recipe = ahead.pop(0)[1]
    mover = DYNAMICS[recipe.training.dynamics]()
    while state.step < n_steps:
        while ahead and ahead[0][0] <= state.step:
            recipe = ahead.pop(0)[1]
            state = dynamics.restart_averages(state, problem)
        end = min([n_steps, *(step for step, _ in ahead[:1])])
        state, info = mover.advance(state, problem, recipe, min(SLICE_STEPS, end - state.step), beyond=True)
        losses += [row["loss"] for row in info.records]
        yield state.step / n_steps
    yield np.array(losses)
