"""Whatever is typed or dropped ends in a result or in a sentence: never a traceback, a hang or executed code."""

from __future__ import annotations

import io
import resource
import warnings
from pathlib import Path

import fuzzing
import numpy as np
import psutil
import pytest
import torch
from fuzzing import case, fuzzed
from hypothesis import given
from hypothesis import strategies as st

from mft_engine.recipe import RecipeError, parse_recipe
from mft_engine.rng import Stream, host_generator
from mft_engine.sections import TaskSection
from mft_engine.tasks import build_task
from mft_engine.tasks.expression import FUNCTIONS

POINTS = host_generator(0, Stream.TEST_POINTS).standard_normal((7, 1000))
LONGEST_SENTENCE = 1000
# Of every watch: no file at all may be changed where none is given.
NOWHERE = Path("/nowhere/at/all")


def check(action, place: Path = NOWHERE) -> None:
    """A result or a sentence, in time, with nothing executed or written and no warning on the screen."""
    with case(place), warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        try:
            action()
        except RecipeError as error:
            sentence = str(error)
            assert sentence.strip() and "Traceback" not in sentence and len(sentence) < LONGEST_SENTENCE, sentence
    assert not shown, [str(w.message) for w in shown]


def use_expression(text: str) -> None:
    task = build_task(TaskSection.model_validate({"name": "expression", "expression": text}))
    values = np.asarray(task.target(POINTS[:, : task.n_inputs]))
    assert values.shape == (7,) and values.dtype == np.float64
    assert task.target(torch.as_tensor(POINTS[:, : task.n_inputs], dtype=torch.float32)).shape == (7,)


TOKENS = [
    *FUNCTIONS, "x1", "x2", "x3", "x999", "x0", "x1000000", "pi", "r", "angle", "1", "0", "2.5", "1e308", "1e-320",
    "0x1f", "1j", "1_000", "9" * 50, "+", "-", "*", "/", "**", "//", "%", "@", "^", "<", ">", "<=", "==",
    "<<", "~", "not ",
    " and ", " or ", " if ", " else ", " is ", "lambda x: ", "(", ")", "(", ")", ",", "[", "]", "{", "}", ":",
    ":=", ".", "=",
    "\n", "\t", " ", "#", "'", '"', "\\", "__import__", "('os')", ".system", "__class__", "eval", "exec",
    "open", "import os",
    "await ", "yield ", "f'{x1}'", "None", "True", "...", "*x1", "**x1", "print", "\0", "\ud800", "²",
    "×", "π", "x\u00b2",
]  # fmt: skip
GOOD = ["x1*x2 + 0.3*sin(3*x1)", "r*cos(4*angle)", "where(x1 > 0, x2, -x2)", "(x1**3 - 3*x1*x2**2)/sqrt(24)"]

joined = st.lists(st.sampled_from(TOKENS), max_size=40).map("".join)
deep = st.builds(
    lambda opening, n, closing, inner: opening * n + inner + closing * n,
    st.sampled_from(["(", "-", "sin(", "[", "x1**", "abs(", "not ", "((-"]),
    st.integers(0, 700),
    st.sampled_from([")", "", "]", "))"]),
    st.sampled_from(["x1", "1", ""]),
)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(GOOD))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(text)))
        text = text[:place] + draw(st.sampled_from(TOKENS)) + text[place + draw(st.integers(0, 3)) :]
    return text


expressions = st.one_of(joined, mutated(), deep, st.text(max_size=60), st.text(max_size=3).map(lambda s: s * 900))

cells = st.one_of(
    st.sampled_from(["", "nan", "inf", "-inf", "1e999", "1e308", "-1e308", "5e-324", "0x10", "1,5", '"', '""', "'",
                     "=1+1", "=cmd|'/c calc'!A0", "x", "\0", "\ufeff", "é", "1_0", " 1 ", "١", "--1", "1e",
                     "NaN", "None",
                     "True"]),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-9, 9).map(str),
    st.text(max_size=6),
)  # fmt: skip


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    n_columns, delimiter = draw(st.integers(1, 5)), draw(st.sampled_from([",", ";", "\t", " "]))
    is_tidy = draw(st.booleans())
    cell = st.integers(-99, 99).map(str) if is_tidy else cells
    rows = draw(st.lists(st.lists(cell, min_size=n_columns, max_size=n_columns), max_size=8))
    if rows and draw(st.booleans()):
        rows[draw(st.integers(0, len(rows) - 1))].append("7")
    end = draw(st.sampled_from(["\n", "\r\n", "\r", "\n\n"]))
    return end.join(delimiter.join(row) for row in rows).encode(draw(st.sampled_from(["utf-8", "utf-16", "utf-8-sig"])),
                                                                "surrogatepass")  # fmt: skip


def _archive(**arrays: np.ndarray) -> bytes:
    memory = io.BytesIO()
    np.savez(memory, **arrays)
    return memory.getvalue()


ARCHIVES = [
    _archive(x=np.eye(3), y=np.arange(3.0)),
    _archive(x=np.eye(3), y=np.arange(4.0)),
    _archive(y=np.array(["a", "b"])),
    _archive(y=np.zeros((2, 2, 2))),
    _archive(x=np.zeros((0, 2)), y=np.zeros(0)),
    _archive(x=np.array([1, np.nan]), y=np.zeros(2)),
    _archive(x=np.array([print, None], dtype=object), y=np.zeros(2)),
    _archive(),
]


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(ARCHIVES)))
    for _ in range(draw(st.integers(0, 6))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


files = st.tuples(st.one_of(tables(), archives(), st.binary(max_size=200)), st.sampled_from([".csv", ".npz", ".txt"]))
choices = st.fixed_dictionaries({}, optional={
    "target": st.one_of(st.integers(-2, 6), st.text(max_size=3), st.none(), st.sampled_from(["x", "y", "1", "2"])),
    "inputs": st.one_of(st.lists(st.integers(0, 4), max_size=3), st.text(max_size=3), st.floats()),
    "train_fraction": st.floats(),
    "standardise": st.one_of(st.booleans(), st.integers()),
})  # fmt: skip


def use_file(path: Path, parameters: dict) -> None:
    task = build_task(TaskSection.model_validate({"name": "dataset", "path": str(path), **parameters}))
    own = task.points
    assert own is not None and len(own.targets) == len(own.inputs) > 0 and own.inputs.shape[1] == task.n_inputs
    for array in (own.inputs, own.targets, own.test_inputs, own.test_targets):
        assert np.isfinite(array).all()
    assert np.isfinite(task.target(POINTS[:, : task.n_inputs])).all()


@pytest.mark.parametrize(
    "text", ["(" * 300 + "x1" + ")" * 300, "-" * 1900 + "x1", "9" * 1999, "10**10**10**10", "x1**x1**x1**x1**99999",
             "1if 1else 2", "0or x1", "\\", "\0", "\ud800", "__import__('os').system('id')", "(x1 for x1 in r)"],
)  # fmt: skip
def test_formulas_that_once_broke_a_parser(text: str) -> None:
    check(lambda: use_expression(text))


@fuzzed(300)
@given(expressions)
def test_hostile_expressions(text: str) -> None:
    check(lambda: use_expression(text))


@fuzzed(300)
@given(files, choices)
def test_hostile_files(tmp_path, file, parameters) -> None:
    path = tmp_path / f"hostile{file[1]}"
    path.write_bytes(file[0])
    check(lambda: use_file(path, parameters))


@fuzzed(200)
@given(st.one_of(st.text(max_size=200), st.lists(st.sampled_from([
    "[task]\n", "[training]\n", "[network]\n", "name = ", "time = ", "n_neurons = ", "step_size = ", '"x"\n', "-1\n",
    "1e400\n",
    "nan\n", "[]\n", "[[1]]\n", "true\n", "{}\n", "1979-05-27\n", "schema_version = 9\n", "9" * 30 + "\n", "= \n",
]), max_size=12).map("".join)))  # fmt: skip
def test_hostile_recipes(text: str) -> None:
    check(lambda: parse_recipe(text))


@pytest.mark.slow
@fuzzed(5000)
@given(expressions)
def test_five_thousand_hostile_expressions(text: str) -> None:
    check(lambda: use_expression(text))


@pytest.mark.slow
@fuzzed(5000)
@given(files, choices)
def test_five_thousand_hostile_files(tmp_path, file, parameters) -> None:
    path = tmp_path / f"hostile{file[1]}"
    path.write_bytes(file[0])
    check(lambda: use_file(path, parameters))


def rss() -> int:
    return psutil.Process().memory_info().rss


def _hang() -> None:
    while True:
        sum(range(1000))


def test_the_watch_sees_what_it_is_there_for(tmp_path, monkeypatch) -> None:
    with pytest.raises(AssertionError, match="exec"):
        check(lambda: exec("1 + 1"))
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    check(lambda: (inside / "file").write_text("x"), inside)
    for change in (lambda: outside.write_text("x"), lambda: (inside / "file").rename(outside), outside.unlink):
        with pytest.raises(AssertionError, match="outside"):
            check(change, inside)
    monkeypatch.setattr(fuzzing, "LONGEST_SECONDS", 0.1)
    with pytest.raises(AssertionError, match="still at work"):
        check(_hang)
    monkeypatch.setattr(fuzzing, "MOST_KILOBYTES", 20_000)
    monkeypatch.setattr(fuzzing, "LONGEST_SECONDS", 10)
    with pytest.raises(AssertionError, match="MB more"):
        check(lambda: b"1" * (1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - rss() + 100_000_000))
