"""The loss as a value: what neurons feel is its derivative, and everything in Python asks for it at one place."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from mft_engine.points.loss import LOSS, mean_loss

ENGINE = Path(__file__).parents[2] / "mft_engine"
# Written for the squared loss, and says so: theory and its laws, answers that compare with them, compiled loops.
SQUARED = ("theory/", "laws/", "kernels/inner_loops.py", "kernels/layered_loop.py", "kernels/many_loop.py",
           "kernels/gpu/", "questions/loop.py",
           "questions/certificate.py", "questions/widths.py", "points/loss.py")  # fmt: skip


@pytest.mark.parametrize("n_out", [(), (3,)])
def test_the_signal_is_minus_half_the_derivative_of_the_loss(n_out) -> None:
    generator = torch.Generator().manual_seed(1)
    targets = torch.randn(5, *n_out, dtype=torch.float64, generator=generator)
    prediction = torch.randn(5, *n_out, dtype=torch.float64, generator=generator).requires_grad_()
    (slope,) = torch.autograd.grad(LOSS.values(targets, prediction).sum(), prediction)
    torch.testing.assert_close(LOSS.signal(targets, prediction.detach()), -0.5 * slope)


def test_its_mean_is_the_same_for_arrays_and_tensors() -> None:
    weights, targets, prediction = np.array([0.25, 0.75]), np.array([[1.0, 2.0], [0.0, 1.0]]), np.zeros((2, 2))
    assert mean_loss(weights, targets, prediction) == 0.25 * 5 + 0.75
    assert mean_loss(*map(torch.as_tensor, (weights, targets, prediction))) == 0.25 * 5 + 0.75


def takes_an_output_from_a_target(node: ast.AST) -> bool:
    """targets - prediction, as arrays or as the answer of a function."""
    if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub)):
        return False
    left, right = (re.findall(r"\w+", ast.unparse(side)) for side in (node.left, node.right))
    return bool({"targets", "wanted"} & set(left)) and bool({"prediction", "predict", "mean_prediction"} & set(right))


def test_no_other_file_takes_a_prediction_from_a_target() -> None:
    found = [
        f"{path.relative_to(ENGINE)}: {ast.unparse(node)}"
        for path in sorted(ENGINE.rglob("*.py"))
        if not str(path.relative_to(ENGINE)).startswith(SQUARED)
        for node in ast.walk(ast.parse(path.read_text()))
        if takes_an_output_from_a_target(node)
    ]
    assert not found, found
    assert takes_an_output_from_a_target(ast.parse("problem.targets - kernel.predict(theta)", mode="eval").body)
