"""A run as something to paste: the command line or the lines of Python that repeat it."""

from __future__ import annotations

import contextlib
import shlex

from mft_engine.recipe import Recipe, RecipeError, differences, load_recipe, shipped_recipes


def command_line(recipe: Recipe) -> str:
    """The `mft-lab run` command that repeats a run; changes made on the way need the recipe as a file."""
    base, changes = _as_changes(recipe)
    if changes is None:
        text = recipe.to_toml()
        return f"cat > recipe.toml <<'END'\n{text}END\nmft-lab run recipe.toml"
    parts = ["mft-lab", "run", base]
    for path, value in changes.items():
        parts += ["--set", f"{path}={_toml(value)}"]
    return shlex.join(parts)


def python_lines(recipe: Recipe) -> str:
    """The lines of Python that repeat a run."""
    base, changes = _as_changes(recipe)
    lines = ["import mft_engine as mft", ""]
    if changes is None:
        lines.append(f'recipe = mft.parse_recipe("""\n{recipe.to_toml()}""")')
    else:
        lines.append(f"recipe = mft.load_recipe({base!r})")
        if changes:
            inside = "".join(f"    {path!r}: {value!r},\n" for path, value in changes.items())
            lines[-1] += f".replace({{\n{inside}}})"
    lines += ["for event in mft.Experiment(recipe):", "    print(event)"]
    return "\n".join(lines) + "\n"


def _as_changes(recipe: Recipe) -> tuple[str, dict[str, object] | None]:
    """A shipped recipe and the values that differ from it; None where that cannot say it."""
    if recipe.schedule:
        return "", None
    with contextlib.suppress(RecipeError):
        base = recipe.name if recipe.name in shipped_recipes() else "clover"
        start = load_recipe(base)
        changes = {p: new for p, _, new in differences(start, recipe) if p not in ("name", "description")}
        if start.replace(changes).digest == recipe.digest:
            return base, changes
    return "", None


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
