"""Commands about what is stored and what is shipped: compare, export, runs, tasks, recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mft_engine.cli.program import (
    CommandError,
    JsonOption,
    app,
    print_json,
)
from mft_engine.recipe import load_recipe, shipped_recipes


@app.command()
def compare(
    run_a: Annotated[Path, typer.Argument(help="A run folder; its background is compared.")],
    run_b: Annotated[Path, typer.Argument(help="Another run folder; its background is compared.")],
    as_json: JsonOption = False,
) -> None:
    """The same statistics between two stored backgrounds. Example: mft-lab compare runs/a runs/b"""
    from mft_engine.compare.rules import told_p
    from mft_engine.runs.compare import compare_any, read_any

    answers = compare_any(read_any(run_a), read_any(run_b))
    document = {"schema": "mft-lab/comparison/1", "run_a": str(run_a), "run_b": str(run_b), **answers[0].to_dict()}
    if as_json:
        print_json({**document, "layers": [answer.to_dict() for answer in answers]})
        return
    for layer, answer in enumerate(answers, start=1):
        typer.echo(
            (f"layer {layer}: " if len(answers) > 1 else "")
            + f"{answer.verdict or 'no verdict'}: energy distance {round(answer.energy_distance, 4) + 0.0:.4f}, "
            f"{round(answer.ratio, 2) + 0.0:.2f} times its null mean, {told_p(answer.p_value, 3)}"
            + ("" if answer.averages is None else f"; with the moments {told_p(answer.p_value_all, 3)}")
            + "".join(f". {told}".rstrip(".") for told in (answer.why, answer.what_differs) if told)
        )


@app.command()
def export(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    figure: Annotated[
        list[str] | None,
        typer.Option(help="A figure's name, or all; a+b+c for one page of several; may be repeated."),
    ] = None,
    wrong: Annotated[Path | None, typer.Option(help="The wrong-background run, for three-pictures.")] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="pdf (default), svg, png, eps, tiff; comma-separated, may be repeated."),
    ] = None,
    width_mm: Annotated[float, typer.Option(min=20, max=1000, help="Width of the figure in mm.")] = 85.0,
    caption: Annotated[bool, typer.Option(help="Write recipe, seed, sizes and verdict under the figure.")] = False,
    animation: Annotated[
        list[str] | None, typer.Option(help="gif, apng, png (frames), mp4; comma-separated, may be repeated.")
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option(help="npz, csv, safetensors; comma-separated, may be repeated.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the files.")] = Path("."),
) -> None:
    """Figures, animations and data of a run. Example: mft-lab export runs/clover --figure foreground --format pdf"""
    from mft_engine.figures.export import export_run

    wanted = ["pdf"] if formats is None else _names(formats)
    if figure and not wanted:
        raise CommandError(f"--format {','.join(formats or ())!r}: write formats with commas between, like pdf,png", 2)
    if not (figure or _names(animation) or _names(data)):
        raise CommandError("Nothing to export: give --figure, --animation or --data (see --help)", 2)
    files = export_run(
        run_folder,
        out,
        figures=figure or [],
        wrong=wrong,
        formats=wanted,
        width_mm=width_mm,
        has_caption=caption,
        animations=_names(animation),
        data=_names(data),
    )
    for file in files:
        typer.echo(str(file))


def _names(texts: list[str] | None) -> list[str]:
    """What stands between commas, each once."""
    parts = ",".join(texts or ()).split(",")
    return list(dict.fromkeys(name for part in parts if (name := part.strip().lower())))


@app.command()
def tasks(as_json: JsonOption = False) -> None:
    """The tasks there are, one line each. Example: mft-lab tasks --json"""
    from mft_engine.sections import TaskSection
    from mft_engine.tasks import PLUGIN_FAULTS, REGISTRY, build_task
    from mft_engine.tasks.plugins import waiting_plugins

    built = [build_task(TaskSection(name=name)) for name in REGISTRY]
    for sentence in (*PLUGIN_FAULTS, *waiting_plugins()):
        typer.echo(sentence, err=True)
    if as_json:
        print_json([{"name": t.name, "title": t.title, "formula": t.formula, "n_inputs": t.n_inputs} for t in built])
        return
    for task in built:
        typer.echo(f"{task.name:<18}{task.title:<36}y = {task.formula}")


@app.command()
def recipes(as_json: JsonOption = False) -> None:
    """The shipped recipes, one line each. Example: mft-lab recipes"""
    loaded = [load_recipe(name) for name in shipped_recipes()]
    if as_json:
        print_json([{"name": r.name, "description": r.description, "digest": r.digest} for r in loaded])
        return
    for recipe in loaded:
        typer.echo(f"{recipe.name:<22}{recipe.description}")


@app.command()
def runs(
    folder: Annotated[Path | None, typer.Argument(help="Where the runs are (default: the user's data folder).")] = None,
    as_json: JsonOption = False,
) -> None:
    """The stored runs, one line each. Example: mft-lab runs"""
    from mft_engine.runs.runs import default_parent, list_runs

    found = list_runs(folder or default_parent())
    if as_json:
        print_json(found)
        return
    for row in found:
        typer.echo(f"{row['path']}  {row['recipe']}  seed {row['seed']}  {row['verdict'] or row['state']}")
    if not found:
        typer.echo(f"No runs in {folder or default_parent()}", err=True)
