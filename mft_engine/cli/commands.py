"""The command line: every command is a thin layer over the engine that a script could call itself."""

from __future__ import annotations

import atexit
import errno
import gc
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from mft_engine import __version__
from mft_engine.cli.program import (
    CommandError,
    DeviceOption,
    JsonOption,
    PlayOption,
    QuitOption,
    RecipeArgument,
    ScreenshotOption,
    SetOption,
    app,
    print_json,
    recipe_of,
)
from mft_engine.recipe import RecipeError, load_recipe

INTERRUPTED = 130
# New objects between two searches for cycles that nobody refers to: importing the engine makes hundreds of thousands
# that stay, and searching through them took a quarter of a second.
OBJECTS_BETWEEN_SEARCHES = 100_000
# typer brings its own copy of click in some versions: the common base of its argument errors is found, not imported.
_UsageError: type[typer.BadParameter] = next(
    base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException"
)


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
    if source is not None and os.path.isfile(Path(source) / "watched.json"):
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
            print_json(document)
        else:
            typer.echo(describe_seeds(document))
        return
    if as_json:
        print_json(stored.summary)
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

    In the plane it is exact; with more inputs or readouts it is found by particles and has standard errors. Beside a
    cubic teacher's law, seen by erf neurons, stands what its order-parameter closure says.
    """
    from mft_engine.cli.reporting import ProgressReport
    from mft_engine.questions.closure import closure_summary
    from mft_engine.questions.theory import solve_theory

    for name, value in (("--precision", precision), ("--seconds", seconds)):
        if value is not None and not value > 0:
            raise CommandError(f"{name} {value:g}: give a number above 0", 2)
    chosen = recipe_of(recipe, changes)
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
    answer = {"schema": "mft-lab/theory/2", "recipe": recipe, **found.to_dict(), "closure": closure_summary(chosen)}
    if as_json:
        print_json(answer)
        return
    for name, value in answer.items():
        if value is not None:
            typer.echo(f"{name:<22}{value if not isinstance(value, float) else format(value, '.7g')}")


@app.command()
def desktop(
    is_removed: Annotated[bool, typer.Option("--remove", help="Take the entry away again.")] = False,
) -> None:
    """Puts the program into the menu of applications (Linux). Example: mft-lab desktop"""
    from mft_engine.cli.desktop import install, remove

    for path in remove() if is_removed else install():
        typer.echo(path)


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Versions, devices, display, folders and known-bad pairs. Example: mft-lab doctor"""
    from mft_engine.cli.doctor import examine

    found = examine()
    if as_json:
        print_json(found)
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
        print_json(document)
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
        is_own = type(error).__module__.split(".")[0] == "mft_engine"
        if not is_own and "out of memory" not in str(error).lower():
            _stop(_of_device(error), 1)
        is_name = getattr(error.__cause__, "errno", None) == errno.ENAMETOOLONG
        _stop(str(error).splitlines()[0], 2 if is_name else 1)


def _of_device(error: RuntimeError) -> str:
    """The sentence for a device that was lost on the way.

    Raises:
        RuntimeError: the same, where it is nothing of that kind but a defect.
    """
    from mft_engine.device import is_trouble

    if not is_trouble(error):
        raise error
    return (
        f"The device failed ({str(error).splitlines()[0]}); what was computed before is kept. Try again, or on another "
        "device: --set engine.device=cpu"
    )


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
    gc.set_threshold(OBJECTS_BETWEEN_SEARCHES)
    atexit.register(gc.freeze)  # nor is there anything to gain from a last search: a third of a second
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
