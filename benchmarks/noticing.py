"""What verdicts notice: the level over right networks and the power over planted alternatives, old and new.

"distance" is the energy distance alone, which decided until version 0.1; "large" the same with a foreground four times
as large, which costs about what the new verdict does; "all" is distance and averages together, which decide now. All
are told at p < 0.01. Backgrounds are exact Gibbs networks, or Langevin runs of a recipe as it is (--langevin). Every
command appends one JSON line a verdict to a file, seed by seed (an exact one gives ten networks), and leaves out seeds
that are there already, so that it can be stopped and run in pieces; `draw` puts files together.

    python -m benchmarks.noticing level clover-warm petals5 ring --seeds 0-5 --lines level.jsonl
    python -m benchmarks.noticing power clover --seeds 0-2 --curves --large --lines power.jsonl
    python -m benchmarks.noticing stated clover --seeds 0-10 --lines stated.jsonl
    python -m benchmarks.noticing layers continuous-xor --seeds 0-5 --lines layers.jsonl
    python -m benchmarks.noticing runs clover ring --seeds 0-20 --lines runs.jsonl
    python -m benchmarks.noticing runs clover --set training.time=1.5 --seeds 0-20 --lines runs.jsonl
    python -m benchmarks.noticing draw *.jsonl --out docs
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from mft_engine.compare.clouds import Comparison, compare
from mft_engine.compare.moments import with_moments
from mft_engine.compare.resolution import Resolution
from mft_engine.experiment.events import Answered
from mft_engine.experiment.experiment import Experiment
from mft_engine.network.tables import table_parity
from mft_engine.palette import BACKGROUND, FOREGROUND
from mft_engine.questions.comparison import expect_in_field
from mft_engine.recipe import load_recipe
from mft_engine.rng import Stream, normal

LEVEL = 0.01
# Of an exact chain: networks taken from it, and sweeps between them (it starts from the infinite-width law and forgets
# within a few). The field is averaged along the whole chain.
N_NETWORKS, SPACING = 10, 40
N_PERMUTATIONS = 199
LARGE = 4
# What issue and documentation name; those with a curve are also planted at these times the factors.
ALTERNATIVES = {
    "prior": 0.05, "longer w": 0.06, "larger a": 0.04, "turned": 0.1, "flipped a": 0.25, "hotter": 0.25, "other": 0.2,
}  # fmt: skip
# "hotter" is put into the field of a network at the recipe's temperature; here it is compared in its own.
OWN_FIELD = "hotter in its own field"
FACTORS = (0.25, 0.5, 1.0, 2.0)
STATED = {"prior": "prior_share", "longer w": "weight_scale", "larger a": "readout_scale", "turned": "turn",
          "other": "other_share", OWN_FIELD: "temperature"}  # fmt: skip
# Those whose planted network is made anew for every size have no curve.
CURVES = ("prior", "longer w", "larger a", "turned", "other")
UNITS = {"prior": "share of prior neurons", "longer w": "w longer by", "larger a": "a larger by",
         "turned": "turned by up to, rad", "other": "share of another network"}  # fmt: skip
Rows = Iterator[dict[str, Any]]


class Subject:
    """Backgrounds with foregrounds in their field, and the verdict on whatever is put in a background's place.

    An exact chain gives several networks of one field, each with a foreground of its own; a run of a recipe gives one.

    Args:
        name: of the recipe; changes: of its settings by dotted path.
        hotter: relative rise of the temperature of the networks, of which the comparison is not told (exact, in the
            plane).
        is_exact: at exact equilibrium instead of the recipe as it is; n_neurons: of background and foreground, the
            recipe's own where None.
        has_large: whether to draw a larger foreground for the distance as well.
    """

    def __init__(
        self, name: str, seed: int, is_exact: bool, n_neurons: int | None = None, *, has_large: bool = False,
        hotter: float = 0.0, changes: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.name, self.seed, self.is_exact, self.changes = name, seed, is_exact, changes or {}
        self.n_neurons = n_neurons or load_recipe(name).network.n_neurons[0]
        more: dict[str, Any] = {"foreground.method": "gibbs"} if is_exact else {}
        size = self.n_neurons * max(N_NETWORKS if is_exact else 1, LARGE if has_large else 1)
        self.recipe = load_recipe(name).replace(self.changes | more | {"seed": seed, "foreground.n_neurons": size})
        temperature = self.recipe.training.temperature * (1.0 + hotter)
        self.experiment, self.clouds = self.trained(
            more | {"foreground.n_neurons": size, "training.temperature": temperature}
        )
        list(self.experiment.foreground())
        # Other networks of an alternative, by seed and temperature.
        self.others: dict[tuple[int, float], list[Tensor]] = {}
        self.sample, self.has_large = torch.as_tensor(self.experiment.fresh.theta), has_large
        sampler = self.experiment.sampler
        self.expectation = expect_in_field(
            self.recipe, self.n_neurons, self.fresh(0), sampler.frozen_field(), self.experiment.field_points,
            self.experiment.background.mean_prediction().cpu().numpy(), sampler.averaging(),
        )  # fmt: skip
        if hotter and self.expectation is not None:
            self.sample = self.expectation.reference.to(self.sample.dtype)

    def trained(self, more: dict[str, Any]) -> tuple[Experiment, list[Tensor]]:
        """A background like this one, and its networks."""
        more = {"seed": self.seed, "engine.n_threads": 1, "network.n_neurons": self.n_neurons, **self.changes, **more}
        if self.is_exact:
            more |= {"training.dynamics": "gibbs", "training.n_steps": N_NETWORKS * SPACING}
        experiment = Experiment(load_recipe(self.name).replace(more))
        clouds = []
        while not experiment.is_complete:
            experiment.advance(SPACING if self.is_exact else 1000)
            clouds.append(experiment.state.theta.clone())
        return experiment, clouds if self.is_exact else clouds[-1:]

    def fresh(self, number: int) -> Tensor:
        """The foreground of a network."""
        return self.sample[number * self.n_neurons : (number + 1) * self.n_neurons]

    def judged(self, theta: Tensor, number: int, *, has_resolution: bool = False) -> Comparison:
        """The verdict on a cloud in the place of a network."""
        found = self._distance(theta, self.fresh(number))
        if self.expectation is None:
            return found
        resolution = self.expectation.resolution(self.seed) if has_resolution else Resolution()
        return found.with_averages(self.expectation.test(theta), resolution)

    def _distance(self, theta: Tensor, fresh: Tensor) -> Comparison:
        return compare(
            theta, fresh, self.experiment.task.n_inputs, n_permutations=N_PERMUTATIONS, seed=self.seed,
            parity=self.experiment.setting.activation.parity,
        )  # fmt: skip

    def told(self, theta: Tensor, number: int, *, has_large: bool = False) -> dict[str, Any]:
        """The p-values on a cloud, as a row has them."""
        row = _told(self.judged(theta, number))
        if has_large and self.has_large:
            row["p_large"] = self._distance(theta, self.sample[: LARGE * self.n_neurons]).p_value
        return row

    def _other(self, number: int, seed: int, temperature: float) -> Tensor:
        """A network of another seed, and perhaps of another temperature."""
        if (seed, temperature) not in self.others:
            more = {"seed": self.seed + seed, "training.temperature": temperature}
            self.others[seed, temperature] = self.trained(more)[1]
        return self.others[seed, temperature][number]

    def planted(self, kind: str, size: float, number: int) -> Tensor | None:
        """A network with an alternative of a size in it; None where it has no meaning."""
        recipe, theta, d = self.recipe, self.clouds[number].clone(), self.experiment.task.n_inputs
        n, n_params = theta.shape
        draws = normal(self.seed, Stream.TEST_POINTS, 11 + number, n, n_params, device=theta.device)
        some = slice(0, round(min(size, 1.0) * n))
        if kind == "prior":
            temperature = recipe.training.temperature
            widths = [(temperature / recipe.lambda_w) ** 0.5] * d
            widths += [(temperature / recipe.lambda_a) ** 0.5] * (n_params - d)
            theta[some] = (draws * torch.tensor(widths)).to(theta.dtype)[some]
        elif kind == "longer w":
            theta[:, :d] *= 1.0 + size
        elif kind == "larger a":
            theta[:, d:] *= 1.0 + size
        elif kind == "turned":
            if d != 2:
                return None
            angle = size * torch.special.ndtr(draws[:, 0])
            x, y = theta[:, 0].clone(), theta[:, 1].clone()
            theta[:, 0], theta[:, 1] = angle.cos() * x - angle.sin() * y, angle.sin() * x + angle.cos() * y
        elif kind == "flipped a":
            theta[some, d:] *= -1.0
        elif kind == "hotter":
            theta = self._other(number, 2000, recipe.training.temperature * (1.0 + size))
        elif kind == "other":
            theta[some] = self._other(number, 1000, recipe.training.temperature)[some]
        return theta


def _told(found: Comparison) -> dict[str, Any]:
    return {"p_distance": found.p_value, "p_all": found.p_value_all,
            "p_averages": None if found.averages is None else found.averages.p_value}  # fmt: skip


def measure_level(subject: Subject) -> Rows:
    """Right networks."""
    for number, theta in enumerate(subject.clouds):
        yield {"part": "level", "network": number, **subject.told(theta, number)}


def measure_hotter(subject: Subject, size: float, head: dict[str, Any]) -> Rows:
    """Networks that are hotter than the comparison is told."""
    hot = Subject(subject.name, subject.seed + 3000, True, subject.n_neurons, hotter=size, changes=subject.changes)
    for number, theta in enumerate(hot.clouds):
        yield {"network": number, "kind": OWN_FIELD, **head, **hot.told(theta, number)}


def measure_power(subject: Subject, kinds: Sequence[str], has_curves: bool) -> Rows:
    """Alternatives planted in networks at the sizes of the table, or of the curves."""
    if subject.is_exact:
        yield from measure_hotter(subject, ALTERNATIVES["hotter"], {"part": "power", "size": ALTERNATIVES["hotter"]})
    for number, right in enumerate(subject.clouds):
        head = {"part": "power", "network": number}
        yield {**head, "kind": "right", "size": 0.0, **subject.told(right, number, has_large=True)}
        for kind in (kind for kind in kinds if kind in ALTERNATIVES):
            for factor in FACTORS if has_curves and kind in CURVES else (1.0,):
                size = factor * ALTERNATIVES[kind]
                theta = subject.planted(kind, size, number)
                if theta is not None:
                    told = subject.told(theta, number, has_large=factor == 1.0)
                    yield {**head, "kind": kind, "size": size, **told}


def measure_stated(subject: Subject, kinds: Sequence[str]) -> Rows:
    """Alternatives of twice and of half the size that the verdict itself states."""
    for number, cloud in enumerate(subject.clouds):
        # The resolution is that of the field: the same for all its networks.
        right = subject.judged(cloud, number, has_resolution=number == 0)
        yield {"part": "level", "network": number, **_told(right)}
        if number == 0:
            resolution = right.resolution or Resolution()
            if OWN_FIELD in kinds and resolution.temperature:
                for times in (2.0, 0.5):
                    head = {"part": "stated", "times": times, "stated": resolution.temperature}
                    yield from measure_hotter(subject, times * resolution.temperature, head)
        for kind in (kind for kind in kinds if kind in STATED and kind != OWN_FIELD):
            stated = getattr(resolution, STATED[kind])
            for times in (2.0, 0.5):
                # No more than all neurons can be of the prior, nor more than half of another network.
                most = {"prior": 1.0, "other": 0.5}.get(kind, math.inf)
                is_possible = stated and times * stated <= most
                theta = subject.planted(kind, times * stated, number) if is_possible else None
                row = {"part": "stated", "network": number, "kind": kind, "times": times, "stated": stated}
                yield {**row, **(subject.told(theta, number) if theta is not None else {})}


def measure_layers(name: str, seed: int, changes: dict[str, Any]) -> Rows:
    """Alternatives planted in the table of every layer of a run with several, told by distance and by moments."""
    experiment = Experiment(load_recipe(name).replace({"seed": seed, "engine.n_threads": 1, **changes}))
    while not experiment.is_complete:
        experiment.advance(1000)
    list(experiment.foreground())
    outcome, network = experiment.outcome(), experiment.setting.network
    parts = zip(outcome.background.clouds, outcome.foreground.clouds, experiment.background.initial_clouds(),
                strict=True)  # fmt: skip
    for layer, (own, fresh, initial) in enumerate(parts, start=1):
        n, d = len(own.theta), own.theta.shape[1] - 1
        cases = {"right": (0.0,), "prior": (0.1, 0.2), "longer w": (0.15, 0.3), "larger a": (0.15, 0.3)}
        for kind, sizes in cases.items():
            for size in sizes:
                theta = np.array(own.theta, dtype=np.float64)
                some = slice(0, round(size * n))
                if kind == "prior":
                    theta[some] = initial.theta[some]
                elif kind != "right":
                    theta[:, slice(0, d) if kind == "longer w" else slice(d, None)] *= 1.0 + size
                parity = table_parity(network.activations, layer)
                found = compare(theta, fresh.theta, d, n_permutations=N_PERMUTATIONS, seed=seed, parity=parity)
                both = with_moments(found, theta, fresh.theta, d, own.names, seed=seed, parity=parity)
                yield {"part": "power", "recipe": f"{name}, layer {layer}", "n_neurons": n, "kind": kind, "size": size,
                       **_told(both)}  # fmt: skip


def measure_run(name: str, seed: int, changes: dict[str, Any]) -> Rows:
    """A Langevin run of a recipe as it is: it should be consistent, and steady."""
    experiment = Experiment(load_recipe(name).replace({"seed": seed, "engine.n_threads": 1, **changes}))
    while not experiment.is_complete:
        experiment.advance(1000)
    for job in (experiment.foreground, experiment.compare):
        list(job())
    drift = next(e.answer for e in experiment.ask() if isinstance(e, Answered) and e.name == "drift")
    for layer, found in enumerate(experiment.comparisons, start=1):
        yield {"part": "runs", "layer": layer, "verdict": found.verdict, "drift": drift.verdict, "moved": drift.largest,
               "worst": found.what_differs, **_told(found)}  # fmt: skip


def collected(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Counts over seeds."""
    level, power, stated, runs = defaultdict(list), defaultdict(list), defaultdict(list), defaultdict(list)
    for row in rows:
        if row["part"] == "level":
            level[row["recipe"], row["n_neurons"]].append(row)
        elif row["part"] == "power":
            power[row["recipe"], row["kind"], row["size"]].append(row)
        elif row["part"] == "stated":
            stated[row["recipe"], row["kind"], row["times"]].append(row)
        else:
            runs[row["recipe"], row["layer"]].append(row)

    def counts(found: list[dict[str, Any]]) -> dict[str, int]:
        known = [row for row in found if "p_all" in row]
        told = {"n": len(known), "distance": sum(r["p_distance"] <= LEVEL for r in known),
                "all": sum(r["p_all"] <= LEVEL for r in known)}  # fmt: skip
        large = [r["p_large"] for r in known if "p_large" in r]
        return told | ({"n_large": len(large), "large": sum(p <= LEVEL for p in large)} if large else {})

    document: dict[str, Any] = {"level": [], "power": [], "stated": [], "runs": []}
    for (name, n_neurons), found in sorted(level.items()):
        # A network may have been judged in two parts.
        found = list({(row["seed"], row["network"]): row for row in found}.values())
        with_averages = sum(r["p_averages"] is not None for r in found)
        document["level"].append(
            {"recipe": name, "n_neurons": n_neurons, **counts(found), "with_averages": with_averages}
        )
    for (name, kind, size), found in sorted(power.items()):
        document["power"].append({"recipe": name, "kind": kind, "size": size, **counts(found)})
    for (name, kind, times), found in sorted(stated.items()):
        sizes = [row["stated"] for row in found if row["stated"]]
        document["stated"].append({"recipe": name, "kind": kind, "times": times, "n_networks": len(found),
                                   "median_stated": float(np.median(sizes)) if sizes else None,
                                   **counts(found)})  # fmt: skip
    for (name, layer), found in sorted(runs.items()):
        found = list({row["seed"]: row for row in found}.values())
        told = {"consistent": sum(r["verdict"] == "consistent" for r in found),
                "drifting": sum(r["drift"] == "drifting" for r in found)}  # fmt: skip
        document["runs"].append({"recipe": name, "layer": layer, **counts(found), **told})
    return document


def _share(axes: Any, x: Sequence[float], rows: Sequence[dict[str, Any]]) -> None:
    for name, colour, style in (("distance", FOREGROUND, "--"), ("all", BACKGROUND, "-")):
        shares = np.array([row[name] / row["n"] for row in rows])
        errors = [math.sqrt(max(s * (1 - s), 0.25 / row["n"]) / row["n"]) for s, row in zip(shares, rows, strict=True)]
        axes.errorbar(x, shares, errors, color=colour, linestyle=style, marker="o", markersize=3, linewidth=1.2,
                      label={"distance": "distance alone", "all": "distance and averages"}[name])  # fmt: skip
    axes.set_xscale("log")


def draw(document: dict[str, Any], path: Path) -> None:
    """Power against size, old dashed and new solid, one panel an alternative; the level against N in the last."""
    rows = [r for r in document["power"] if r["recipe"] == "clover" and r["size"] > 0]
    kinds = [kind for kind in UNITS if sum(row["kind"] == kind for row in rows) > 1]
    figure = Figure(figsize=(7.2, 4.8), layout="constrained")
    panels = figure.subplots(2, 3).ravel()
    for axes, kind in zip(panels, kinds, strict=False):
        own = sorted((row for row in rows if row["kind"] == kind), key=lambda row: row["size"])
        sizes = [row["size"] for row in own]
        _share(axes, sizes, own)
        stated = [r["median_stated"] for r in document["stated"] if r["recipe"] == "clover" and r["kind"] == kind]
        if stated and stated[0]:
            axes.axvline(stated[0], color="0.5", linewidth=0.8)
        is_angle = kind == "turned"
        axes.set_xticks(sizes, [f"{size:g}" if is_angle else f"{100 * size:g} %" for size in sizes])
        axes.minorticks_off()
        axes.set_xlabel(UNITS[kind])
        axes.set_ylim(-0.05, 1.05)
    level = [row for row in document["level"] if row["recipe"] == "clover"]
    numbers = [row["n_neurons"] for row in level]
    last = panels[len(kinds)]
    _share(last, numbers, level)
    last.axhline(LEVEL, color="0.5", linewidth=0.8)
    last.set_ylim(-0.01, 0.2)
    last.set_xticks(numbers, [f"{n:,}" for n in numbers], rotation=30)
    last.minorticks_off()
    last.set_xlabel("neurons of a right network")
    last.legend(frameon=False, fontsize=8, loc="upper right")
    for axes in panels[len(kinds) + 1 :]:
        axes.set_axis_off()
    for axes in panels[::3]:
        axes.set_ylabel("rejected at 1 %")
    figure.savefig(path, dpi=160)


def _range(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last))


def _changes(texts: Sequence[str]) -> dict[str, Any]:
    return dict((path, json.loads(value)) for path, _, value in (text.partition("=") for text in texts))


def main() -> None:
    """Measure and append lines, or put lines together into verdict-power.json and verdict-power.png."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("level", "power", "stated", "layers", "runs", "draw"))
    parser.add_argument("names", nargs="+", help="recipes, or files of lines to draw")
    parser.add_argument("--seeds", type=_range, default=range(20), help="first-last, without the last")
    parser.add_argument("--sizes", default="0", help="neurons, 0 for the recipe's own")
    parser.add_argument("--kinds", default=",".join([*ALTERNATIVES, OWN_FIELD]))
    parser.add_argument("--langevin", action="store_true", help="runs of the recipe as it is")
    parser.add_argument("--curves", action="store_true")
    parser.add_argument("--large", action="store_true", help="the distance with a larger foreground as well")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=JSON", help="change the recipe")
    parser.add_argument("--lines", type=Path, default=Path("noticing.jsonl"))
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args()
    if options.part == "draw":
        rows = [json.loads(line) for name in options.names for line in Path(name).read_text().splitlines()]
        document = collected(rows)
        (options.out / "verdict-power.json").write_text(json.dumps(document, indent=1) + "\n")
        draw(document, options.out / "verdict-power.png")
        return
    changes, kinds = _changes(options.set), options.kinds.split(",")
    is_there = options.lines.exists()
    done = {tuple(json.loads(line)["done"]) for line in options.lines.read_text().splitlines()} if is_there else set()
    # Seed by seed, so that what is stopped has as many of each recipe.
    for seed in options.seeds:
        for name in options.names:
            label = ", ".join([name, *options.set])
            for size in (int(n) or None for n in options.sizes.split(",")):
                key = (options.part, label, size, seed)
                if key in done:
                    continue
                if options.part == "layers":
                    found = measure_layers(name, seed, changes)
                elif options.part == "runs":
                    found = measure_run(name, seed, changes)
                else:
                    subject = Subject(name, seed, not options.langevin, size, has_large=options.large, changes=changes)
                    found = {
                        "level": lambda subject: measure_level(subject),
                        "power": lambda subject: measure_power(subject, kinds, options.curves),
                        "stated": lambda subject: measure_stated(subject, kinds),
                    }[options.part](subject)
                n_neurons = size or load_recipe(name).network.n_neurons[0]
                head = {"done": key, "recipe": label, "n_neurons": n_neurons, "seed": seed}
                lines = [json.dumps({**head, **row}) for row in found]
                with options.lines.open("a") as file:
                    file.write("".join(line + "\n" for line in lines))


if __name__ == "__main__":
    main()
