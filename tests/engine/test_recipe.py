"""The recipe: reading, changing, refusing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mft_engine.changes import Change
from mft_engine.recipe import (
    Recipe,
    RecipeError,
    all_paths,
    load_recipe,
    parse_recipe,
    plan_change,
    shipped_recipes,
    toml_value,
)
from mft_engine.tasks import build_task


def test_a_recipe_survives_toml() -> None:
    recipe = Recipe().replace({"regularisation.scale": 0.02, "network.n_neurons": 17, "task.name": "ring"})
    assert parse_recipe(recipe.to_toml()) == recipe


def test_a_schedule_survives_toml() -> None:
    tree = Recipe().to_toml() + '\n[[schedule]]\nstep = 7\npath = "regularisation.scale"\nvalue = 0.5\n'
    recipe = parse_recipe(tree)
    assert recipe.schedule[0].value == 0.5
    assert parse_recipe(recipe.to_toml()) == recipe


@pytest.mark.parametrize("name", list(shipped_recipes()))
def test_every_shipped_recipe_loads_and_its_task_builds(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name and recipe.description
    build_task(recipe.task)


def test_the_gallery_of_the_first_release_is_shipped() -> None:
    wanted = {"clover", "clover-wrong", "clover-warm", "clover-sharp", "sgd-clover", "sgd-clover-free", "petals3",
              "petals4", "petals5", "ring", "wedges", "lobes", "butterfly"}  # fmt: skip
    assert wanted <= set(shipped_recipes())


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("regularisation.scal", 1.0, ["regularisation.scal", "regularisation.scale"]),
        ("regularisation.scale", -1.0, ["regularisation.scale", "-1", "greater than 0"]),
        ("regularisation.scale", float("nan"), ["regularisation.scale"]),
        ("training.temperature", 0.0, ["training.temperature", "gaussian"]),
        ("training.step_size", "fast", ["training.step_size", "'fast'", "auto"]),
        ("network.n_neurons", 0, ["network.n_neurons", "greater than or equal to 1"]),
        ("network.activation", "rlu", ["network.activation", "'rlu'", "relu_tanh"]),
        ("engine.device", "gpu", ["engine.device", "'gpu'"]),
        ("training.dynamics", "sgd", ["temperature"]),
        ("schema_version", 99, ["schema_version", "99"]),
    ],
)
def test_a_bad_value_is_refused_with_its_name_and_what_is_allowed(path: str, value: object, words: list[str]) -> None:
    with pytest.raises(RecipeError) as error:
        Recipe().replace({path: value})
    for word in words:
        assert word in str(error.value)


def test_changes_are_applied_together_and_validated_once() -> None:
    changes = {"training.dynamics": "sgd", "training.temperature": 0.0, "initial.law": "gaussian"}
    assert Recipe().replace(changes).training.dynamics == "sgd"


def test_the_digest_ignores_the_name_and_follows_every_other_value() -> None:
    recipe = Recipe()
    assert recipe.replace({"name": "other"}).digest == recipe.digest
    assert recipe.replace({"seed": 1}).digest != recipe.digest
    assert recipe.replace({"task.name": "petals", "task.k": 5}).digest != recipe.digest


@pytest.mark.parametrize(
    ("path", "value", "change"),
    [
        ("regularisation.scale", 0.5, Change.RETUNE),
        ("training.temperature", 0.5, Change.RETUNE),
        ("foreground.n_neurons", 5, Change.RESAMPLE),
        ("name", "x", Change.NOTHING),
        ("seed", 5, Change.REBUILD),
        ("network.n_neurons", 5, Change.REBUILD),
        ("foreground.background", "lazy", Change.REBUILD),
        ("task.name", "ring", Change.REBUILD),
    ],
)
def test_plan_change_keeps_the_neurons_wherever_it_can(path: str, value: object, change: Change) -> None:
    recipe = Recipe()
    assert plan_change(recipe, recipe.replace({path: value})) is change


def test_every_path_can_be_read() -> None:
    recipe = Recipe()
    for path in all_paths():
        recipe.get(path)


def test_reading_a_recipe_does_not_import_torch() -> None:
    code = (
        "import sys; import mft_engine.recipe, mft_engine.experiment.events; mft_engine.load_recipe('clover'); "
        "print('torch' in sys.modules)"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "False"


def test_an_unknown_recipe_suggests_the_nearest() -> None:
    with pytest.raises(RecipeError, match="clover"):
        load_recipe("clovre")


def test_a_file_that_is_not_toml_is_named(tmp_path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("a = = 3")
    with pytest.raises(RecipeError, match=r"broken\.toml is not valid TOML"):
        load_recipe(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match=r"broken\.toml"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("text", "value"), [(".55", 0.55), ("-.5", -0.5), (".3e-2", 0.003), ("0.7", 0.7), (".5*x", ".5*x"), ("./a", "./a")]
)
def test_a_number_typed_without_its_zero_is_a_number(text: str, value: object) -> None:
    assert toml_value(text) == value
