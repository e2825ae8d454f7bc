"""Which recipes have an exact infinite-width solution, and that solution."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch

from mft_engine.device import choose_device, double_device
from mft_engine.laws.harmonics import SuperlinearActivationError, refuse_superlinear
from mft_engine.laws.particles import LawLost
from mft_engine.laws.stopped import SolveStopped
from mft_engine.network.activations import get_activation
from mft_engine.network.scaling import drive, mean_field_temperature_scale
from mft_engine.points.measure import Measure, judging_measure, targets_on, training_measure
from mft_engine.questions.fourier import describe
from mft_engine.recipe import Recipe, RecipeError
from mft_engine.rng import Stream
from mft_engine.tasks import Task, build_task
from mft_engine.theory.layered_theory import LayeredTheory, solve_two_hidden
from mft_engine.theory.orbits import find_orbits
from mft_engine.theory.particle_solver import solve_particles
from mft_engine.theory.particle_theory import ParticleTheory
from mft_engine.theory.particle_theory import TestPoints as Judges
from mft_engine.theory.planar import PlanarTheory, solve_planar
from mft_engine.theory.sampled_dual import PointProblem
from mft_engine.theory.theory import Theory
from mft_engine.theory.two_hidden import TwoHiddenProblem

# Training points of the planar solver, and of the particles.
MAX_TRAINING_POINTS = 1024
MOST_POINTS = 16_384
# Of two hidden layers every point is an input of the second.
MOST_POINTS_OF_TWO = 1024
# Particles x points that one round takes without being asked for more: some tens of seconds on two cores.
USUAL_WORK = 2_000_000
FEWEST_PARTICLES, USUAL_PARTICLES = 2000, 6000
# Where symmetries leave few unknowns and many wells that are one another's images.
PARTICLES_OF_ORBITS = 8000
SAMPLES_SHOWN = 2000


def why_no_theory(recipe: Recipe) -> str:
    """The sentence that says why no infinite-width solver applies; empty where one does."""
    if recipe.network.n_layers > 2:
        return "The exact infinite-width solver is for one or two hidden layers."
    if recipe.network.n_layers == 2 and recipe.network.readout_exponent != 1.0:
        return "The law of two hidden layers is solved at readout exponent 1 (mean field)."
    if recipe.training.temperature == 0:
        return "At temperature 0 there is no Gibbs law; the cloud keeps the memory of its start."
    if not recipe.network.train_readout:
        return "The exact infinite-width solver needs trained readouts."
    try:
        for name in (recipe.network.activation, recipe.network.upper_activation)[: recipe.network.n_layers]:
            refuse_superlinear(name)
    except SuperlinearActivationError as error:
        return str(error)
    if recipe.training.n_points > MOST_POINTS:
        return f"The exact infinite-width solver takes at most {MOST_POINTS:,} training points."
    return ""


def why_not_at_once(recipe: Recipe) -> str:
    """The sentence that says why a solution is not looked for unasked; empty where it is."""
    if recipe.network.n_layers == 2 and not recipe.theory.n_particles and not why_no_theory(recipe):
        return (
            "The infinite-width law of two hidden layers takes minutes: mft-lab theory solves it, and so does a run "
            "whose recipe sets theory.n_particles (2048 is usual)."
        )
    return ""


def is_planar(recipe: Recipe, task: Task) -> bool:
    """Whether the planar solver answers, exactly and at once: two inputs, one readout, not too many points."""
    if task.n_inputs != 2 or task.n_out > 1 or recipe.training.n_points > MAX_TRAINING_POINTS:
        return False
    if recipe.network.n_layers > 1:
        return False
    return task.points is None or len(task.points.targets) <= MAX_TRAINING_POINTS or recipe.training.n_points > 0


def mean_field_problem(recipe: Recipe) -> tuple[float, float, float]:
    """Temperature, lambda_w and lambda_a of the mean-field network with the same equilibrium law.

    With a' = N^(1 - kappa) a the Gibbs measure of readout exponent kappa at width N is the mean-field one at

        T' = T N^(2 - 2 kappa),   lambda_w' = lambda_w N^(2 - 2 kappa),   lambda_a' = lambda_a
    """
    factor = mean_field_temperature_scale(recipe.network.n_neurons[-1], recipe.network.readout_exponent)
    return recipe.training.temperature * factor, recipe.lambda_w * factor, recipe.lambda_a


def solve_theory(
    recipe: Recipe,
    *,
    task: Task | None = None,
    warm: Theory | None = None,
    should_stop: Callable[[], bool] | None = None,
    precision: float | None = None,
    seconds: float | None = None,
    report: Callable[[float], None] | None = None,
) -> Theory:
    """The infinite-width solution of a recipe, on its training points where it has some.

    In the plane it is exact to many digits. With more inputs or readouts it is found by particles, has standard errors
    (`loss_error`, ...) and takes some ten seconds.

    Args:
        task: the recipe's, where it is at hand: the solver keeps what depends on the target function alone.
        warm: the solution of a recipe nearby (another target or activation is ignored).
        should_stop: asked during the solve; True abandons it with `SolveStopped`.
        precision: wanted standard error of the loss; seconds: no new round of particles begins after so long.
        report: told the fraction done of the present round.

    Raises:
        RecipeError: a recipe for which no solver exists; the message says why.
        LawLost: particles that do not suffice; the message says what would be enough.
        SolveStopped: `should_stop` answered True.
    """
    found: Theory | None = None
    for item in improve_theory(
        recipe, task=task, warm=warm, should_stop=should_stop, precision=precision, seconds=seconds
    ):
        if isinstance(item, float):
            if report is not None:
                report(item)
            if should_stop is not None and should_stop():
                raise SolveStopped
        else:
            found = item
    assert found is not None
    if found.shortfall:
        raise LawLost(found.shortfall)
    return found


def improve_theory(
    recipe: Recipe,
    *,
    task: Task | None = None,
    warm: Theory | None = None,
    should_stop: Callable[[], bool] | None = None,
    precision: float | None = None,
    seconds: float | None = None,
) -> Iterator[float | Theory]:
    """`solve_theory` in slices: fractions of the present round, and a solution after each, better than the last.

    A solution whose `shortfall` says something is not to be relied on.

    Raises:
        RecipeError, LawLost, SolveStopped: as `solve_theory`.
    """
    task = task or build_task(recipe.task, recipe.seed)
    reason = why_no_theory(recipe)
    if reason:
        raise RecipeError(reason)
    if is_planar(recipe, task):
        yield _solve_in_the_plane(recipe, task, warm if isinstance(warm, PlanarTheory) else None, should_stop)
        return
    measure = training_measure(recipe.training, task, recipe.seed)
    if recipe.network.n_layers == 2:
        yield from _solve_two_hidden(recipe, task, measure)
        return
    n_points, section = len(measure.weights), recipe.theory
    if n_points > MOST_POINTS:
        raise RecipeError(f"The exact infinite-width solver takes at most {MOST_POINTS:,} training points.")
    problem = _problem(recipe, task, measure)
    usual = int(np.clip(USUAL_WORK // n_points, FEWEST_PARTICLES, USUAL_PARTICLES))
    if problem.orbits is not None:
        usual = PARTICLES_OF_ORBITS
    judges = _judges(recipe, task)
    for item in solve_particles(
        problem,
        seed=recipe.seed,
        n_particles=section.n_particles or usual,
        n_replicates=section.n_replicates,
        precision=precision,
        seconds=seconds,
        warm=warm if isinstance(warm, ParticleTheory) else None,
        test=judges,
        n_relevant=task.n_relevant,
    ):
        yield item if isinstance(item, float) else _described(item, recipe, task, judges)


def sample_theory(theory: Theory, recipe: Recipe, n: int, stream: int, draw: int = 0) -> np.ndarray:
    """Neurons of the exact law as a network of the recipe holds them, a = N^(kappa - 1) a'.

    Args:
        n: how many; stream, draw: which random numbers.

    Returns:
        (n, n_inputs + n_out) columns w, a.
    """
    seed = recipe.seed + (int(stream) << 40) + (draw << 46)
    theta = theory.sample(n, seed=seed)
    theta[:, -theory.n_out :] *= drive(recipe.network.n_neurons[-1], recipe.network.readout_exponent)
    return theta


def theory_tables(theory: Theory, recipe: Recipe, task: Task, n: int) -> tuple[np.ndarray, ...]:
    """Neurons of the exact law with the columns in which clouds are told (`network.tables`), one table a hidden layer.

    Of the second of two layers there is a table where the task names the functions that it is told by.

    Args:
        n: how many of each layer.
    """
    if not isinstance(theory, LayeredTheory):
        return (sample_theory(theory, recipe, n, Stream.THEORY),)
    first, above = theory.sample_layers(n, seed=recipe.seed + (int(Stream.THEORY) << 40))
    if not task.functions:
        return (first,)
    inputs, weights = (part.cpu().numpy() for part in (theory.problem.inputs, theory.problem.weights))
    functions = np.stack([function.of(inputs) for function in task.functions], axis=1)
    return first, np.concatenate([above[:, :-1] @ (weights[:, None] * functions), above[:, -1:]], axis=1)


def _solve_in_the_plane(
    recipe: Recipe, task: Task, warm: PlanarTheory | None, should_stop: Callable[[], bool] | None
) -> PlanarTheory:
    points = None
    if recipe.training.n_points or not task.is_gaussian:
        measure = training_measure(recipe.training, task, recipe.seed)
        points = (measure.inputs, targets_on(measure, task), measure.weights)
    target = None if points else task.target
    return solve_planar(
        target,
        recipe.network.activation,
        *mean_field_problem(recipe),
        points=points,
        warm=warm,
        should_stop=should_stop,
    )


def point_problem(recipe: Recipe, inputs: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> PointProblem:
    """The mean-field problem of a recipe on weighted points.

    Args:
        inputs: (n_points, n_inputs), targets: (n_points,) or (n_points, n_out), weights: (n_points,).
    """
    device = double_device(choose_device(recipe.engine.device))
    dtype = torch.float64 if recipe.engine.dtype == "float64" else torch.float32

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(values, dtype=torch.float64, device=device)

    targets = targets.reshape(len(weights), -1)
    activation = get_activation(recipe.network.activation)
    parts = tensor(inputs), tensor(targets), tensor(weights)
    return PointProblem(*parts, activation, *mean_field_problem(recipe), dtype)


def _solve_two_hidden(recipe: Recipe, task: Task, measure: Measure) -> Iterator[float | Theory]:
    """The joint law of two hidden layers, from both starts."""
    if len(measure.weights) > MOST_POINTS_OF_TWO:
        raise RecipeError(
            f"The law of two hidden layers takes at most {MOST_POINTS_OF_TWO:,} points; this recipe has "
            f"{len(measure.weights):,}. Choose fewer (training.n_points, or a coarser rule)"
        )
    plain = point_problem(recipe, measure.inputs, targets_on(measure, task), measure.weights)
    network = recipe.network
    problem = TwoHiddenProblem(
        *(plain.inputs, plain.targets, plain.weights),
        activations=(get_activation(network.activation), get_activation(network.upper_activation)),
        temperature=recipe.training.temperature,
        penalties=(recipe.lambda_w, recipe.lambda_hidden, recipe.lambda_a),
        width_ratio=network.n_neurons[1] / network.n_neurons[0],
        dtype=plain.dtype,
    )
    for item in solve_two_hidden(problem, seed=recipe.seed, n_particles=recipe.theory.n_particles):
        if isinstance(item, LayeredTheory) and task.functions:
            _, above = item.sample_layers(SAMPLES_SHOWN * 4, seed=recipe.seed)
            functions = np.stack([function.of(measure.inputs) for function in task.functions], axis=1)
            overlaps = above[:, :-1] @ (measure.weights[:, None] * functions)
            names = [f"overlap_{function.name}" for function in task.functions]
            found = dict(zip(names, (overlaps**2).mean(axis=0).tolist(), strict=True))
            yield replace(item, order_parameters=found)
        else:
            yield item


def _problem(recipe: Recipe, task: Task, measure: Measure) -> PointProblem:
    targets = targets_on(measure, task).reshape(len(measure.weights), -1)
    orbits = find_orbits(measure.inputs, targets, measure.weights)
    problem = point_problem(recipe, measure.inputs, targets, measure.weights)
    return replace(problem, orbits=orbits, images=task.images)


def _judges(recipe: Recipe, task: Task) -> Judges | None:
    """What the function is judged by; None where it is trained on all there is."""
    if not (len(task.points.test_targets) if task.points is not None else recipe.training.n_points):
        return None
    measure = judging_measure(recipe.training, task, recipe.seed)
    device = double_device(choose_device(recipe.engine.device))
    targets = targets_on(measure, task).reshape(len(measure.weights), -1)
    parts = (torch.as_tensor(p, dtype=torch.float64, device=device) for p in (measure.inputs, targets, measure.weights))
    return Judges(*parts)


def _described(found: ParticleTheory, recipe: Recipe, task: Task, judges: Judges | None) -> ParticleTheory:
    """With what only the task can say: accuracies of the mean function, waves of additions."""
    if task.is_classification:
        shown, unseen = found.problem, judges
        share, error = found.accuracy_of(shown.inputs.cpu().numpy(), shown.targets.cpu().numpy())
        found = replace(found, train_accuracy=share, train_accuracy_error=error)
        if unseen is not None:
            share, error = found.accuracy_of(unseen.inputs.cpu().numpy(), unseen.targets.cpu().numpy())
            found = replace(found, test_accuracy=share, test_accuracy_error=error)
    if task.modulus and task.points is not None and not found.shortfall:
        sample = found.sample(SAMPLES_SHOWN, seed=recipe.seed)
        scale = float(task.points.inputs.max())
        found = replace(found, fourier=describe(sample, task.modulus, recipe.network.activation, scale))
    return found
