"""The exact law beyond the plane: figures that the README quotes, and modular addition's curves beside simulations.

python -m benchmarks.exact_law [modular] [tasks] [equilibrium] [extrapolation] [exponent] [curves] [curves_23]
                               [relaxation] [--quick] [--out DIR]
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch

from mft_engine import palette
from mft_engine.device import to_host
from mft_engine.estimates import averaged
from mft_engine.experiment.experiment import Experiment
from mft_engine.figures.sheet import Sheet, bare, style
from mft_engine.laws.particles import LawLost, drawn_from
from mft_engine.questions.theory import solve_theory
from mft_engine.recipe import Recipe, load_recipe
from mft_engine.theory.gibbs import _sweeps
from mft_engine.theory.particle_theory import ParticleTheory
from mft_engine.theory.theory import Theory

FRACTIONS = (0.45, 0.55, 0.6, 0.7)
# Of each modulus: recipe, and values of the law and of runs along both roads. Temperatures at the prior of the recipe:
# lambda moves with T.
ROADS = {
    11: (
        "modular-addition",
        ((0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7), (0.3, 0.45, 0.55, 0.7)),
        ((0.003, 0.01, 0.02, 0.025, 0.03, 0.04, 0.05), (0.003, 0.02, 0.03, 0.05)),
    ),
    23: (
        "modular-addition-23",
        ((0.3, 0.4, 0.5, 0.6), (0.3, 0.4, 0.5, 0.6)),
        ((0.003, 0.01, 0.02), (0.003, 0.01, 0.02)),
    ),
}
TASKS = ("digits", "cubic-teacher", "staircase", "parity")
# Of the recipes' runs.
RUN_TIMES = {11: 12, 23: 6}
N_SEEDS = 5
CURVE_PARTICLES = 4000
SIMULATED_WIDTHS = (512, 1024)
STAYED = 6.0
# Sweeps of whole neurons, and the most numbers of features proposed at once.
N_EXCHANGES, MOST_PROPOSED = 400, 8_000_000
EXTRAPOLATED = {"fractions": (0.55, 0.7), "widths": (512, 1024, 2048), "time": 9.0}
# A run that is watched on its way to the law, and the means of its accuracy that are drawn.
RELAXED = {"fraction": 0.55, "time": 300.0, "seeds": 3, "n_means": 24}
PARTS = ("modular", "tasks", "equilibrium", "extrapolation", "exponent", "curves", "curves_23", "relaxation")


def at_fraction(fraction: float, name: str = "modular-addition") -> Recipe:
    """Modular addition with another part of the pairs shown."""
    return load_recipe(name).replace({"task.train_fraction": fraction})


def at_temperature(temperature: float, name: str = "modular-addition") -> Recipe:
    """Modular addition at another temperature and the same prior."""
    recipe = load_recipe(name)
    ratio = temperature / recipe.training.temperature
    return recipe.replace(
        {"training.temperature": temperature, "regularisation.scale": recipe.regularisation.scale * ratio}
    )


def numbers(found: Theory, cpu: float) -> dict[str, Any]:
    """What is quoted of a solution."""
    row: dict[str, Any] = {"loss": found.loss, "free_energy": found.free_energy, "gap": found.gap, "cpu_seconds": cpu}
    if isinstance(found, ParticleTheory):
        row |= {
            "loss_error": found.loss_error, "free_energy_error": found.free_energy_error, "gap_error": found.gap_error,
            "target_power": found.target_power, "test_accuracy": found.test_accuracy,
            "test_accuracy_error": found.test_accuracy_error, "n_rounds": found.n_rounds,
            "n_particles": found.n_particles, "trace_response": found.trace_response, "excess": found.excess,
        }  # fmt: skip
    return row


def solved(recipe: Recipe, warm: Theory | None = None, **options: Any) -> tuple[Theory | None, dict[str, Any]]:
    """A solution, and its numbers with the processor time that it took; the sentence where the particles refuse."""
    begin = time.process_time()
    try:
        found = solve_theory(recipe, warm=warm, **options)
    except LawLost as error:
        return None, {"refused": str(error), "cpu_seconds": time.process_time() - begin}
    return found, numbers(found, time.process_time() - begin)


def trained(recipe: Recipe, *, is_judged: bool = True) -> dict[str, Any]:
    """Loss, accuracy and, if wanted, the verdict about equilibrium of one run."""
    experiment = Experiment(recipe.replace({"engine.n_threads": 1}))
    while not experiment.is_complete:
        experiment.advance(500)
    if is_judged:
        list(experiment.theory())
        list(experiment.ask())
    background = experiment.outcome().summary["background"]
    row = {"loss": background["loss"], "test_accuracy": background.get("test_accuracy")}
    return row | (experiment.answers["equilibrium"].to_dict() if is_judged else {})


def modular() -> list[dict[str, Any]]:
    """Cold and, from the fraction before, warm."""
    rows, before = [], None
    for fraction in FRACTIONS:
        found, row = solved(at_fraction(fraction))
        _, warm = solved(at_fraction(fraction), before) if before is not None else (None, {})
        rows.append({"fraction": fraction, "cold": row, "warm": warm})
        _tell(rows[-1])
        before = found
    return rows


def stayed(recipe: Recipe, law: Theory) -> tuple[float, float]:
    """Mean loss of a run that starts from its law, and the standard error."""
    experiment = Experiment(recipe.replace({"engine.n_threads": 1}), solution=law)
    while not experiment.is_complete:
        experiment.advance(500)
    mean, error = averaged(np.array([row["loss"] for row in experiment.history.rows if row["is_averaged"]]))
    return float(mean), float(error)


def exchanged(law: ParticleTheory, n_neurons: int, seed: int = 0) -> dict[str, float]:
    """A network of one readout at equilibrium: exact Gibbs sweeps whose proposals are the witnesses of the law.

    Wells that no trajectory leaves in any time exchange their neurons.
    """
    problem, judged = law.problem, law.judgements[-1]
    generator, field = np.random.default_rng(seed), problem.law(judged.rho)
    n_each, losses, n_accepted = max(1, MOST_PROPOSED // (n_neurons * len(problem.weights))), [], 0
    scale, target = np.sqrt(to_host(problem.weights)), to_host(problem.root_weights * problem.targets)[:, 0]

    def proposed(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        particles = drawn_from(judged.particles, n, generator, seed)
        theta = np.concatenate([to_host(particles.u.double()), np.zeros((n, 1))], axis=1)
        if problem.orbits is not None:
            theta = problem.orbits.scattered(theta, generator)
        u = torch.as_tensor(theta[:, :-1], dtype=problem.dtype)
        mean = field.field(u)[:, 0].double() * (2 * problem.temperature / problem.lambda_a) ** 0.5
        features = problem.activation.phi(u @ problem.scaled_inputs.T).double()
        return to_host(features) * scale, -to_host(field.log_tilt(u)), to_host(mean)

    features, log_weight, mean = proposed(n_neurons)
    readout = mean + (problem.temperature / problem.lambda_a) ** 0.5 * generator.standard_normal(n_neurons)
    for _ in range(0, N_EXCHANGES, n_each):
        shape = n_each, n_neurons
        trial, trial_weight, _ = proposed(n_each * n_neurons)
        predictions = np.empty((n_each, len(scale)))
        n_accepted += _sweeps(
            features, readout, log_weight, readout @ features / n_neurons, target, trial.reshape(*shape, -1),
            trial_weight.reshape(shape), np.log(1.0 - generator.random(shape)), generator.standard_normal(shape),
            problem.temperature, problem.lambda_a, np.empty(shape, dtype=np.int64), np.empty(shape), predictions,
        )  # fmt: skip
        losses.extend(((target - predictions) ** 2).sum(axis=1))
    mean_loss, error = averaged(np.array(losses[len(losses) // 5 :]))
    return {
        "width": n_neurons, "loss": float(mean_loss), "loss_error": float(error),
        "acceptance": n_accepted / (len(losses) * n_neurons),
    }  # fmt: skip


def tasks(*, quick: bool = False, names: Sequence[str] = TASKS) -> list[dict[str, Any]]:
    """Recipes with many inputs, each against networks at equilibrium and runs that start from the law."""
    rows = []
    for name in names[: 1 if quick else None]:
        recipe = load_recipe(name)
        found, row = solved(recipe)
        if isinstance(found, ParticleTheory):
            row["gap_over_variance"] = found.gap / found.target_variance
            row["gap_over_variance_error"] = found.gap_error / found.target_variance
        rows.append({"recipe": name, "law": row, "runs": [], "exchanged": []})
        _tell(rows[-1])
        for width in SIMULATED_WIDTHS[: 1 if quick else None] if found is not None else ():
            start = {"initial.law": "theory", "training.time": STAYED, "network.n_neurons": width}
            mean, error = stayed(recipe.replace({**start, "foreground.window": 0.9}), found)
            expected = found.loss + found.trace_response / width
            rows[-1]["runs"].append({"width": width, "loss": mean, "loss_error": error, "law_at_width": expected})
            _tell(rows[-1]["runs"][-1])
            rows[-1]["exchanged"].append(exchanged(found, width))
            _tell(rows[-1]["exchanged"][-1])
    return rows


def equilibrium(*, quick: bool = False) -> list[dict[str, Any]]:
    """Modular addition at 55 %, five seeds: from the prior after t = 12, and from the law."""
    rows = []
    for seed in range(1 if quick else N_SEEDS):
        recipe = at_fraction(0.55).replace({"seed": seed})
        young, settled = trained(recipe), trained(recipe.replace({"initial.law": "theory"}))
        rows.append({"seed": seed, "from the prior": young, "from the law": settled})
        _tell(rows[-1])
    return rows


def extrapolation(*, quick: bool = False) -> list[dict[str, Any]]:
    """Modular addition from its law at three widths: the loss at N = infinity by a line in 1/N, beside the law's."""
    rows = []
    for fraction in EXTRAPOLATED["fractions"][: 1 if quick else None]:
        recipe = at_fraction(fraction).replace(
            {"initial.law": "theory", "training.time": EXTRAPOLATED["time"], "foreground.window": 0.9}
        )
        law = solve_theory(recipe)
        means, errors = [], []
        for width in EXTRAPOLATED["widths"]:
            mean, error = stayed(recipe.replace({"network.n_neurons": width}), law)
            means.append(mean)
            errors.append(error)
            _tell({"fraction": fraction, "width": width, "loss": mean, "loss_error": error})
        # Least squares of loss = limit + slope / N, weighted by the errors.
        design = (
            np.stack([np.ones(len(means)), 1 / np.array(EXTRAPOLATED["widths"])], axis=1) / np.array(errors)[:, None]
        )
        covariance = np.linalg.inv(design.T @ design)
        limit, slope = covariance @ design.T @ (np.array(means) / np.array(errors))
        error = float(covariance[0, 0]) ** 0.5
        rows.append(
            {
                "fraction": fraction, "limit": limit, "limit_error": error, "slope": slope, "law": law.loss,
                "law_error": law.loss_error, "trace_response": law.trace_response,
                "standard_errors": (limit - law.loss) / float(np.hypot(error, law.loss_error)),
            }
        )  # fmt: skip
        _tell(rows[-1])
    return rows


def exponent(*, quick: bool = False) -> dict[str, Any]:
    """Clover at readout exponent .75 beside the mapped theory, 2,048 neurons."""
    recipe = load_recipe("clover").replace({"network.readout_exponent": 0.75})
    if quick:
        recipe = recipe.replace({"training.time": 4.0})
    theory = solve_theory(recipe)
    experiment = Experiment(recipe)
    while not experiment.is_complete:
        experiment.advance(500)
    summary = experiment.outcome().summary
    learnt = summary["feature_learning"]
    row = {
        "theory": {
            "loss": theory.loss + theory.trace_response / 2048,
            "mean function's loss": theory.loss,
            "cos4": theory.order_parameters["cos4"],
        },
        "simulated": {"loss": summary["background"]["loss"], "cos4": learnt["order_parameters"]["cos4"]},
        "cos4_error": learnt["order_parameters_error"]["cos4"],
    }
    _tell(row)
    return row


def curves(*, quick: bool = False, modulus: int = 11) -> dict[str, Any]:
    """Test accuracy and loss of the exact law along two roads, and runs from the prior beside them, as the recipe's."""
    document: dict[str, Any] = {}
    recipe_name, *values_of = ROADS[modulus]
    roads = ("fraction", at_fraction), ("temperature", at_temperature)
    for (name, recipe_at), (values, run_values) in zip(roads, values_of, strict=True):
        runs = []
        for value in run_values[: 1 if quick else None]:
            runs.append({name: value, **trained(recipe_at(value, recipe_name), is_judged=False)})
            _tell(runs[-1])
        rows = []
        for value in values[:: 4 if quick else 1]:
            _, row = solved(recipe_at(value, recipe_name).replace({"theory.n_particles": CURVE_PARTICLES}))
            rows.append({name: value, **row})
            _tell(rows[-1])
        document[name] = {"law": rows, "runs": runs}
    return document


def relaxation(*, quick: bool = False) -> dict[str, Any]:
    """Modular addition at 55 % from the prior for a long time: test accuracy on the way to that of the exact law.

    Grokking, seen as what it is here: the pairs shown are known at once, the law is reached slowly.
    """
    law, _ = solved(at_fraction(RELAXED["fraction"]))
    document: dict[str, Any] = {
        "law": None if law is None else {"test_accuracy": law.test_accuracy, "loss": law.loss},
        "runs": [],
    }
    for seed in range(1 if quick else RELAXED["seeds"]):
        length = 10.0 if quick else RELAXED["time"]
        recipe = at_fraction(RELAXED["fraction"]).replace(
            {"training.time": length, "seed": seed, "engine.n_threads": 1}
        )
        experiment = Experiment(recipe)
        while not experiment.is_complete:
            experiment.advance(2000)
        known = [row for row in experiment.history.rows if row.get("test_accuracy") is not None]
        time = np.array([row["time"] for row in known])
        edges = np.geomspace(time[0], time[-1] * 1.0001, RELAXED["n_means"] + 1)
        places = np.digitize(time, edges)
        run: dict[str, Any] = {"seed": seed}
        for name in ("test_accuracy", "train_accuracy", "loss"):
            values = np.array([row.get(name, np.nan) for row in known])
            run[name] = [float(values[places == k].mean()) for k in np.unique(places)]
        run["time"] = [float(time[places == k].mean()) for k in np.unique(places)]
        document["runs"].append(run)
        _tell({"seed": seed, "last": run["test_accuracy"][-1], "loss": run["loss"][-1]})
    return document


def draw_relaxation(document: dict[str, Any], width_mm: float = 140.0) -> Any:
    """Accuracies against time on a logarithmic axis, the law's as a line."""
    with matplotlib.rc_context(style(width_mm)):
        sheet = Sheet(width_mm, 60.0)
        axes = sheet.axes(12, 3, 122, 45)
        for run in document["runs"]:
            is_first = run is document["runs"][0]
            axes.semilogx(
                run["time"], run["train_accuracy"], ":", color=palette.BACKGROUND,
                label="pairs shown, 512 neurons" if is_first else None,
            )  # fmt: skip
            axes.semilogx(
                run["time"], run["test_accuracy"], "-", color=palette.BACKGROUND,
                label="pairs held back" if is_first else None,
            )  # fmt: skip
        if document["law"] is not None:
            axes.axhline(document["law"]["test_accuracy"], color=palette.THEORY, label="held back, exact law of seed 0")
        axes.set_ylim(-0.05, 1.05)
        axes.set_xlabel("time $t$")
        axes.set_ylabel("accuracy")
        bare(axes)
        axes.legend(frameon=False, loc="center left")
        return sheet.figure


def draw(document: dict[str, Any], width_mm: float = 140.0) -> Any:
    """Left: test accuracy against the part of the pairs shown. Right: against temperature. For each modulus."""
    known = [(modulus, document[part]) for modulus, part in ((11, "curves"), (23, "curves_23")) if part in document]
    with matplotlib.rc_context(style(width_mm)):
        sheet = Sheet(width_mm, 60.0)
        both = sheet.axes(12, 3, 54, 45), sheet.axes(80, 3, 54, 45)
        labels = ("part of the pairs shown", "temperature, prior fixed")
        for axes, name, label in zip(both, ("fraction", "temperature"), labels, strict=True):
            for (modulus, roads), line, point in zip(known, ("-", "--"), ("o", "s"), strict=False):
                law = [row for row in roads[name]["law"] if row.get("test_accuracy") is not None]
                accuracy = [row["test_accuracy"] for row in law]
                axes.plot(
                    [row[name] for row in law], accuracy, line, color=palette.THEORY, marker=".",
                    label=f"exact law, $P$ = {modulus}",
                )  # fmt: skip
                runs = roads[name]["runs"]
                axes.plot(
                    [row[name] for row in runs], [row["test_accuracy"] for row in runs], point,
                    color=palette.BACKGROUND, markersize=4, markerfacecolor="none",
                    label=f"512 neurons, $t$ = {RUN_TIMES[modulus]}, $P$ = {modulus}",
                )  # fmt: skip
            axes.set_ylim(-0.05, 1.05)
            axes.set_xlabel(label)
            bare(axes)
        both[0].set_ylabel("test accuracy")
        both[1].legend(frameon=False, loc="lower left", fontsize="x-small")
        return sheet.figure


def _tell(row: dict[str, Any]) -> None:
    print(json.dumps(row, default=float), file=sys.stderr, flush=True)


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1, default=lambda value: np.asarray(value).tolist())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all by default")
    parser.add_argument("--quick", action="store_true", help="one case of each")
    parser.add_argument("--out", type=Path, help="folder for exact_law.json and the two figures of modular addition")
    arguments = parser.parse_args()
    document: dict[str, Any] = {}
    for part in arguments.parts or PARTS:
        if part == "modular":
            document[part] = modular()
        else:
            job = {
                "tasks": tasks,
                "equilibrium": equilibrium,
                "extrapolation": extrapolation,
                "exponent": exponent,
                "curves": curves,
                "curves_23": functools.partial(curves, modulus=23),
                "relaxation": relaxation,
            }[part]
            document[part] = job(quick=arguments.quick)  # type: ignore[operator]
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        kept = arguments.out / "exact_law.json"
        if kept.exists():  # parts that were not made anew stay
            document = json.loads(kept.read_text()) | document
        kept.write_text(_text(document) + "\n")
        if "curves" in document or "curves_23" in document:
            draw(document).savefig(arguments.out / "modular-addition-law.svg")
        if "relaxation" in document:
            draw_relaxation(document["relaxation"]).savefig(arguments.out / "modular-addition-relaxation.svg")
    print(_text(document))


if __name__ == "__main__":
    main()
