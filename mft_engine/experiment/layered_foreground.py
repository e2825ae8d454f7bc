"""One foreground for every hidden layer: fresh neurons in the frozen field of that layer, the other layers as they are.

Clouds are tables of few numbers a neuron (`network.tables`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from mft_engine.compare.clouds import Comparison, compare_clouds
from mft_engine.compare.moments import with_moments
from mft_engine.device import to_host
from mft_engine.dynamics import Hyper
from mft_engine.dynamics.hyper import plan_of
from mft_engine.dynamics.layered import Layered
from mft_engine.experiment.background import Background
from mft_engine.experiment.events import ComparisonReady, ForegroundReady, Progress
from mft_engine.experiment.foreground import CloudForeground, Foreground
from mft_engine.experiment.outcome import Cloud, Outcome, Population, sent
from mft_engine.field.field import MeanField
from mft_engine.field.layered import layer_field
from mft_engine.kernels import StepPlan
from mft_engine.laws.tempered import climb
from mft_engine.network.scaling import output_scale
from mft_engine.network.tables import push_on_output, table_parity
from mft_engine.points.loss import LOSS, mean_loss
from mft_engine.points.statistics import function_alignment
from mft_engine.questions.surroundings import law_of, look, outgoing_law, reaching_kernels, watch_last_layer
from mft_engine.recipe import RecipeError
from mft_engine.rng import DRAWS, Stream, normal
from mft_engine.slices import relayed

Found = TypeVar("Found")

# Part of the recipe's time for which the last layer moves on alone before its foreground is drawn.
WATCHED_PART = 0.15


@dataclass(frozen=True)
class SampledLayer:
    """The foreground of one layer: its table, and the network function with these neurons in the layer's place."""

    cloud: Cloud
    prediction: np.ndarray | None
    loss: float


class LayeredForeground:
    """The foregrounds of all hidden layers.

    Args:
        background: whose fields are felt; network: its own.
    """

    def __init__(self, background: Background, network: Layered) -> None:
        self.fresh: Population | None = None
        self.seconds = 0.0
        self.health: dict[str, float] = {}
        self._background, self._network = background, network
        self._sampled: tuple[SampledLayer, ...] = ()
        self._n_draws = 0

    @property
    def exponent(self) -> float:
        """kappa with which a fresh last layer is read out."""
        return self._background.setting.foreground_exponent(self._background.recipe)

    def parts(self) -> tuple[Tensor, ...]:
        """W_1 .. W_L and b of the background."""
        return self._network.shapes.split(self._background.state.theta)

    # ---- sampling -------------------------------------------------------------------------------------------------

    def sample(self) -> Iterator[Progress | ForegroundReady]:
        """The first layer first."""
        start, draw, method = time.perf_counter(), self._n_draws, self._background.recipe.foreground.method
        self._sampled = ()
        sampling = self._draw_layers(draw) if method == "gibbs" else self._move_layers(draw)
        sampled = yield from sampling
        self._n_draws += 1
        self.seconds = time.perf_counter() - start
        self._sampled = tuple(sampled)
        clouds, last = tuple(layer.cloud for layer in sampled), sampled[-1]
        assert last.prediction is not None
        self.fresh = Population(clouds, last.prediction, last.loss, method)
        shown, sizes = tuple(map(sent, clouds)), tuple(len(cloud.theta) for cloud in clouds)
        yield ForegroundReady(shown, last.loss, method, self.seconds, sizes=sizes)

    def redraw(self) -> ForegroundReady | None:
        """Nothing to draw along a drag: the surroundings would have to be averaged anew."""
        return None

    def _move_layers(self, draw: int) -> Generator[Progress, None, list[SampledLayer]]:
        """By their own dynamics in the field of the last moment, with the averaged residual."""
        background, network, shapes = self._background, self._network, self._network.shapes
        n_layers, parts, inputs = network.n_layers, self.parts(), self._background.problem.inputs
        found = []
        for layer in range(1, n_layers + 1):
            text = f"sampling {background.recipe.foreground.n_neurons:,} foreground neurons of layer {layer}"
            for item in self._move_layer(layer, draw):
                if isinstance(item, float):
                    yield Progress("foreground", (layer - 1 + item) / n_layers, text)
                    continue
                n_in = parts[layer - 1].shape[1]
                incoming, outgoing = item[:, :n_in], item[:, n_in:]
                own = shapes.forward(parts, inputs, self.exponent)
                below = (inputs, *own.features)[layer - 1] * shapes.input_scale(layer)
                features = shapes.activations[layer - 1].phi(below @ incoming.T)
                told = outgoing @ push_on_output(shapes, parts, layer)
                found.append(self._describe(layer, incoming, features, told, self._replaced(layer, features, outgoing)))
        return found

    def _draw_layers(self, draw: int) -> Generator[Progress, None, list[SampledLayer]]:
        """From the law of a neuron in surroundings that are averaged along the run."""
        background, network, setting = self._background, self._network, self._background.setting
        problem, state, recipe = background.problem, background.state, background.recipe
        n_layers, hyper = network.n_layers, Hyper.of(recipe)
        residual = LOSS.signal(problem.targets, background.mean_prediction().to(setting.dtype))
        kernels = reaching_kernels(problem, network, state.theta)
        watch = background.watch
        seen = watch.mean if watch and watch.n_looks else look(problem, network, hyper, state.theta)
        found = []
        for layer in range(1, n_layers + 1):
            if layer == n_layers and background.is_trained_here and state.step:
                n_steps = int(WATCHED_PART * recipe.training.time / state.step_size)
                watching = watch_last_layer(problem, network, hyper, state, n_steps)
                text = "averaging the residual on the features of the last layer"
                residual, covariance = yield from self._told(watching, layer - 1, 0.9, text)
                residual, seen = residual.to(setting.dtype), replace(seen, covariance=covariance)
            law = law_of(problem, network, hyper, seen, kernels, residual, layer)
            seed = recipe.seed + layer * DRAWS
            n = recipe.foreground.n_neurons
            climbing = climb(law, n, seed=seed, draw=draw)
            sample = yield from self._told(climbing, layer - 0.1, 0.1, f"drawing the neurons of layer {layer}")
            features = law.activation.phi(law.inputs @ sample.w.T)
            if layer == n_layers:
                mean, deviation = law.readout_law(sample.w)
            else:
                mean = features.T @ outgoing_law(problem, seen, residual, layer) / law.penalty
                deviation = torch.full_like(mean, (law.temperature / law.penalty) ** 0.5)
            drawn = normal(seed, Stream.FOREGROUND_INITIAL, draw, n, 1, device=setting.device, dtype=setting.dtype)
            told = mean + deviation * drawn[:, 0]
            function = self._replaced(layer, features, told[:, None]) if layer == n_layers else None
            found.append(self._describe(layer, sample.w, features, told, function))
        return found

    def _told(
        self, work: Generator[float, None, Found], start: float, span: float, text: str
    ) -> Generator[Progress, None, Found]:
        """Carry out work that yields the fraction done, as progress from `start` on by `span` layers."""
        n_layers = self._network.n_layers
        return relayed(work, lambda done: Progress("foreground", (start + span * done) / n_layers, text))

    def field_of(self, layer: int) -> MeanField:
        """The field that the foreground of a layer reacts to."""
        background, problem = self._background, self._background.problem
        told = LOSS.signal(problem.targets, background.mean_prediction().to(background.setting.dtype))
        signal = problem.weights * told
        penalties = self._network.penalties(Hyper.of(background.recipe))
        return layer_field(
            self._network.shapes, penalties, problem.inputs, self.parts(), signal, layer, exponent=self.exponent
        )

    def _move_layer(self, layer: int, draw: int) -> Iterator[float | Tensor]:
        background, recipe = self._background, self._background.recipe
        field = self.field_of(layer)
        n_in, penalties = field.inputs.shape[1], field.penalties
        seed = recipe.seed + (draw * 4 + layer) * DRAWS

        def plan(hyper: Hyper, step_size: float) -> StepPlan:
            rates = tuple(1.0 / penalty if hyper.is_preconditioned else 1.0 for penalty in penalties)
            return plan_of(
                hyper, step_size, rates, penalties, seed=seed, stream=Stream.FOREGROUND, readout_exponent=1.0
            )

        start, mover = self._fresh_neurons(seed, penalties, n_in, layer), background.setting.movers[layer - 1]
        return background.dynamics.walk(start, field, recipe, background.state, mover, plan)

    def _fresh_neurons(self, seed: int, penalties: tuple[float, ...], n_in: int, layer: int) -> Tensor:
        setting, recipe = self._background.setting, self._background.recipe
        n, n_params, initial = recipe.foreground.n_neurons, len(penalties), recipe.initial
        draws = normal(seed, Stream.FOREGROUND_INITIAL, 0, n, n_params, device=setting.device, dtype=setting.dtype)
        if initial.law == "prior":
            scales = [(recipe.training.temperature / penalty) ** 0.5 for penalty in penalties]
        else:
            outgoing = initial.readout_std if layer == self._network.n_layers else initial.input_weight_std
            scales = [initial.input_weight_std] * n_in + [outgoing] * (n_params - n_in)
        return draws * torch.tensor(scales, dtype=setting.dtype, device=setting.device)

    # ---- their tables and functions -------------------------------------------------------------------------------

    def _describe(
        self, layer: int, incoming: Tensor, features: Tensor, told: Tensor, function: Tensor | None
    ) -> SampledLayer:
        """Table of sampled neurons, with the network function that they make.

        Args:
            incoming: (n, n_in) weights, shown for the first layer alone; features: (n_points, n); told: (n,) outgoing.
            function: (n_points,) f with the layer replaced by them; None where the draw has no full outgoing weights.
        """
        background, problem = self._background, self._background.problem
        own = self._network.shapes.forward(self.parts(), problem.inputs, problem.readout_exponent).features[layer - 1]
        table = self._network.table(layer, incoming, features, told, own)
        cloud = Cloud(to_host(table).astype(np.float32), self._network.columns(layer))
        if function is None:
            return SampledLayer(cloud, None, math.nan)
        prediction, points = to_host(function).astype(np.float64), background.field_points
        loss = mean_loss(points.weights, points.targets, prediction)
        return SampledLayer(cloud, prediction, loss)

    def _replaced(self, layer: int, features: Tensor, outgoing: Tensor) -> Tensor:
        """f when a layer's neurons are others, (n_points,); sums over fewer or more neurons keep their mean."""
        network, parts = self._network.shapes, self.parts()
        n_own, n_new = network.n_neurons[layer - 1], features.shape[1]
        if layer == network.n_layers:
            return (features @ outgoing[:, 0]) * output_scale(n_new, self.exponent)
        z = (features @ outgoing) * (network.input_scale(layer + 1) * n_own / n_new)
        h = network.activations[layer].phi(z)
        for above in range(layer + 2, network.n_layers + 1):
            h = network.activations[above - 1].phi((h @ parts[above - 1].T) * network.input_scale(above))
        return (h @ parts[-1][0]) * output_scale(network.n_neurons[-1], self.exponent)

    def predict(self, inputs: Tensor) -> Tensor | None:
        """Not kept: of the neurons only tables are."""
        return None

    def tables(self) -> tuple[Tensor, ...]:
        """They are kept on the host."""
        clouds = self.fresh.clouds if self.fresh is not None else ()
        return tuple(self._background.setting.tensor(cloud.theta) for cloud in clouds)

    def accuracies(self) -> dict[str, float]:
        """Not told: of the layers below the last only clouds are drawn, no function."""
        return {}

    # ---- comparison -----------------------------------------------------------------------------------------------

    def compare(self) -> Iterator[Progress | ComparisonReady]:
        """Layer by layer."""
        if not self._sampled:
            raise RecipeError("There is no foreground yet: resample it first")
        found = []
        for layer in range(1, len(self._sampled) + 1):
            for answer in self._compare_layer(layer):
                if isinstance(answer, Comparison):
                    found.append(answer)
                else:
                    fraction = (layer - 1 + answer) / self._network.n_layers
                    yield Progress("compare", fraction, f"comparing the clouds of layer {layer}")
        yield ComparisonReady(comparisons=tuple(found))

    def _compare_layer(self, layer: int) -> Iterator[float | Comparison]:
        background, sampled = self._background, self._sampled[layer - 1]
        table, state = background.tables()[layer - 1], background.state
        mean = to_host(background.mean_prediction())
        seed, n_inputs, names = background.recipe.seed + layer, table.shape[1] - 1, self._network.columns(layer)
        parity, eta_theta = table_parity(self._network.activations, layer), state.step_size * state.eigenvalue
        for answer in compare_clouds(
            table,
            sampled.cloud.theta,
            n_inputs,
            parity=parity,
            n_permutations=background.recipe.comparison.n_permutations,
            seed=seed,
            eta_theta=eta_theta,
            names=names,
        ):
            if isinstance(answer, Comparison):
                # No law of a neuron's table is known: moments stand in for the averages of one hidden layer.
                answer = with_moments(
                    answer, table, sampled.cloud.theta, n_inputs, names, parity=parity, seed=seed, eta_theta=eta_theta
                )
            if isinstance(answer, Comparison) and sampled.prediction is not None:
                answer = answer.with_functions(
                    function_alignment=function_alignment(mean, sampled.prediction, background.field_points.weights),
                    background_loss=background.loss,
                    foreground_loss=sampled.loss,
                )
            yield answer

    def forget(self) -> None:
        """They have to be sampled anew."""
        self.fresh, self._sampled = None, ()

    def take_back(self, outcome: Outcome) -> None:
        """For show; to be compared they have to be sampled anew."""
        self.fresh = outcome.foreground
        self._n_draws = max(self._n_draws, 1 if outcome.foreground is not None else 0)


def foreground_of(background: Background) -> Foreground:
    """The foreground that belongs to the network of a background."""
    network = background.setting.network
    return (
        LayeredForeground(background, network) if isinstance(network, Layered) else CloudForeground(background, network)
    )
