"""Claims about tables that people have: read in every usual dialect, with a word for whatever was guessed."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mft_engine.experiment.experiment import Experiment
from mft_engine.recipe import RecipeError, load_recipe
from mft_engine.sections import TaskSection
from mft_engine.tasks import Task, build_task
from mft_engine.tasks.files import read_table

# Rounded as a spreadsheet would show them; labels of three kinds.
VALUES = np.round(np.stack([np.sin(np.arange(40.0)), np.cos(3 * np.arange(40.0))], axis=1), 4)
LABEL = np.arange(40) % 3


def dataset(path: Path, **parameters: object) -> Task:
    return build_task(TaskSection.model_validate({"name": "dataset", "path": str(path), **parameters}))


def lines(separator: str, decimal: str = ".", header: str = "", last: list[str] | None = None) -> str:
    rows = [
        separator.join([*(f"{v:.4f}".replace(".", decimal) for v in row), last[i] if last else str(LABEL[i])])
        for i, row in enumerate(VALUES)
    ]
    return "\n".join([header, *rows] if header else rows) + "\n"


def written(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


DIALECTS = {
    "commas": (lines(",", header="x,y,label"), {"delimiter": "comma", "decimal": ".", "header": True}),
    "german": (lines(";", ",", "x;y;label"), {"delimiter": "semicolon", "decimal": ",", "header": True}),
    "german without header": (lines(";", ","), {"delimiter": "semicolon", "decimal": ",", "header": False}),
    "german with tabs": (lines("\t", ",", "x\ty\tlabel"), {"delimiter": "tab", "decimal": ",", "header": True}),
    "sep=": ("sep=;\r\n" + lines(";", ",", "x;y;label"), {"delimiter": "semicolon", "decimal": ",", "header": True}),
    "bars": (lines("|", header="x|y|label"), {"delimiter": "bar", "decimal": ".", "header": True}),
    "savetxt, commas": (lines(",", header="# x,y,label"), {"delimiter": "comma", "decimal": ".", "header": True}),
    "savetxt, spaces": (lines(" ", header="# x y label"), {"delimiter": "space", "decimal": ".", "header": True}),
    "a comment first": ("# made by me\n" + lines(",", header="x,y,label"), {"delimiter": "comma", "header": True}),
    "a comment that names nothing": (lines(",", header="# made by me"), {"delimiter": "comma", "header": False}),
    "comments between rows": (lines(",").replace("\n", "\n# half\n", 1), {"delimiter": "comma", "header": False}),
}


@pytest.mark.parametrize("kind", DIALECTS)
def test_every_dialect_gives_the_same_numbers_and_says_what_was_guessed(tmp_path, kind):
    text, facts = DIALECTS[kind]
    table = read_table(written(tmp_path, text))
    np.testing.assert_array_equal(np.stack(list(table.columns.values()), axis=1), np.column_stack([VALUES, LABEL]))
    assert list(table.columns) == (["x", "y", "label"] if facts["header"] else ["1", "2", "3"])
    assert facts.items() <= table.facts.items()
    assert str(table.facts["delimiter"]) in table.notes[0] and "decimal mark" in table.notes[0]


def test_numbers_that_group_their_thousands_are_read_where_the_comma_is_the_decimal_mark(tmp_path):
    table = read_table(written(tmp_path, "a;b\n1.234,5;2\n-12.345.678,25;1.000\n0,5;7,25\n"))
    np.testing.assert_array_equal(table.columns["a"], [1234.5, -12345678.25, 0.5])
    np.testing.assert_array_equal(table.columns["b"], [2, 1000, 7.25])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "cp1252"])
def test_other_encodings_are_read_and_said(tmp_path, encoding):
    text = lines(",", header="größe,y,label")
    table = read_table(written(tmp_path, text.encode(encoding)))
    assert list(table.columns) == ["größe", "y", "label"]
    assert ("encoding" in table.facts) == (encoding != "utf-8-sig")


def test_a_first_row_that_counts_up_from_0_is_a_header_and_said_and_can_be_overruled(tmp_path):
    """As pandas writes a frame without names; it was a 201st point, silently."""
    path = written(tmp_path, lines(",", header="0,1,2"))
    table = read_table(path)
    assert table.n_rows == 40 and list(table.columns) == ["0", "1", "2"] and table.facts["header"] is True
    assert "(0, 1, 2) counts the columns and was taken as their names" in table.notes[0]
    assert dataset(path).points.inputs.shape == (40, 2)
    assert dataset(path, header=False).points.inputs.shape == (41, 2)
    # A row of points is a row of points.
    assert read_table(written(tmp_path, "3,1,2\n4,5,6\n7,9,9", "u.csv")).n_rows == 3


def test_what_is_guessed_can_be_set(tmp_path):
    path = written(tmp_path, "1,5 2,5 3\n4,5 5,5 7\n2,5 1,5 6\n")
    points = dataset(path, delimiter="space", decimal=",", standardise=False).points
    np.testing.assert_array_equal(points.inputs, [[1.5, 2.5], [4.5, 5.5], [2.5, 1.5]])
    with pytest.raises(RecipeError, match=r"task.delimiter = 'colon': one of tab, semicolon, comma, bar, space"):
        dataset(path, delimiter="colon")
    with pytest.raises(RecipeError, match=r"task.decimal = ';'"):
        dataset(path, decimal=";")
    with pytest.raises(RecipeError, match=r"task.header = 1"):
        dataset(path, header=1)


def test_an_unnamed_counting_first_column_is_an_index_and_left_out_with_a_word(tmp_path):
    """As `DataFrame.to_csv` writes it; it collided with the column named 1."""
    rows = "\n".join(f"{i},{line}" for i, line in enumerate(lines(",").splitlines()))
    path = written(tmp_path, ",0,1,2\n" + rows)
    table = read_table(path)
    assert list(table.columns) == ["0", "1", "2"] and table.facts["left_out"] == ["column 1"]
    assert any("an index, which was left out" in note for note in table.notes)
    np.testing.assert_array_equal(table.columns["0"], VALUES[:, 0])


def test_a_named_counting_first_column_stays_and_is_said(tmp_path):
    rows = "\n".join(f"{i},{line}" for i, line in enumerate(lines(",").splitlines()))
    task = dataset(written(tmp_path, "id,x,y,label\n" + rows))
    assert task.data["inputs"] == ["id", "x", "y"]
    assert any("'id' counts the rows: if it is an index, leave it out (task.inputs)" in n for n in task.data["notes"])


def test_two_arrays_never_share_a_column(tmp_path):
    """x of shape (60, 2) and x1 of shape (60,): one overwrote a column of the other."""
    x, x1, y = np.arange(120.0).reshape(60, 2), -np.arange(60.0), np.arange(60) % 2
    np.savez(tmp_path / "t.npz", x=x, x1=x1, y=y)
    table = read_table(tmp_path / "t.npz")
    assert list(table.columns) == ["x[1]", "x[2]", "x1", "y"]
    points = dataset(tmp_path / "t.npz", standardise=False).points
    np.testing.assert_array_equal(points.inputs, np.column_stack([x, x1]))


def test_arrays_that_are_not_needed_do_not_stop_a_file(tmp_path):
    np.savez(tmp_path / "t.npz", X=VALUES, y=LABEL, seed=np.array(3), names=np.array(["a", "b"]), short=np.zeros(7))
    table = read_table(tmp_path / "t.npz")
    assert list(table.columns) == ["X1", "X2", "y"] and table.facts["left_out"] == ["seed", "names", "short"]
    assert any("'seed' is a single number and was left out" in note for note in table.notes)
    assert dataset(tmp_path / "t.npz").data["target"] == "y"


def test_the_usual_split_is_used(tmp_path):
    y = np.where(LABEL > 0, 1, -1)
    np.savez(tmp_path / "t.npz", X_train=VALUES[:30], y_train=y[:30], X_test=VALUES[30:], y_test=y[30:])
    task = dataset(tmp_path / "t.npz", standardise=False)
    np.testing.assert_array_equal(task.points.inputs, VALUES[:30])
    np.testing.assert_array_equal(task.points.test_inputs, VALUES[30:])
    np.testing.assert_array_equal(task.points.test_targets, y[30:])
    assert task.is_classification and any("30 rows to learn from, 10 held back" in n for n in task.data["notes"])
    with pytest.raises(RecipeError, match="itself holds back 10 rows"):
        dataset(tmp_path / "t.npz", train_fraction=0.5)


def test_a_one_hot_target_is_a_classification_with_a_readout_for_each_class(tmp_path):
    np.savez(tmp_path / "t.npz", X=VALUES, y=np.eye(3)[LABEL])
    task = dataset(tmp_path / "t.npz")
    assert task.n_out == 3 and task.is_classification and task.data["inputs"] == ["X1", "X2"]
    np.testing.assert_allclose(task.points.targets.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_array_equal(task.points.targets.argmax(axis=1), LABEL)
    # One column of it can still be chosen.
    assert dataset(tmp_path / "t.npz", target="y2", inputs=["X1", "X2"]).n_out == 1


@pytest.mark.parametrize("n_words", [2, 3])
def test_words_are_classes(tmp_path, n_words):
    words = ["setosa", "virginica", "versicolor"][:n_words]
    last = [words[k % n_words] for k in range(40)]
    task = dataset(written(tmp_path, lines(",", header="x,y,species", last=last)))
    assert task.is_classification and task.n_out == (1 if n_words == 2 else 3)
    assert task.data["classes"] == sorted(words) and sorted(words)[0] in task.formula
    codes = np.array([sorted(words).index(word) for word in last])
    found = task.points.targets > 0 if n_words == 2 else task.points.targets.argmax(axis=1)
    np.testing.assert_array_equal(found, codes)


def test_words_among_the_inputs_are_answered_with_the_remedies(tmp_path):
    path = written(tmp_path, "kind,x,y\na,1,2\nb,3,4\na,5,7\n")
    with pytest.raises(RecipeError, match=r"'kind' holds words \(a, b, ...\).*task.inputs.*task.target"):
        dataset(path)
    assert dataset(path, inputs=["x"]).n_inputs == 1


@pytest.mark.parametrize("kind", ["words", "numbers", "one-hot"])
def test_files_of_classes_get_accuracies(tmp_path, kind):
    x = np.random.default_rng(0).normal(size=(80, 2))
    label = (x[:, 0] * x[:, 1] > 0).astype(int)
    path = tmp_path / ("t.npz" if kind == "one-hot" else "t.csv")
    if kind == "one-hot":
        np.savez(path, X=x, y=np.eye(2)[label])
    else:
        last = ["ham" if k else "spam" for k in label] if kind == "words" else [str(k) for k in label]
        path.write_text("\n".join(["x,y,c", *(f"{a},{b},{c}" for (a, b), c in zip(x, last, strict=True))]))
    recipe = load_recipe("clover").replace({
        "task.name": "dataset", "task.path": str(path), "task.train_fraction": 0.5, "network.n_neurons": 32,
        "foreground.n_neurons": 32, "training.n_steps": 60, "comparison.n_permutations": 99, "engine.n_threads": 1,
    })  # fmt: skip
    *_, finished = Experiment(recipe, kernel="reference")
    for part in ("background", "foreground"):
        shares = [finished.summary[part][name] for name in ("train_accuracy", "test_accuracy")]
        assert all(0.0 <= share <= 1.0 for share in shares)
    assert finished.summary["data"]["target"] == ("y" if kind == "one-hot" else "c")


def test_large_numbers_that_differ_little_are_not_called_equal(tmp_path):
    rows = "\n".join(f"{2**53 + 2 * k},{k * k},{k}" for k in range(30))
    points = dataset(written(tmp_path, "x,y,label\n" + rows)).points
    np.testing.assert_allclose(points.inputs[:, 0], points.targets, atol=1e-12)
    with pytest.raises(RecipeError, match="'x' is the same in all 2 training rows"):
        dataset(written(tmp_path, f"x,y,label\n{2**53},1,2\n{2**53},2,5\n", "v.csv"))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.floats(-1e6, 1e6, width=32), min_size=3, max_size=3), min_size=3, max_size=12),
    st.sampled_from([",", ";", "\t", "|", " "]),
    st.sampled_from([".", ","]),
    st.booleans(),
)
def test_what_numpy_writes_is_read_back_to_the_last_bit(tmp_path_factory, rows, separator, decimal, has_header):
    if separator == decimal:
        return
    # Shared across examples: only written and read.
    folder = tmp_path_factory.mktemp("tables")
    text = io.StringIO()
    np.savetxt(text, np.array(rows), delimiter=separator, fmt="%.17g", header="a b c".replace(" ", separator) if
               has_header else "", comments="")  # fmt: skip
    content = text.getvalue().replace(".", decimal) if decimal == "," else text.getvalue()
    counts = not has_header and content.split("\n")[0].split(separator) == ["0", "1", "2"]
    table = read_table(written(folder, content))
    found = np.stack(list(table.columns.values()), axis=1)
    np.testing.assert_array_equal(found, np.array(rows)[int(counts) :])
