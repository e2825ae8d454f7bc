"""The experiment for networks with several hidden layers: one field, one foreground and one verdict for every layer."""

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
from mft_engine.device import to_host
from mft_engine.dynamics import Hyper, Info, State
from mft_engine.dynamics.layered_problem import LayeredProblem
from mft_engine.dynamics.problem import LARGEST_STEP, plan_of, resolving_step
from mft_engine.dynamics.state import RECORD_EVERY
from mft_engine.experiment.events import (
    CertificateReady,
    ComparisonReady,
    ForegroundReady,
    IterationReady,
    KernelReady,
    Progress,
    ReferencesReady,
)
from mft_engine.experiment.experiment import Experiment
from mft_engine.experiment.outcome import Cloud, Population
from mft_engine.field.field import MeanField
from mft_engine.field.layered import layer_field
from mft_engine.field.walk import DRAWS, FrozenField, Walk, move
from mft_engine.kernels import StepPlan
from mft_engine.kernels.reference import ReferenceKernel
from mft_engine.laws.tempered import climb
from mft_engine.network.layered import LayeredNetwork
from mft_engine.network.tables import Tables, push_on_output, table_parity
from mft_engine.points.statistics import function_alignment
from mft_engine.questions.certificate import Certificate
from mft_engine.questions.drift import drift_of
from mft_engine.questions.references import ReferenceLines
from mft_engine.questions.surroundings import Watch, law_of, look, outgoing_law, reaching_kernels, watch_last_layer
from mft_engine.recipe import Change, Recipe, RecipeError
from mft_engine.rng import Stream, normal

Found = TypeVar("Found")

# Part of the recipe's time for which the last layer moves on alone before its foreground is drawn.
WATCHED_PART = 0.15


@dataclass(frozen=True)
class SampledLayer:
    """The foreground of one layer: its table, and the network function with these neurons in the layer's place."""

    cloud: Cloud
    prediction: np.ndarray | None
    loss: float


class LayeredExperiment(Experiment):
    """`Experiment` for several hidden layers.

    The foreground of a layer is made of fresh neurons (incoming and outgoing weights) in the frozen field of that
    layer; the other layers stay as they are. Clouds are tables of few numbers a neuron (`Tables`).
    """

    problem: LayeredProblem

    @property
    def network(self) -> LayeredNetwork:
        """Shapes and activations."""
        return self.problem.layered

    @property
    def tables(self) -> Tables:
        """What neurons are told apart by."""
        return self.setting.tables

    def _initial_parameters(self) -> Tensor:
        self._sampled: dict[int, SampledLayer] = {}
        self._watch = Watch()
        setting = self.setting
        return self.network.initial(self.recipe, stream=Stream.INITIAL, device=setting.device, dtype=setting.dtype)

    def _steps(self, n_steps: int, beyond: bool) -> tuple[State, Info]:
        """Training, and a look at the surroundings of a neuron whenever a row is recorded."""
        state, info = super()._steps(n_steps, beyond)
        if state.n_predictions < self.state.n_predictions + state.step - self.state.step:
            self._watch.forget()  # the averages began anew
        if state.is_settled and state.step % RECORD_EVERY == 0:
            self._watch.add(look(self.problem, Hyper.of(self.recipe), state.theta))
        return state, info

    def retune(self, recipe: Recipe) -> Change:
        """Follow a recipe as other experiments do; what was seen of the old surroundings is forgotten."""
        change = super().retune(recipe)
        if change is Change.RETUNE:
            self._watch.forget()
        self._sampled = {}
        return change

    def pack_more(self) -> dict[str, np.ndarray]:
        """The averaged surroundings, for a checkpoint."""
        return self._watch.pack()

    def unpack_more(self, arrays: dict[str, np.ndarray]) -> None:
        """Go on with averages from a checkpoint."""
        self._watch.unpack(arrays, self.device)

    def _tables(self, theta: Tensor) -> tuple[Tensor, ...]:
        return tuple(self._layer_table(theta, layer) for layer in range(1, self.network.n_layers + 1))

    def _columns(self, layer: int) -> tuple[str, ...]:
        return self.tables.columns(layer, self.task.n_inputs)

    def _layer_table(self, theta: Tensor, layer: int) -> Tensor:
        network, parts = self.network, self.network.split(theta)
        outgoing = parts[layer].T @ push_on_output(network, parts, layer)
        if layer == 1:
            return self.tables.of_first_layer(parts[0], outgoing)
        features = self._features(theta, layer)
        return self.tables.of_upper_layer(features, outgoing, features)

    def _features(self, theta: Tensor, layer: int) -> Tensor:
        """(n_points, N_l) activation functions of a layer."""
        found = self.network.run(self.network.split(theta), self.problem.inputs, self.problem.readout_exponent)
        return found.features[layer - 1]

    def initial_clouds(self) -> tuple[Cloud, ...]:
        """The neurons of every hidden layer at step 0, drawn again from the recipe's initial law."""
        setting = self.setting
        theta = self.network.initial(self.recipe, stream=Stream.INITIAL, device=setting.device, dtype=setting.dtype)
        return self.clouds(self._tables(theta))

    def fields(self, n_pixels: int = 64, extent: float = 3.0) -> None:
        """No heat maps: an input of several layers' tasks is not a point of the plane."""
        return None

    # ---- the foreground -------------------------------------------------------------------------------------------

    def foreground(self) -> Iterator[Progress | ForegroundReady]:
        """Sample every layer's foreground, the first layer first, in slices of about 10 ms."""
        start, draw, method = time.perf_counter(), self._n_draws, self.recipe.foreground.method
        self._sampled, self.comparisons = {}, ()
        if method == "gibbs":
            yield from self._draw_layers(draw)
        else:
            yield from self._move_layers(draw)
        self._n_draws += 1
        self._foreground_seconds = time.perf_counter() - start
        clouds = tuple(self._sampled[layer].cloud for layer in sorted(self._sampled))
        last = self._sampled[self.network.n_layers]
        self._foreground_theta = self.setting.tensor(clouds[0].theta)
        assert last.prediction is not None
        self.fresh = Population(clouds, last.prediction, last.loss, method)
        yield ForegroundReady(clouds=clouds, loss=last.loss, method=method, seconds=self._foreground_seconds)

    def _move_layers(self, draw: int) -> Iterator[Progress]:
        """By their own dynamics in the field of the last moment, with the averaged residual."""
        n_layers, parts = self.network.n_layers, self.network.split(self.state.theta)
        exponent = self.setting.foreground_exponent(self.recipe)
        for layer in range(1, n_layers + 1):
            text = f"sampling {self.recipe.foreground.n_neurons:,} foreground neurons of layer {layer}"
            for item in self._sample_layer(layer, draw):
                if isinstance(item, float):
                    yield Progress("foreground", (layer - 1 + item) / n_layers, text)
                    continue
                n_in = parts[layer - 1].shape[1]
                incoming, outgoing = item[:, :n_in], item[:, n_in:]
                own = self.network.run(parts, self.problem.inputs, exponent)
                below = (self.problem.inputs, *own.features)[layer - 1] * self.network.input_scale(layer)
                features = self.network.activations[layer - 1].phi(below @ incoming.T)
                told = outgoing @ push_on_output(self.network, parts, layer)
                function = self._replaced(layer, features, outgoing, exponent)
                self._sampled[layer] = self._describe(layer, incoming, features, told, function)

    def _draw_layers(self, draw: int) -> Iterator[Progress]:
        """From the law of a neuron in surroundings that are averaged along the run."""
        n_layers, hyper = self.network.n_layers, Hyper.of(self.recipe)
        residual = self.problem.targets - self.mean_prediction().to(self.setting.dtype)
        kernels = reaching_kernels(self.problem, self.state.theta)
        seen = self._watch.mean if self._watch.n_looks else look(self.problem, hyper, self.state.theta)
        for layer in range(1, n_layers + 1):
            if layer == n_layers and self.is_trained_here and self.state.step:
                n_steps = int(WATCHED_PART * self.recipe.training.time / self.state.step_size)
                watching = watch_last_layer(self.problem, hyper, self.state, n_steps)
                text = "averaging the residual on the features of the last layer"
                residual, covariance = yield from self._told(watching, layer - 1, 0.9, text)
                residual, seen = residual.to(self.setting.dtype), replace(seen, covariance=covariance)
            law = law_of(self.problem, hyper, seen, kernels, residual, layer)
            seed = self.recipe.seed + layer * DRAWS
            n = self.recipe.foreground.n_neurons
            climbing = climb(law, n, seed=seed, draw=draw)
            sample = yield from self._told(climbing, layer - 0.1, 0.1, f"drawing the neurons of layer {layer}")
            features = law.activation.phi(law.inputs @ sample.w.T)
            function = None
            if layer == n_layers:
                mean, deviation = law.readout_law(sample.w)
            else:
                mean = features.T @ outgoing_law(self.problem, seen, residual, layer) / law.penalty
                deviation = torch.full_like(mean, (law.temperature / law.penalty) ** 0.5)
            drawn = normal(
                seed, Stream.FOREGROUND_INITIAL, draw, n, 1, device=self.setting.device, dtype=self.setting.dtype
            )
            told = mean + deviation * drawn[:, 0]
            if layer == n_layers:
                exponent = self.setting.foreground_exponent(self.recipe)
                function = self._replaced(layer, features, told[:, None], exponent)
            self._sampled[layer] = self._describe(layer, sample.w, features, told, function)

    def _told(
        self, work: Generator[float, None, Found], start: float, span: float, text: str
    ) -> Generator[Progress, None, Found]:
        """Carry out work that yields the fraction done, as progress from `start` on by `span` layers."""
        while True:
            try:
                yield Progress("foreground", (start + span * next(work)) / self.network.n_layers, text)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]

    def frozen_layer(self, layer: int) -> MeanField:
        """The field that the foreground of a layer reacts to."""
        problem, parts = self.problem, self.network.split(self.state.theta)
        signal = problem.weights * (problem.targets - self.mean_prediction().to(self.setting.dtype))
        penalties = problem.penalties(Hyper.of(self.recipe))
        exponent = self.setting.foreground_exponent(self.recipe)
        return layer_field(self.network, penalties, problem.inputs, parts, signal, layer, exponent=exponent)

    def _sample_layer(self, layer: int, draw: int) -> Iterator[float | Tensor]:
        hyper, field = Hyper.of(self.recipe), self.frozen_layer(layer)
        n_in = field.inputs.shape[1]
        n_out = 1 if field.signal.dim() == 1 else field.signal.shape[1]
        penalties = (field.lambda_w,) * n_in + (field.lambda_a,) * n_out
        seed = self.recipe.seed + (draw * 4 + layer) * DRAWS
        training, is_auto = self.recipe.training, self.recipe.training.step_size == "auto"

        def plan(step_size: float) -> StepPlan:
            rates = tuple(1.0 / penalty if hyper.is_preconditioned else 1.0 for penalty in penalties)
            return plan_of(
                hyper, step_size, rates, penalties, seed=seed, stream=Stream.FOREGROUND, readout_exponent=1.0
            )

        walk = Walk(
            step_size=self.state.step_size or (LARGEST_STEP if is_auto else float(training.step_size)),
            n_steps=self.recipe.foreground.n_steps or training.n_steps,
            time=training.time,
            largest_step=(lambda theta: resolving_step(theta, field, hyper)) if is_auto else None,
            plan=plan,
        )
        yield from move(
            self._fresh_neurons(seed, penalties, n_in, layer),
            FrozenField(field.inputs, field.signal),
            walk,
            ReferenceKernel(field.activation),
        )

    def _fresh_neurons(self, seed: int, penalties: tuple[float, ...], n_in: int, layer: int) -> Tensor:
        setting, initial = self.setting, self.recipe.initial
        n, n_params = self.recipe.foreground.n_neurons, len(penalties)
        draws = normal(seed, Stream.FOREGROUND_INITIAL, 0, n, n_params, device=setting.device, dtype=setting.dtype)
        if initial.law == "prior":
            scales = [(self.recipe.training.temperature / penalty) ** 0.5 for penalty in penalties]
        else:
            outgoing = initial.readout_std if layer == self.network.n_layers else initial.input_weight_std
            scales = [initial.input_weight_std] * n_in + [outgoing] * (n_params - n_in)
        return draws * torch.tensor(scales, dtype=setting.dtype, device=setting.device)

    def _describe(
        self, layer: int, incoming: Tensor, features: Tensor, told: Tensor, function: Tensor | None
    ) -> SampledLayer:
        """Table of sampled neurons, with the network function that they make.

        Args:
            incoming: (n, n_in) weights, shown for the first layer alone; features: (n_points, n); told: (n,) outgoing.
            function: (n_points,) f with the layer replaced by them; None where the draw has no full outgoing weights.
        """
        if layer == 1:
            table = self.tables.of_first_layer(incoming, told)
        else:
            table = self.tables.of_upper_layer(features, told, self._features(self.state.theta, layer))
        cloud = Cloud(to_host(table).astype(np.float32), self._columns(layer))
        if function is None:
            return SampledLayer(cloud, None, math.nan)
        prediction, points = to_host(function).astype(np.float64), self.field_points
        loss = float(np.sum(points.weights * (points.targets - prediction) ** 2))
        return SampledLayer(cloud, prediction, loss)

    def _replaced(self, layer: int, features: Tensor, outgoing: Tensor, exponent: float) -> Tensor:
        """f when a layer's neurons are others, (n_points,); sums over fewer or more neurons keep their mean."""
        network, parts = self.network, self.network.split(self.state.theta)
        n_own, n_new = network.n_neurons[layer - 1], features.shape[1]
        if layer == network.n_layers:
            return (features @ outgoing[:, 0]) * float(n_new) ** -exponent
        z = (features @ outgoing) * (network.input_scale(layer + 1) * n_own / n_new)
        h = network.activations[layer].phi(z)
        for above in range(layer + 2, network.n_layers + 1):
            h = network.activations[above - 1].phi((h @ parts[above - 1].T) * network.input_scale(above))
        return (h @ parts[-1][0]) * float(network.n_neurons[-1]) ** -exponent

    # ---- comparison -----------------------------------------------------------------------------------------------

    def compare(self) -> Iterator[Progress | ComparisonReady]:
        """Compare every layer's clouds; the first layer's comparison is `comparison`."""
        if not self._sampled:
            raise RecipeError("There is no foreground yet: resample it first")
        found = []
        for layer in sorted(self._sampled):
            for answer in self._compare_layer(layer):
                if isinstance(answer, Comparison):
                    found.append(answer)
                else:
                    fraction = (layer - 1 + answer) / self.network.n_layers
                    yield Progress("compare", fraction, f"comparing the clouds of layer {layer}")
        self.comparisons = tuple(found)
        yield ComparisonReady(comparisons=self.comparisons)

    def _compare_layer(self, layer: int) -> Iterator[float | Comparison]:
        sampled, points = self._sampled[layer], self.field_points
        table = self._layer_table(self.state.theta, layer)
        mean = to_host(self.mean_prediction())
        for answer in compare_clouds(
            table,
            sampled.cloud.theta,
            table.shape[1] - 1,
            parity=table_parity(self.network.activations, layer),
            n_permutations=self.recipe.comparison.n_permutations,
            seed=self.recipe.seed + layer,
            eta_theta=self.state.step_size * self.state.eigenvalue,
            names=self._columns(layer),
        ):
            if isinstance(answer, Comparison) and sampled.prediction is not None:
                answer = answer.with_functions(
                    function_alignment=function_alignment(mean, sampled.prediction, points.weights),
                    background_loss=self.background_loss,
                    foreground_loss=sampled.loss,
                )
            yield answer

    # ---- what only one hidden layer has -----------------------------------------------------------------------------

    def foreground_accuracies(self) -> dict[str, float]:
        """Not told: of the layers below the last only clouds are drawn, no function."""
        return {}

    def redraw(self) -> None:
        """Nothing to draw along a drag: the surroundings would have to be averaged anew."""
        return None

    def refer(self) -> Iterator[ReferencesReady]:
        """No lines: the lazy predictions are for one hidden layer."""
        yield ReferencesReady(lines=ReferenceLines())

    def certify(self) -> Iterator[Progress | CertificateReady]:
        """The scatter of the function alone: the convexity behind certificates holds for one hidden layer."""
        drift = drift_of(self.recipe, self.kind, self.history, self.task.n_inputs)
        self.certificate = Certificate(posterior=self.posterior(), drift=drift)
        yield CertificateReady(certificate=self.certificate)

    def data_kernel(self) -> Iterator[Progress | KernelReady]:
        """None: the study is of the first layer's law alone, which with more layers is not the network's kernel."""
        yield from ()

    def iterate(self, *, damping: float | None = None, n_iterations: int = 60) -> Iterator[Progress | IterationReady]:
        """Refused: the loop needs the law of a neuron."""
        raise RecipeError("The self-consistency loop is for networks of one hidden layer")
