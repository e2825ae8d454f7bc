"""The program `mft-lab`: its application, the options that commands share, and how a recipe is named."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
import typer.core

from mft_engine.recipe import Recipe, RecipeError, load_recipe, toml_value

# Spinning OpenMP threads beside a window make small steps many times slower; must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Many-threaded BLAS beside busy threads makes the small products of the theory many times slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


class CommandError(Exception):
    """A sentence for standard error and an exit code."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.code = code


Command = TypeVar("Command", bound=Callable[..., Any])


class _Once:
    """Refuses an option given twice where it can have one value: the last would silently replace the first."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _, _, given = self.make_parser(ctx).parse_args(args=list(args))  # type: ignore[attr-defined]
        for option in given:
            is_single = isinstance(option, typer.core.TyperOption) and not (option.multiple or option.is_flag)
            if is_single and given.count(option) > 1:
                raise CommandError(f"{option.opts[0]} is given {_times(given.count(option))}: it can have one value", 2)
        return super().parse_args(ctx, args)  # type: ignore[misc]


def _times(n: int) -> str:
    return "twice" if n == 2 else f"{n} times"


class OnceCommand(_Once, typer.core.TyperCommand):
    """A command of the program."""


class OnceGroup(_Once, typer.core.TyperGroup):
    """The program itself, which has options of its own."""


class Program(typer.Typer):
    """An application whose commands take every single-valued option once."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[Command], Command]:  # type: ignore[override]
        """As of any application."""
        return super().command(name, cls=OnceCommand, **options)


app = Program(
    name="mft-lab",
    cls=OnceGroup,
    help="A lab for the mean-field theory of neural networks: neuron clouds, foregrounds, exact theory.",
    no_args_is_help=False,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

RecipeArgument = Annotated[str, typer.Argument(help="A TOML file, a run folder or the name of a shipped recipe.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Change a field; may be repeated, the last of a field counts."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
PlayOption = Annotated[bool, typer.Option("--play", help="Start training at once.")]
ScreenshotOption = Annotated[Path | None, typer.Option(help="Save a picture of the window before quitting.")]
QuitOption = Annotated[float | None, typer.Option(metavar="SECONDS", help="Close the window after that long.")]
DeviceOption = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]


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


def print_json(document: Any) -> None:
    from mft_engine.experiment.summary import without_nan

    typer.echo(json.dumps(without_nan(document), indent=2, allow_nan=False))
