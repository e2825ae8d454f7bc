"""Arguments deep, long and strange, terminals of any encoding, no display: a sentence and the documented exit code."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

from mft_engine.cli import main
from mft_engine.cli.doctor import display_fault
from mft_engine.recipe import MAX_DEPTH, RecipeError, load_recipe, parse_recipe

DEEP, DIGITS, LONG = "[" * 1500 + "]" * 1500, "9" * 5000, "x" * 300
SWEEP = ["sweep", "clover", "--out", "never-made", "--param"]

STRANGE = {
    "a value nested 1,500 deep": ["theory", "clover", "--set", f"name={DEEP}"],
    "a whole number of 5,000 digits": ["theory", "clover", "--set", f"seed={DIGITS}"],
    "a list of lists": [*SWEEP, "regularisation.scale=[[1]],[[2]]"],
    "tables": [*SWEEP, "task.k={a=1},{a=2}"],
    "a range as wide as the machine's numbers": [*SWEEP, "regularisation.scale=-1e308:1e308:lin3"],
    "a range of whole numbers without end": [*SWEEP, "network.n_neurons=1e300:1e301:log3"],
    "no value": [*SWEEP, "regularisation.scale=,"],
    "an empty list": [*SWEEP, "regularisation.scale=[]"],
    "a whole section": [*SWEEP, "regularisation=1,2"],
    "a multiplier that is no normal number": ["theory", "clover", "--set", "regularisation.input_weight=1e-320"],
    "a product that is no weight's": ["theory", "clover", "--set", "regularisation.scale=1e-9",
                                      "--set", "regularisation.readout=1e-9"],
    "a temperature beyond all numbers": ["theory", "clover", "--set", "training.temperature=1e-300"],
    "a size of 20 digits": ["widths", "clover", "--sizes", "9" * 20],
    "no size": ["widths", "clover", "--sizes", ","],
    "99,999,999 rungs": ["temper", "clover", "--rungs", "99999999"],
    "an infinite hottest rung": ["temper", "clover", "--hottest", "inf"],
    "a hottest rung that is no number": ["temper", "clover", "--hottest", "nan"],
    "a noise that is no normal number": ["closure", "cubic", "--noise", "1e-320"],
    "noises in lists": ["closure", "modular", "--noise", "[[1]],[2]"],
    "a recipe's name beyond 255 bytes": ["theory", LONG],
    "an output folder's name beyond 255 bytes": ["run", "clover", "--out", LONG],
    "a window on a name beyond 255 bytes": ["gui", LONG],
}  # fmt: skip


@pytest.mark.parametrize("arguments", STRANGE.values(), ids=STRANGE.keys())
def test_strange_arguments_end_with_exit_code_2_and_one_sentence(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    said = capsys.readouterr().err.strip()
    assert stopped.value.code == 2
    assert said.startswith("mft-lab: ") and "\n" not in said and len(said) < 700
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"name = {DEEP}", "levels deep"),
        ("a" + ".a" * 3000 + " = 1", "levels deep"),
        ("[task]\nx = " + "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "levels deep"),
        (f"seed = {DIGITS}", "more digits"),
        (f"seed = {'9' * 400}", "characters"),
        (f"name = {'9' * 400}", "characters"),
    ],
)
def test_a_recipe_deep_or_with_endless_numbers_is_refused_in_a_sentence(text, words):
    with pytest.raises(RecipeError, match=words) as refused:
        parse_recipe(text)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("name", [LONG, "a\0b", f"{LONG}.toml"])
def test_a_name_that_no_file_can_have_is_refused_in_a_sentence(name):
    with pytest.raises(RecipeError, match="There is no recipe"):
        load_recipe(name)


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "gbk", "ascii", "utf-8"])
@pytest.mark.parametrize("command", ["tasks", "recipes"])
def test_a_terminal_of_any_encoding_shows_the_lists(command, encoding, monkeypatch):
    screen = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
    monkeypatch.setattr(sys, "stdout", screen)
    with pytest.raises(SystemExit) as stopped:
        main([command])
    screen.flush()
    shown = screen.buffer.getvalue().decode(encoding, "replace")
    assert stopped.value.code == 0 and len(shown.splitlines()) >= 15
    assert "?" in shown or command == "recipes" or encoding in ("utf-8", "ascii")


def test_a_name_that_the_terminal_cannot_show_is_named_as_far_as_it_can(monkeypatch):
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    monkeypatch.setattr(sys, "stderr", screen)
    with pytest.raises(SystemExit) as stopped:
        main(["theory", "клевер\udcff"])
    screen.flush()
    assert stopped.value.code == 2 and b"There is no recipe" in screen.buffer.getvalue()


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "There is no display"),
        ({"DISPLAY": ":4711"}, "does not answer"),
        ({"DISPLAY": "nonsense"}, "does not answer"),
        ({"DISPLAY": "127.0.0.1:99999999"}, "does not answer"),
        ({"WAYLAND_DISPLAY": "none", "XDG_RUNTIME_DIR": "/nowhere"}, "does not answer"),
        ({"QT_QPA_PLATFORM": "xcb"}, "There is no display"),
        ({"QT_QPA_PLATFORM": "offscreen"}, None),
        ({"QT_QPA_PLATFORM": "vnc:size=10x10"}, None),
    ],
)
def test_a_missing_display_is_said_in_a_sentence(environment, words):
    said = display_fault(environment, "linux")
    assert said is None if words is None else (words in said and "mft-lab run" in said)
    assert display_fault(environment, "darwin") is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems always have a display")
@pytest.mark.parametrize("command", [["-m", "mft_engine.cli", "gui"], ["-m", "app"]])
def test_without_a_display_the_window_ends_with_exit_code_1_and_a_sentence(command):
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "There is no display" in done.stderr and "\n" not in done.stderr.strip()
