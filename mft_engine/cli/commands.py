"""The command line: every command is a thin layer over the engine that a script could call itself."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from mft_engine import __version__
from mft_engine.recipe import Recipe, RecipeError, load_recipe, shipped_recipes, toml_value

# Spinning OpenMP threads beside a window make small steps many times slower; must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Many-threaded BLAS beside busy threads makes the small products of the theory many times slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

app = typer.Typer(
    name="mft-lab",
    help="A lab for the mean-field theory of neural networks: neuron clouds, foregrounds, exact theory.",
    no_args_is_help=False,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

RecipeArgument = Annotated[str, typer.Argument(help="A TOML file, a run folder or the name of a shipped recipe.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change a field; may be repeated.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
PlayOption = Annotated[bool, typer.Option("--play", help="Start training at once.")]
ScreenshotOption = Annotated[Path | None, typer.Option(help="Save a picture of the window before quitting.")]
QuitOption = Annotated[float | None, typer.Option(metavar="SECONDS", help="Close the window after that long.")]
DeviceOption = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]


INTERRUPTED = 130
# typer brings its own copy of click in some versions: the common base of its argument errors is found, not imported.
_UsageError: type[typer.BadParameter] = next(
    base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException"
)


class CommandError(Exception):
    """A sentence for standard error and an exit code."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.code = code


def recipe_of(source: str, changes: list[str] | None) -> Recipe:
    """The recipe with all `--set` changes applied together, then validated.

    A value is read as TOML where it parses as TOML, else as a string.

    Raises:
        RecipeError: an unknown recipe or field, or a value that is not allowed.
    """
    recipe = load_recipe(source)
    values: dict[str, Any] = {}
    for change in changes or []:
        path, separator, text = change.partition("=")
        if not separator:
            raise RecipeError(f"--set {change!r}: write it as path=value, for example regularisation.scale=0.02")
        values[path.strip()] = toml_value(text.strip())
    return recipe.replace(values) if values else recipe


def _print_json(document: Any) -> None:
    from mft_engine.experiment.summary import without_nan

    typer.echo(json.dumps(without_nan(document), indent=2, allow_nan=False))


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    play: PlayOption = False,
    screenshot: ScreenshotOption = None,
    quit_after: QuitOption = None,
    device: DeviceOption = None,
) -> None:
    """Without a command, opens the window. Example: mft-lab --play"""
    if version:
        typer.echo(f"mft-lab {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        _open_window(None, play, screenshot, quit_after, device)


@app.command()
def gui(
    source: Annotated[str | None, typer.Argument(metavar="[RECIPE or RUN]")] = None,
    play: PlayOption = False,
    screenshot: ScreenshotOption = None,
    quit_after: QuitOption = None,
    device: DeviceOption = None,
    watch: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Follow a training that mft.watch keeps in FOLDER.")
    ] = None,
) -> None:
    """Open the window. Example: mft-lab gui petals4 --play"""
    if watch is not None and source is not None:
        raise CommandError("Give a run, or --watch FOLDER, not both", 2)
    if source is not None and (Path(source) / "watched.json").is_file():
        watch, source = Path(source), None
    _open_window(source, play, screenshot, quit_after, device, watch)


def _open_window(
    source: str | None,
    play: bool,
    screenshot: Path | None,
    quit_after: float | None,
    device: str | None,
    followed: Path | None = None,
) -> NoReturn:
    from mft_engine.cli.doctor import guard

    fault = guard()
    if fault:
        raise CommandError(fault, 1)
    if source is not None:
        load_recipe(source)
    from app.application import main as open_window

    raise typer.Exit(
        open_window(
            recipe_source=source,
            play=play,
            screenshot=screenshot,
            quit_after=quit_after,
            device=device,
            followed=followed,
        )
    )


@app.command()
def run(
    recipe: RecipeArgument,
    changes: SetOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the run; a new folder inside it is made.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on with the interrupted run of this recipe in OUT.")] = False,
    seeds: Annotated[int, typer.Option(min=1, max=10_000, help="So many runs, pooled into one verdict.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Train the background, resample the foreground, compare. Example: mft-lab run clover --seeds 8 --json"""
    from mft_engine.cli.reporting import ProgressReport, describe_run, describe_seeds, seeds_document
    from mft_engine.runs.runs import run_stored

    progress = ProgressReport()
    try:
        if seeds > 1:
            from mft_engine.runs.seeds import run_seeds

            found = run_seeds(recipe_of(recipe, changes), seeds, out, resume=resume, report=progress.show)
        else:
            stored = run_stored(recipe_of(recipe, changes), out, resume=resume, report=progress.show)
    finally:
        progress.close()
    if seeds > 1:
        document = seeds_document(found)
        if as_json:
            _print_json(document)
        else:
            typer.echo(describe_seeds(document))
        return
    if as_json:
        _print_json(stored.summary)
    else:
        typer.echo(describe_run(stored.summary))


@app.command()
def theory(
    recipe: RecipeArgument,
    changes: SetOption = None,
    precision: Annotated[
        float | None, typer.Option(help="Wanted standard error of the loss; refused where it is out of reach.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="The best answer within about so long.")] = None,
    as_json: JsonOption = False,
) -> None:
    """The infinite-width solution alone. Example: mft-lab theory modular-addition --set task.train_fraction=0.55

    In the plane it is exact; with more inputs or readouts it is found by particles and has standard errors. A cubic
    teacher seen by erf neurons is answered with its order-parameter closure where its recipe is in the paper's units.
    """
    from mft_engine.cli.reporting import ProgressReport
    from mft_engine.experiment.summary import theory_summary
    from mft_engine.questions.closure import closure_summary
    from mft_engine.questions.theory import solve_theory

    for name, value in (("--precision", precision), ("--seconds", seconds)):
        if value is not None and not value > 0:
            raise CommandError(f"{name} {value:g}: give a number above 0", 2)
    chosen = recipe_of(recipe, changes)
    closure = closure_summary(chosen)
    if closure:
        answer = {"schema": "mft-lab/closure/1", "recipe": recipe, **closure}
    else:
        progress = ProgressReport()
        try:
            found = solve_theory(
                chosen,
                precision=precision,
                seconds=seconds,
                report=lambda done: progress.show("theory", done, "the infinite-width law, by particles"),
            )
        finally:
            progress.close()
        answer = {"schema": "mft-lab/theory/2", "recipe": recipe, **theory_summary(found)}
    if as_json:
        _print_json(answer)
        return
    for name, value in answer.items():
        if value is not None:
            typer.echo(f"{name:<22}{value if not isinstance(value, float) else format(value, '.7g')}")


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
        _print_json({"schema": "mft-lab/widths/1", "recipe": recipe, "rows": [_plain(asdict(row)) for row in rows]})
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
    as_json: JsonOption = False,
) -> None:
    """Teacher theory in its paper's own units, every branch. Example: mft-lab closure cubic --set beta=512"""
    from mft_engine.studies.closure_table import closure_table, describe

    document = closure_table(teacher, noise, dict(_assignment(change) for change in changes or []))
    if as_json:
        _print_json(document)
        return
    for line in describe(document):
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
        _print_json(document)
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
            base, axes, seeds, out, n_workers=workers, scheduler=scheduler, resume=resume, report=progress.show
        )
    finally:
        progress.close()
    if done.n_failed == len(done.rows):
        raise CommandError(f"All {len(done.rows)} points failed, the first with: {done.rows[0]['failure']}", 1)
    figures = save_phase_diagram(done)
    table, files = str(done.folder / "table.csv"), [str(path) for path in figures]
    pooled = pool_points(done) if seeds > 1 else []
    document = {
        "schema": "mft-lab/sweep/1",
        "recipe": base.name,
        "axes": [asdict(axis) for axis in done.axes],
        "n_seeds": seeds,
        "n_points": done.n_points,
        "n_failed": done.n_failed,
        "table": table,
        "figures": files,
        "rows": list(done.rows),
        "pooled": pooled,
    }
    if as_json:
        _print_json(document)
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


@app.command()
def compare(
    run_a: Annotated[Path, typer.Argument(help="A run folder; its background is compared.")],
    run_b: Annotated[Path, typer.Argument(help="Another run folder; its background is compared.")],
    as_json: JsonOption = False,
) -> None:
    """The same statistics between two stored backgrounds. Example: mft-lab compare runs/a runs/b"""
    from mft_engine.runs.compare import compare_folders

    answers = compare_folders(run_a, run_b)
    document = {"schema": "mft-lab/comparison/1", "run_a": str(run_a), "run_b": str(run_b), **answers[0].to_dict()}
    if as_json:
        _print_json({**document, "layers": [answer.to_dict() for answer in answers]})
        return
    for layer, answer in enumerate(answers, start=1):
        typer.echo(
            (f"layer {layer}: " if len(answers) > 1 else "")
            + f"{answer.verdict or 'no verdict'}: energy distance {round(answer.energy_distance, 4) + 0.0:.4f}, "
            f"{round(answer.ratio, 2) + 0.0:.2f} times its null mean, p = {answer.p_value:.3f}"
            + ("" if answer.averages is None else f"; with the moments p = {answer.p_value_all:.3g}")
            + "".join(f". {told}".rstrip(".") for told in (answer.why, answer.what_differs) if told)
        )


@app.command()
def export(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    figure: Annotated[list[str] | None, typer.Option(help="A figure's name, or all; may be repeated.")] = None,
    wrong: Annotated[Path | None, typer.Option(help="The wrong-background run, for three-pictures.")] = None,
    formats: Annotated[str, typer.Option("--format", help="pdf, svg, png, eps, tiff; comma-separated.")] = "pdf",
    width_mm: Annotated[float, typer.Option(min=20, max=1000, help="Width of the figure in mm.")] = 85.0,
    caption: Annotated[bool, typer.Option(help="Write recipe, seed, sizes and verdict under the figure.")] = False,
    animation: Annotated[str | None, typer.Option(help="gif, png (frames) or mp4.")] = None,
    data: Annotated[str | None, typer.Option(help="npz, csv, safetensors; comma-separated.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the files.")] = Path("."),
) -> None:
    """Figures, animations and data of a run. Example: mft-lab export runs/clover --figure foreground --format pdf"""
    from mft_engine.figures.export import export_run

    if figure and not _names(formats):
        raise CommandError(f"--format {formats!r}: write formats with commas between, for example pdf,png", 2)
    if not (figure or animation or _names(data or "")):
        raise CommandError("Nothing to export: give --figure, --animation or --data (see --help)", 2)
    files = export_run(
        run_folder,
        out,
        figures=figure or [],
        wrong=wrong,
        formats=_names(formats),
        width_mm=width_mm,
        has_caption=caption,
        animation=animation,
        data=_names(data or ""),
    )
    for file in files:
        typer.echo(str(file))


def _names(text: str) -> list[str]:
    """What stands between commas, each once."""
    return list(dict.fromkeys(name for part in text.split(",") if (name := part.strip().lower())))


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
        _print_json([{"name": t.name, "title": t.title, "formula": t.formula, "n_inputs": t.n_inputs} for t in built])
        return
    for task in built:
        typer.echo(f"{task.name:<18}{task.title:<36}y = {task.formula}")


@app.command()
def recipes(as_json: JsonOption = False) -> None:
    """The shipped recipes, one line each. Example: mft-lab recipes"""
    loaded = [load_recipe(name) for name in shipped_recipes()]
    if as_json:
        _print_json([{"name": r.name, "description": r.description, "digest": r.digest} for r in loaded])
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
        _print_json(found)
        return
    for row in found:
        typer.echo(f"{row['path']}  {row['recipe']}  seed {row['seed']}  {row['verdict'] or row['state']}")
    if not found:
        typer.echo(f"No runs in {folder or default_parent()}", err=True)


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Versions, devices, display, folders and known-bad pairs. Example: mft-lab doctor"""
    from mft_engine.cli.doctor import examine

    found = examine()
    if as_json:
        _print_json(found)
    else:
        for name, value in found.items():
            if name == "problems":
                continue
            shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
            typer.echo(f"{name:<14}{shown}")
        typer.echo("problems      " + ("; ".join(found["problems"]) or "none known"))
    if found["problems"]:
        raise typer.Exit(1)


@app.command()
def bench(
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes and few repeats.")] = False,
    device: Annotated[str, typer.Option(help="cpu, or cuda: what an NVIDIA GPU does.")] = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Speed against its peers, ratios in one run. Example: mft-lab bench --quick"""
    from mft_engine.cli.bench import ON_A_GPU, PARTS, markdown, measure
    from mft_engine.device import choose_device

    if device not in ("cpu", "cuda"):
        raise CommandError(f"--device {device}: there are benchmarks for cpu and cuda", 2)
    choose_device(device)
    parts = PARTS if device == "cpu" else ON_A_GPU
    document = measure(quick=quick, parts=parts, report=lambda part: typer.echo(f"{part} ...", err=True))
    if as_json:
        _print_json(document)
    else:
        typer.echo(markdown(document))


@contextmanager
def _sentences() -> Iterator[None]:
    """Every expected failure becomes one sentence on standard error and the documented exit code."""
    try:
        yield
    except CommandError as error:
        _stop(str(error), error.code)
    except RecipeError as error:
        _stop(str(error), 2)
    except ValueError as error:
        # The engine's own (of figures, exports, comparisons) are sentences; any other is a defect.
        if type(error).__name__ == "LinAlgError":
            _stop(_told(ArithmeticError(str(error))), 1)
        if type(error).__module__.split(".")[0] != "mft_engine":
            raise
        _stop(str(error), 2)
    except KeyboardInterrupt:
        _stop("Interrupted. What was computed is kept; --resume goes on with it.", INTERRUPTED)
    except BrokenPipeError:
        # Whoever read along has gone (`| head`): nobody is left to be told, and the last flush would complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except (ArithmeticError, OSError, MemoryError) as error:
        _stop(_told(error), 2 if getattr(error, "errno", None) == errno.ENAMETOOLONG else 1)
    except RuntimeError as error:
        # torch reports full memory as a RuntimeError; everything else of that kind is a defect and shows its trace.
        if "can't allocate memory" in str(error).lower():
            _stop(_told(MemoryError(str(error).splitlines()[0].rpartition(": ")[2].strip() or "none is left")), 1)
        if "out of memory" not in str(error).lower() and type(error).__module__.split(".")[0] != "mft_engine":
            raise
        is_name = getattr(error.__cause__, "errno", None) == errno.ENAMETOOLONG
        _stop(str(error).splitlines()[0], 2 if is_name else 1)


def _told(error: Exception) -> str:
    text = str(error) or type(error).__name__
    if isinstance(error, MemoryError):
        return f"There is not enough memory for this ({text}): take fewer neurons or points."
    if isinstance(error, ArithmeticError) and type(error).__module__.split(".")[0] != "mft_engine":
        return f"These values leave the range of the machine's numbers ({text}): bring the extreme ones nearer to 1."
    return text


def _replace_what_cannot_be_shown() -> None:
    """A terminal of any encoding shows what it can: no letter of a formula stops a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="replace")


def _stop(sentence: str, code: int) -> NoReturn:
    sys.stderr.write(f"mft-lab: {sentence}\n")
    raise SystemExit(code)


def main(arguments: list[str] | None = None) -> None:
    """The entry point `mft-lab`. Exit codes: 0 done, 1 failed, 2 bad arguments or recipe, 130 interrupted."""
    command = typer.main.get_command(app)
    _replace_what_cannot_be_shown()
    with _sentences():
        try:
            code = command.main(args=arguments, prog_name="mft-lab", standalone_mode=False)
        except typer.Abort:
            raise KeyboardInterrupt from None
        except _UsageError as error:
            error.show()
            raise SystemExit(error.exit_code) from None
        if code == INTERRUPTED:  # newer versions of typer answer Ctrl-C with this code and no word
            raise KeyboardInterrupt
        sys.stdout.flush()
    raise SystemExit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
