"""Recipes and arguments of any content: each ends in fifty steps or in one clear sentence, never in a traceback."""

from __future__ import annotations

import copy
import io
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from fuzzing import LONGEST_SECONDS, case, fuzzed
from hypothesis import given
from hypothesis import strategies as st

from mft_engine.cli import main
from mft_engine.dynamics.divergence import Diverged
from mft_engine.experiment.experiment import Experiment
from mft_engine.recipe import Recipe, RecipeError, parse_recipe, shipped_recipes

# Cases of each test by default and with --runslow.
N_FAST, N_SLOW = 150, 5000
LONGEST = 1000
NOWHERE = Path("/nowhere/at/all")
TREES = {name: tomllib.loads(path.read_text(encoding="utf-8")) for name, path in shipped_recipes().items()}
# What a fuzzed recipe may cost: values beyond are made small once the recipe has been accepted.
CHEAP = {"training.n_steps": 50, "foreground.n_neurons": 8, "comparison.n_permutations": 99, "engine.device": "cpu",
         "engine.n_threads": 1}  # fmt: skip

# Training, foreground, comparison, exact law and kernels of one command, in seconds of the process's own time.
LONGEST_EXPERIMENT = 60.0

values = st.one_of(
    st.sampled_from([0, -1, 1, 10**30, -(10**30), 0.0, -0.0, 1e-320, 1e308, float("nan"), float("inf"), float("-inf"),
                     True, False, "", "auto", "nan", "1e5", "é\u202e\u0000"[:2], "x" * 400, [], [[]], [1, "a"], {},
                     {"a": 1}, "../../etc/passwd", "tanh", "gibbs", "adam", "sgd", "lazy", "prior", "gaussian", "batch",
                     [8, 8], [0], [4096, 4096, 4096]]),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.floats(1e-12, 1e3),
    st.text(max_size=8).filter(lambda text: not any(0xD800 <= ord(letter) < 0xE000 for letter in text)),
)  # fmt: skip
names = st.one_of(
    st.sampled_from(["seed", "name", "schema_version", "n_neurons", "temperature", "step_size", "path", "k", "modulus",
                     "schedule", "background", "expression", "scale", "rule", "batch_size", "dynamics"]),
    st.text(max_size=6).filter(lambda text: not any(0xD800 <= ord(letter) < 0xE000 for letter in text)),
)  # fmt: skip


@st.composite
def mutated_trees(draw: st.DrawFn) -> str:
    """A shipped recipe with one to four fields changed, taken away or added, as TOML."""
    tree: dict[str, Any] = copy.deepcopy(TREES[draw(st.sampled_from(sorted(TREES)))])
    for _ in range(draw(st.integers(1, 4))):
        sections = [tree, *(value for value in tree.values() if isinstance(value, dict))]
        section = draw(st.sampled_from(sections))
        action = draw(st.sampled_from(["change", "change", "change", "remove", "add"]))
        if action == "add" or not section:
            section[draw(names)] = draw(values)
        elif action == "remove":
            del section[draw(st.sampled_from(sorted(section)))]
        else:
            section[draw(st.sampled_from(sorted(section)))] = draw(values)
    return tomli_w.dumps(tree)


@st.composite
def mutated_texts(draw: st.DrawFn) -> str:
    """A shipped recipe's text with pieces replaced."""
    text = tomli_w.dumps(TREES[draw(st.sampled_from(sorted(TREES)))])
    for _ in range(draw(st.integers(1, 5))):
        place = draw(st.integers(0, len(text)))
        piece = draw(st.one_of(st.sampled_from(["[", "]", "=", "\n", '"', "'''", ".", "[[", "e9", "#", "\0", "{"]),
                               st.text(max_size=4)))  # fmt: skip
        text = text[:place] + piece + text[place + draw(st.integers(0, 6)) :]
    return text


def affordable(recipe: Recipe) -> Recipe:
    """The same recipe with what would only cost time and memory made small."""
    changes: dict[str, Any] = dict(CHEAP)
    changes["network.n_neurons"] = [min(n, 16) for n in recipe.network.n_neurons]
    changes["training.rule_size"] = [min(n, 8) for n in recipe.training.rule_size]
    for path, most in (("training.n_points", 30), ("training.batch_size", 16)):
        changes[path] = min(recipe.get(path), most)
    return recipe.replace(changes)


def fifty_steps_or_a_sentence(text: str) -> None:
    with case(NOWHERE):
        try:
            recipe = affordable(parse_recipe(text))
            experiment = Experiment(recipe, kernel="reference")
            experiment.advance(50)
        except (RecipeError, Diverged) as error:
            assert str(error).strip() and len(str(error)) < LONGEST and "Traceback" not in str(error)
            return
        assert np.isfinite(experiment.background.present_loss())


@fuzzed(N_FAST)
@given(st.one_of(mutated_trees(), mutated_texts()))
def test_a_mutated_recipe_ends_in_fifty_steps_or_in_a_sentence(text):
    fifty_steps_or_a_sentence(text)


@pytest.mark.slow
@fuzzed(N_SLOW)
@given(st.one_of(mutated_trees(), mutated_texts()))
def test_thousands_of_mutated_recipes_end_in_fifty_steps_or_in_a_sentence(text):
    fifty_steps_or_a_sentence(text)


words = st.one_of(
    st.sampled_from(["tasks", "recipes", "runs", "compare", "export", "closure", "clover", "cubic", "modular", "--json",
                     "--set", "--noise", "--figure", "all", "--format", "--data", "npz", "--animation", "gif", "--out",
                     "--width-mm", "nan", "-1", "0.2,0.1", "beta=1", "beta=", "=", "--help", "--version", "--", "-",
                     "form=printed", "0.1:0.3:lin3", "0:0:log0", "inf", "--wrong", ".", "/", "/dev/null", "..", ""]),
    st.text(max_size=6).filter(lambda text: "\0" not in text),
)  # fmt: skip
COMMANDS = ("tasks", "recipes", "runs", "compare", "export", "closure", "--version", "--nonsense")


def said_by(arguments: list[str], place: Path, monkeypatch, seconds: float = LONGEST_SECONDS) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command, carried out in a folder and watched."""
    monkeypatch.chdir(place)
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict") for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    try:
        with case(place, seconds):
            main(arguments)
    except SystemExit as stopped:
        code = stopped.code
    finally:
        monkeypatch.undo()
    for stream in (out, err):
        stream.flush()
    return code, out.buffer.getvalue().decode(), err.buffer.getvalue().decode()


def an_exit_code_and_no_traceback(command: str, arguments: list[str], place, monkeypatch) -> None:
    code, _, said = said_by([command, *arguments], place, monkeypatch)
    assert code in (0, 1, 2) and "Traceback" not in said
    assert (code == 0) or said.strip()


@fuzzed(N_FAST)
@given(command=st.sampled_from(COMMANDS), arguments=st.lists(words, max_size=5))
def test_arguments_of_any_kind_end_with_a_documented_exit_code(command, arguments, tmp_path, monkeypatch):
    an_exit_code_and_no_traceback(command, arguments, tmp_path, monkeypatch)


@pytest.mark.slow
@fuzzed(N_SLOW // 2)
@given(command=st.sampled_from(COMMANDS), arguments=st.lists(words, max_size=5))
def test_thousands_of_arguments_end_with_a_documented_exit_code(command, arguments, tmp_path, monkeypatch):
    an_exit_code_and_no_traceback(command, arguments, tmp_path, monkeypatch)


@pytest.mark.slow
@fuzzed(250)
@given(text=st.one_of(mutated_trees(), mutated_texts()))
def test_hundreds_of_mutated_recipes_as_commands_end_with_the_exit_code_of_their_fault(text, tmp_path, monkeypatch):
    """2 where the recipe cannot be used, 1 where it can and the run fails, 0 with a number for the loss."""
    (tmp_path / "fuzzed.toml").write_text(text, encoding="utf-8")
    try:
        recipe = affordable(parse_recipe(text))
    except RecipeError:
        recipe = None
    changes = [] if recipe is None else [
        word
        for path in (*CHEAP, "network.n_neurons", "training.rule_size", "training.n_points", "training.batch_size")
        for word in ("--set", f"{path}={written(recipe.get(path))}")
    ]  # fmt: skip
    if recipe is not None and recipe.network.n_layers == 1:  # of two, the law is solved where it is asked for alone
        changes += ["--set", "theory.n_particles=256"]
    words = ["run", "fuzzed.toml", *changes, "--out", "runs", "--json"]
    code, out, said = said_by(words, tmp_path, monkeypatch, seconds=LONGEST_EXPERIMENT)
    assert "Traceback" not in said
    assert code == 2 if recipe is None else code in (0, 1, 2), said
    if code == 0:
        assert np.isfinite(json.loads(out)["background"]["loss"])
    else:
        (sentence,) = (line for line in said.splitlines() if line.startswith("mft-lab: "))
        assert len(sentence) < LONGEST


def written(value: object) -> str:
    return json.dumps(list(value) if isinstance(value, tuple) else value)
