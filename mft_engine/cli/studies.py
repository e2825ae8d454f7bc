"""Commands that carry out many experiments: widths, closures, tempering, sweeps."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any

import typer

from mft_engine.cli.program import (
    CommandError,
    JsonOption,
    RecipeArgument,
    SetOption,
    app,
    print_json,
    recipe_of,
)
from mft_engine.recipe import RecipeError, toml_value


@app.command()
def widths(
    recipe: RecipeArgument,
    changes: SetOption = None,
    sizes: Annotated[str, typer.Option(help="Numbers of neurons, comma-separated.")] = "8,32,128,512,2048",
    as_json: JsonOption = False,
) -> None:
    """Finite networks beside finite- and infinite-width theory. Example: mft-lab widths clover --sizes 8,64"""
    from dataclasses import asdict

    from mft_engine.cli.reporting import ProgressReport, describe_wide, describe_width
    from mft_engine.questions.widths import WidthRow, study_widths
    from mft_engine.studies.widths import is_for_plane, study_any_widths

    try:
        numbers = sorted({int(size) for size in sizes.split(",") if size.strip()} or {0})
    except ValueError:
        raise CommandError(f"--sizes {sizes!r}: write whole numbers with commas, for example 8,64,512", 2) from None
    if numbers[0] < 1:
        raise CommandError(f"--sizes {sizes!r}: a network has at least 1 neuron", 2)
    progress, rows, asked = ProgressReport(), [], recipe_of(recipe, changes)
    study = study_widths if is_for_plane(asked) else study_any_widths
    for item in study(asked, numbers):
        if isinstance(item, float):
            progress.show("widths", item, "exact sweeps" if study is study_widths else "networks from the exact law")
        else:
            rows.append(item)
    progress.close()
    if as_json:
        print_json({"schema": "mft-lab/widths/1", "recipe": recipe, "rows": [_plain(asdict(row)) for row in rows]})
        return
    for row in rows:
        typer.echo(describe_width(row) if isinstance(row, WidthRow) else describe_wide(row))


@app.command()
def closure(
    teacher: Annotated[str, typer.Argument(help="cubic or modular.")],
    noise: Annotated[str, typer.Option(help="sigma^2: a,b,c, START:STOP:linN or START:STOP:logN.")] = "0.3,0.2,0.1",
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="beta=512, form=printed, ...; repeatable.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the figure and closure.json.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Teacher theory in its paper's own units, every branch. Example: mft-lab closure cubic --set beta=512"""
    from mft_engine.experiment.storage import write_atomically, writing_to
    from mft_engine.studies.closure_table import closure_table, describe

    document = closure_table(teacher, noise, dict(_assignment(change) for change in changes or []))
    if out is not None:
        from mft_engine.figures.closures import save_closures

        with writing_to(out):
            out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / "closure.json", json.dumps(document, indent=2, allow_nan=False).encode())
        document["figures"] = [str(path) for path in save_closures(document, out)]
    if as_json:
        print_json(document)
        return
    for line in (*describe(document), *document.get("figures", ())):
        typer.echo(line)


def _assignment(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator:
        raise RecipeError(f"--set {text!r}: write it as name=value, for example beta=512")
    return name.strip(), toml_value(value.strip())


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    simulated = {
        name: {"mean": value[0], "standard_error": value[1] if math.isfinite(value[1]) else None}
        for name, value in row["simulated"].items()
    }
    return {**row, "simulated": simulated}


@app.command()
def temper(
    recipe: RecipeArgument,
    changes: SetOption = None,
    rungs: Annotated[int | None, typer.Option(help="Temperatures, geometric (default: as many as needed).")] = None,
    hottest: Annotated[float | None, typer.Option(help="Highest temperature (default: 10 times the recipe's).")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the figure and tempering.json.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Replica exchange up a ladder of temperatures. Example: mft-lab temper clover --set network.n_neurons=64"""
    from mft_engine.cli.reporting import ProgressReport, describe_tempering
    from mft_engine.experiment.storage import write_atomically, writing_to
    from mft_engine.experiment.summary import without_nan
    from mft_engine.figures.ladder import save_ladder
    from mft_engine.studies.tempering import Tempering
    from mft_engine.studies.tempering import temper as climb

    if out is not None:
        with writing_to(out):
            out.mkdir(parents=True, exist_ok=True)
    progress, found = ProgressReport(), None
    try:
        for item in climb(recipe_of(recipe, changes), n_rungs=rungs, hottest=hottest):
            if isinstance(item, Tempering):
                found = item
            else:
                progress.show("temper", item, "networks on a ladder of temperatures")
    finally:
        progress.close()
    assert found is not None
    document = without_nan(found.to_dict())
    if out is not None:
        write_atomically(out / "tempering.json", json.dumps(document, indent=2, allow_nan=False).encode())
        document["figures"] = [str(path) for path in save_ladder(found, out)]
    if as_json:
        print_json(document)
        return
    typer.echo(describe_tempering(found))
    for path in document.get("figures", ()):
        typer.echo(path)


@app.command()
def sweep(
    recipe: RecipeArgument,
    params: Annotated[
        list[str], typer.Option("--param", metavar="PATH=VALUES", help="START:STOP:logN, START:STOP:linN or a,b,c.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the table, the figure and the runs.")],
    changes: SetOption = None,
    seeds: Annotated[int, typer.Option(min=1, max=10_000, help="Runs a point: the recipe's seed and the next.")] = 1,
    workers: Annotated[int | None, typer.Option(min=1, max=1024, help="Processes (default: cores - 1).")] = None,
    scheduler: Annotated[str | None, typer.Option(help="A Dask scheduler, for example tcp://127.0.0.1:8786.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on with the interrupted sweep in OUT.")] = False,
    up_and_down: Annotated[
        bool, typer.Option(help="Pull networks up the first field's values and down again, without a new beginning.")
    ] = False,
    refine: Annotated[
        int, typer.Option(min=0, max=1000, help="Add so many values where the order parameter bends.")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Many runs and their phase diagram.

    Example: mft-lab sweep clover --param regularisation.scale=1e-4:0.1:log8 --seeds 3 --out scale
    """
    from dataclasses import asdict

    from mft_engine.cli.reporting import ProgressReport
    from mft_engine.figures.phase import save_phase_diagram
    from mft_engine.studies.pooled import pool_points
    from mft_engine.studies.sweep import parse_axis, run_sweep

    base, progress = recipe_of(recipe, changes), ProgressReport()
    axes = [parse_axis(param, base) for param in params]
    try:
        done = run_sweep(
            base, axes, seeds, out, n_workers=workers, scheduler=scheduler, resume=resume, report=progress.show,
            both_ways=up_and_down, refine=refine,
        )  # fmt: skip
    finally:
        progress.close()
    if done.n_failed == len(done.rows):
        raise CommandError(f"All {len(done.rows)} points failed, the first with: {done.rows[0]['failure']}", 1)
    figures = save_phase_diagram(done)
    table, files = str(done.folder / "table.csv"), [str(path) for path in figures]
    pooled = pool_points(done) if seeds > 1 and not up_and_down else []
    document = {
        "schema": "mft-lab/sweep/1",
        "recipe": base.name,
        "axes": [asdict(axis) for axis in done.axes],
        "n_seeds": seeds,
        "n_points": done.n_points,
        "n_failed": done.n_failed,
        "up_and_down": up_and_down,
        "table": table,
        "figures": files,
        "rows": list(done.rows),
        "pooled": pooled,
    }
    if as_json:
        print_json(document)
        return
    typer.echo(f"{done.n_points} points, {done.n_failed} failed")
    for row in done.rows:
        if row["failure"]:
            values = ", ".join(f"{path} = {row[path]}" for path in ("seed", *(axis.path for axis in done.axes)))
            typer.echo(f"  failed: {values}: {row['failure']}")
    for point in pooled:
        typer.echo(f"  {', '.join(f'{axis.path} = {point[axis.path]}' for axis in done.axes)}: {point['sentence']}")
    for path in (table, *files):
        typer.echo(path)


@app.command(hidden=True)
def apart() -> None:
    """A sweep ordered by a line of JSON on standard input: what the window starts (`mft_engine.studies.apart`)."""
    from mft_engine.studies.apart import main

    raise typer.Exit(main())
