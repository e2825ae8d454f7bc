"""Typed formulas: right values, and a sentence for everything else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mft_engine.tasks.expression import FUNCTIONS, ExpressionError, compile_expression

X = np.random.default_rng(0).standard_normal((50, 3))
X1, X2, X3 = X.T
R, ANGLE = np.sqrt(X1**2 + X2**2 + X3**2), np.arctan2(X2, X1)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x1*x2 + 0.3*sin(3*x1)", X1 * X2 + 0.3 * np.sin(3 * X1)),
        ("-x1**2/2 - +x3", -(X1**2) / 2 - X3),
        ("r*cos(4*angle)", R * np.cos(4 * ANGLE)),
        ("where(x1 > 0, x2, -x2)", np.where(X1 > 0, X2, -X2)),
        ("where(x1 <= x2, 1, 0)", np.where(X1 <= X2, 1.0, 0.0)),
        ("min(x1, 0) + max(x2, x3)", np.minimum(X1, 0) + np.maximum(X2, X3)),
        ("relu(x1) + heaviside(x2) + sign(x3) + abs(x1)", np.maximum(X1, 0) + (X2 > 0) + np.sign(X3) + np.abs(X1)),
        ("sqrt(exp(x1)) + log(2 + x2**2) + tan(x3) + tanh(x1)",
         np.sqrt(np.exp(X1)) + np.log(2 + X2**2) + np.tan(X3) + np.tanh(X1)),
        ("where(x1 <= x2, 0.1, 0.7)", np.where(X1 <= X2, 0.1, 0.7)),
        ("where(1, x1, 0)", X1),
        ("atan2(x1, pi)", np.arctan2(X1, np.pi)),
        ("3", np.full(50, 3.0)),
        ("2**0.5 * x1", np.sqrt(2) * X1),
    ],
)  # fmt: skip
def test_numpy_and_torch_give_the_value_that_the_formula_says(text: str, value: np.ndarray) -> None:
    expression = compile_expression(text)
    np.testing.assert_allclose(expression(X), value, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(expression(torch.as_tensor(X)).numpy(), value, rtol=1e-12, atol=1e-12)


def test_a_formula_keeps_the_dtype_of_its_points() -> None:
    for text in ("where(x1 > 0, 1, 2)", "x1 < x2", "min(x1, 1)", "heaviside(x1)", "2"):
        assert compile_expression(text)(torch.ones(3, 2, dtype=torch.float32)).dtype == torch.float32


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x1^2", ["character 3", "write **"]),
        ("x1 + foo", ["character 6", "'foo' is unknown"]),
        ("x1 +", ["not a formula"]),
        ("__import__('os').system('true')", ["only these functions"]),
        ("x1.__class__", ["only numbers"]),
        ("[x1 for x1 in x2]", ["only numbers"]),
        ("sin", ["write sin(...)"]),
        ("sin(x1, x2)", ["takes 1 argument"]),
        ("1/0", ["no finite real value"]),
        ("(-1)**0.5", ["no finite real value"]),
        ("10**10**10", ["no finite real value"]),
        ("1e999", ["too large"]),
        ("True", ["not a real number"]),
        ("2j", ["not a real number"]),
        ("x0", ["unknown"]),
        ("x99999", ["unknown"]),
        ("", ["empty"]),
        ("(" * 300 + "x1" + ")" * 300, ["not a formula"]),
        ("-" * 200 + "x1", ["deep"]),
        ("x1+" * 2000 + "x1", ["characters"]),
        ("x1\nx2", ["not a formula"]),
        ("x1\x00", ["not a formula"]),
    ],
)
def test_a_bad_formula_is_answered_with_the_place_and_the_reason(text: str, words: list[str]) -> None:
    with pytest.raises(ExpressionError) as error:
        compile_expression(text)
    for word in words:
        assert word in str(error.value)


PIECES = ["x1", "x2", "x7", "pi", "r", "angle", "+", "-", "*", "/", "**", "(", ")", ",", "^", ".", "[", "lambda",
          "if", "1", "0", "1e308", "9" * 30,
          "'a'", "__class__", ";", "=", ":=", "\\", "é", "\n", "not", *FUNCTIONS]  # fmt: skip


@settings(max_examples=1500, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PIECES), max_size=25).map("".join)))
def test_any_text_ends_in_a_function_or_a_sentence(text: str) -> None:
    try:
        expression = compile_expression(text)
    except ExpressionError as error:
        assert str(error)
        return
    points = np.ones((2, max(2, expression.n_inputs)))
    assert expression(points).shape == (2,)
