"""What the command line says: progress on standard error, results in words on standard output."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, cast

import rich.progress
from rich.console import Console

from mft_engine.compare.rules import told_p
from mft_engine.questions.table import QUESTIONS

if TYPE_CHECKING:
    from mft_engine.runs.seeds import Seeds


class ProgressReport:
    """Progress on standard error: bars on a terminal, a plain line per tenth elsewhere."""

    def __init__(self) -> None:
        self._bars: rich.progress.Progress | None = None
        self._tasks: dict[str, rich.progress.TaskID] = {}
        self._last: tuple[str, int] = ("", -1)
        if sys.stderr.isatty():
            self._bars = rich.progress.Progress(console=Console(stderr=True), transient=True)
            self._bars.start()

    def show(self, part: str, fraction: float, text: str) -> None:
        """Tell how far a part has come.

        Args:
            part: a word, such as train; fraction: 0 to 1; text: what is being done.
        """
        if self._bars is not None:
            if part not in self._tasks:
                self._tasks[part] = self._bars.add_task(text, total=1.0)
            self._bars.update(self._tasks[part], completed=fraction, description=text)
            return
        tenth = int(fraction * 10)
        if (part, tenth) != self._last:
            self._last = (part, tenth)
            sys.stderr.write(f"{part} {100 * fraction:.0f} % ({text})\n")
            sys.stderr.flush()

    def close(self) -> None:
        """Take the bars away; nothing else of the terminal changes."""
        if self._bars is not None:
            self._bars.stop()


class _Told(dict[str, Any]):
    """A document of any version, which is None about what it does not have."""

    def __missing__(self, key: str) -> None:
        return None


def _told(value: Any) -> Any:
    if isinstance(value, dict):
        return _Told({key: _told(item) for key, item in value.items()})
    return [_told(item) for item in value] if isinstance(value, list) else value


def describe_run(summary: dict[str, Any]) -> str:
    """A run's summary in a few lines for people; one that an older version stored tells what it has."""
    summary = _told(summary)
    background, theory = summary["background"], summary["theory"]
    lines = [
        f"{summary['recipe']} (seed {summary['seed']}, {background['n_neurons']:,} neurons, "
        f"{background['kind']} background)",
        f"  background loss  {background['loss']:.4f}"
        + (f"   infinite width {theory['loss']:.4f}" if theory else "")
        + f"   {background['n_steps']:,} steps in {background['seconds']:.1f} s",
    ]
    if background["test_loss"] is not None:
        gap, error = background["test_minus_train"], background["test_minus_train_error"]
        above = "" if gap is None else f"   test − train {gap:.4f}" + ("" if error is None else f" ± {error:.4f}")
        lines.append(f"  test loss        {background['test_loss']:.4f}{above}")
    for part in ("background", "foreground"):
        shares = {key: value for key, value in (summary[part] or {}).items() if key.endswith("_accuracy")}
        if shares:
            words = ", ".join(f"{100 * share:.1f} % ({key.partition('_')[0]})" for key, share in shares.items())
            lines.append(f"  {part} accuracy  {words}")
    if summary["foreground"]:
        lines.append(f"  foreground loss  {summary['foreground']['loss']:.4f}")
    layers = summary["layers"]
    for number, found in enumerate(layers, start=1):
        where = f"layer {number} " if len(layers) > 1 else ""
        lines.append(
            f"  {where}{found['verdict'] or 'no verdict'}: "
            f"energy distance {round(found['energy_distance'], 4) + 0.0:.4f}, "
            f"{round(found['ratio'], 2) + 0.0:.2f} times its null mean, {told_p(found['p_value'], 3)}"
            + ("" if found["p_value_averages"] is None else f"; with the averages {told_p(found['p_value_all'], 3)}")
            + ("" if found["p_value_way"] is None else f"; with their ways {told_p(found['p_value_all'], 3)}")
        )
        if found["why"]:
            lines.append(f"  {found['why']}")
        elif found["is_of_one_moment"]:
            lines.append(
                "  The field is of one moment, whose noise pulls the clouds apart: the averages decide, and their "
                "distance is no evidence."
            )
        lines += describe_averages(found)
        if found["distance_upper"] is not None:
            nats = "" if found["kl_upper"] is None else f", {found['kl_upper']:.2g} nats a neuron along the averages"
            lines.append(f"  laws apart by at most  {found['distance_upper']:.2g}{nats} (95 %)")
    answers = [summary[name] for name in QUESTIONS]
    lines += [f"  {answer['why']}" for answer in answers if answer and answer["verdict"]]
    orders, errors = (summary["feature_learning"][key] for key in ("order_parameters", "order_parameters_error"))
    if orders.get("cos4") is not None:
        exact = theory["order_parameters"].get("cos4") if theory else None
        reference = "" if exact is None else f"   infinite width {exact:+.3f}"
        lines.append(f"  cos4  {orders['cos4']:+.3f} +- {errors['cos4'] or 0:.3f}{reference}")
    if orders.get("overlap") is not None:
        closure = summary["closure"]
        reference = f"   closure {closure['overlap']:.3f} ({closure['phase']})" if closure else ""
        lines.append(f"  overlap  {orders['overlap']:.3f} +- {errors['overlap'] or 0:.3f}{reference}")
    posterior = summary["posterior"]
    if posterior:
        n, theory_value = posterior["n_neurons"], posterior["variance_theory"]
        lines.append(
            f"  N Var f  {n * posterior['variance']:.4f} +- {n * (posterior['variance_error'] or 0):.4f}"
            + (f"   infinite width {n * theory_value:.4f}" if theory_value is not None else "")
            + f"   loss of the mean function {posterior['mean_loss']:.4f}"
        )
    for note in (summary["data"] or {}).get("notes", []):
        lines.append(f"  Data: {note}")
    if background["warning"]:
        lines.append(f"  Warning: {background['warning']}")
    if summary["run_dir"]:
        lines.append(f"  stored in {summary['run_dir']}")
    return "\n".join(lines)


def seeds_document(found: Seeds) -> dict[str, Any]:
    """What several seeds of one recipe say together, and the summary of each."""
    from mft_engine.experiment.summary import without_nan

    summaries = [run.summary for run in found.runs]
    layers = [layer.to_dict() for layer in found.pooled]
    return cast(dict[str, Any], without_nan({
        "schema": "mft-lab/seeds/1", "recipe": summaries[0]["recipe"], "seeds": [row["seed"] for row in summaries],
        "pooled": layers[0] if layers else None, "layers": layers, "runs": summaries,
    }))  # fmt: skip


def describe_seeds(document: dict[str, Any]) -> str:
    """A line a run, and what all say together."""
    lines = []
    for summary in document["runs"]:
        found = summary["comparison"] or {}
        told = f"{found.get('verdict') or 'no verdict'}, {told_p(found['p_value_all'], 3)}" if found else "not compared"
        lines.append(f"{summary['recipe']} seed {summary['seed']}: loss {summary['background']['loss']:.4f}, {told}")
    for number, layer in enumerate(document["layers"], start=1):
        where = f"layer {number}: " if len(document["layers"]) > 1 else ""
        lines.append(f"{where}{layer['sentence']}")
        noticed = noticed_words(layer["resolution"] or {})
        if noticed:
            lines.append("  would have noticed together  " + ", ".join(noticed))
    return "\n".join(lines)


def describe_averages(found: dict[str, Any]) -> list[str]:
    """What the averages say, and what they would have noticed."""
    told = [f"  {found['largest_difference']}"] if found["largest_difference"] else []
    lines = []
    if found["p_value_averages"] is not None:
        lines = [f"  averages {len(found['statistics'])}, {told_p(found['p_value_averages'], 3)}"]
    parts = noticed_words(found["resolution"] or {})
    if parts:
        lines.append("  would have noticed  " + ", ".join(parts))
    return lines + told


def noticed_words(size: dict[str, Any]) -> list[str]:
    """A resolution as it stands in the summary, one clause an alternative."""
    parts = [
        f"{words} {100 * size[key]:.2g} %"
        for key, words in (
            ("prior_share", "untrained neurons"),
            ("weight_scale", "w longer by"),
            ("readout_scale", "a larger by"),
            ("temperature", "T higher by"),
            ("other_share", "another network's neurons"),
        )
        if size.get(key) is not None
    ]
    if size.get("turn") is not None:
        parts.append(f"turned by up to {size['turn']:.2g} rad")
    return parts


def describe_tempering(found: Any) -> str:
    """One line for each temperature with the rate of exchange to the next, and how well the ladder mixes."""
    lines = []
    for k, rung in enumerate(found.rungs):
        (loss, loss_error), energy = rung.loss, rung.energy
        known = (
            ("infinite width", rung.theory_loss),
            (f"width {found.n_neurons:,}", rung.finite_width_loss),
        )
        laws = ", ".join(f"{name} {value:.4f}" for name, value in known if value is not None)
        theory = f" ({laws})" if laws else ""
        orders = "".join(
            f", {name} {value.mean:+.3f} +- {value.standard_error:.3f}"
            for name, value in rung.observables.items()
            if name in ("cos4", "overlap")
        )
        rate = ""
        if k < len(found.rates):
            rate = f"   exchange {found.rates[k]:.2f} (expected {found.expected_rates[k]:.2f})"
        measured = f"loss {loss:.4f} +- {loss_error:.4f}{theory}, U/N {energy.mean:.4f}{orders}"
        lines.append(f"T = {rung.temperature:.4g}: {measured}{rate}")
    return "\n".join([*lines, found.sentence])


def describe_width(row: Any) -> str:
    """One line of a width study: simulation, finite-width law, infinite-width law."""
    (loss, loss_error), (order, order_error) = row.simulated["loss"], row.simulated["cos4"]
    return (
        f"N = {row.n_neurons:>5}: loss {loss:.4f} +- {loss_error:.4f} (finite width {row.corrected['loss']:.4f}, "
        f"infinite {row.infinite['loss']:.4f}), cos4 {order:+.4f} +- {order_error:.4f} "
        f"({row.corrected['cos4']:+.4f}, {row.infinite['cos4']:+.4f})"
    )


def describe_wide(row: Any) -> str:
    """One line of a width study beyond the plane."""
    words = []
    for name, label in (("loss", "loss"), ("mean_square_norm", "|w|^2"), ("test_accuracy", "test accuracy")):
        if name not in row.simulated:
            continue
        value, error = row.simulated[name]
        laws = f"finite width {row.corrected[name]:.4f}, infinite {row.infinite[name]:.4f}"
        words.append(f"{label} {value:.4f}{f' +- {error:.4f}' if error == error else ''} ({laws})")
    return f"N = {row.n_neurons:>5}: " + ", ".join(words)
