"""Typed formulas such as `x1*x2 + 0.3*sin(3*x1)`, compiled from a whitelisted syntax tree (never `eval`).

The compiled function works on numpy arrays and on torch tensors of any device alike.
"""

from __future__ import annotations

import ast
import math
import operator
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

MAX_LENGTH = 2000
MAX_DEPTH = 60
MAX_INPUTS = 1000

Columns = Sequence[Any]
Node = Callable[[Columns], Any]


class ExpressionError(ValueError):
    """A formula that cannot be used; the message shows the place."""


def _library(value: Any) -> Any:
    return torch if isinstance(value, torch.Tensor) else np


def _like(value: Any, reference: Any) -> Any:
    return torch.as_tensor(value, dtype=reference.dtype, device=reference.device)


def _unary(name: str) -> Callable[[Any], Any]:
    return lambda x: getattr(_library(x), name)(x)


def _binary(torch_name: str, numpy_name: str) -> Callable[[Any, Any], Any]:
    def apply(x: Any, y: Any) -> Any:
        if isinstance(x, torch.Tensor) or isinstance(y, torch.Tensor):
            reference = x if isinstance(x, torch.Tensor) else y
            return getattr(torch, torch_name)(_like(x, reference), _like(y, reference))
        return getattr(np, numpy_name)(x, y)

    return apply


def _where(condition: Any, x: Any, y: Any) -> Any:
    reference = next((value for value in (condition, x, y) if isinstance(value, torch.Tensor)), None)
    if reference is not None:
        return torch.where(_like(condition, reference) > 0, _like(x, reference), _like(y, reference))
    return np.where(np.asarray(condition) > 0, x, y)


def _relu(x: Any) -> Any:
    return x.clamp(min=0) if isinstance(x, torch.Tensor) else np.maximum(x, 0.0)


def _heaviside(x: Any) -> Any:
    return (x > 0).to(x.dtype) if isinstance(x, torch.Tensor) else np.where(np.asarray(x) > 0, 1.0, 0.0)


FUNCTIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    **{name: (1, _unary(name)) for name in ("abs", "sign", "sqrt", "exp", "log", "sin", "cos", "tan", "tanh")},
    "atan2": (2, _binary("atan2", "arctan2")),
    "min": (2, _binary("minimum", "minimum")),
    "max": (2, _binary("maximum", "maximum")),
    "where": (3, _where),
    "heaviside": (1, _heaviside),
    "relu": (1, _relu),
}
_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: lambda x, y: x + y,
    ast.Sub: lambda x, y: x - y,
    ast.Mult: lambda x, y: x * y,
    ast.Div: lambda x, y: x / y,
    ast.Pow: lambda x, y: x**y,
}


def _comparison(operation: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def apply(x: Any, y: Any) -> Any:
        truth = operation(x, y)
        if isinstance(truth, torch.Tensor):
            return truth.to(x.dtype if isinstance(x, torch.Tensor) else y.dtype)
        return np.where(truth, 1.0, 0.0)

    return apply


_COMPARISONS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Lt: _comparison(operator.lt),
    ast.Gt: _comparison(operator.gt),
    ast.LtE: _comparison(operator.le),
    ast.GtE: _comparison(operator.ge),
}


@dataclass(frozen=True)
class Expression:
    """A compiled formula.

    Attributes:
        text: as typed.
        n_inputs: the largest index of x that it uses (at least 1).
    """

    text: str
    n_inputs: int
    _evaluate: Node

    def __call__(self, inputs: Any) -> Any:
        """The value at each point.

        Args:
            inputs: (n_points, n_inputs) numpy array or torch tensor.

        Returns:
            (n_points,) of the same kind.
        """
        columns = [inputs[:, j] for j in range(inputs.shape[1])]
        with np.errstate(all="ignore"):
            value = self._evaluate(columns)
        return value + 0 * columns[0]


def compile_expression(text: str) -> Expression:
    """Compile a formula in x1, x2, ..., pi, r (norm), angle; + - * / ** ( ) and the functions in `FUNCTIONS`.

    Raises:
        ExpressionError: what is wrong, with a pointer to the character.
    """
    if not text.strip():
        raise ExpressionError("The expression is empty; type for example x1*x2")
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"The expression has {len(text)} characters; at most {MAX_LENGTH} are allowed")
    if "^" in text:
        raise ExpressionError(_point(text, text.index("^"), "write ** for a power"))
    try:
        with warnings.catch_warnings():
            # "1if x1 else 2" and the like are answered below; Python's own remarks go to nobody.
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        offset = getattr(error, "offset", None) or 1
        raise ExpressionError(_point(text.strip(), offset - 1, "this is not a formula")) from None
    compiler = _Compiler(text.strip())
    node = compiler.compile(tree.body, 0)
    value = node if callable(node) else None
    constant = 0.0 if callable(node) else float(node)
    evaluate: Node = value if value is not None else lambda columns: constant + 0 * columns[0]
    return Expression(text.strip(), max(1, compiler.n_inputs), evaluate)


def _point(text: str, position: int, message: str) -> str:
    position = max(0, min(position, len(text)))
    shown = text[max(0, position - 20) : position] + "»" + text[position : position + 20]
    return f"Expression, character {position + 1} ({shown}): {message}"


class _Compiler:
    def __init__(self, text: str) -> None:
        self.text = text
        self.n_inputs = 0

    def fail(self, node: ast.AST, message: str) -> ExpressionError:
        return ExpressionError(_point(self.text, getattr(node, "col_offset", 0), message))

    def compile(self, node: ast.expr, depth: int) -> Node | float:
        if depth > MAX_DEPTH:
            raise self.fail(node, f"nested more than {MAX_DEPTH} deep")
        if isinstance(node, ast.Constant):
            return self._number(node)
        if isinstance(node, ast.Name):
            return self._name(node)
        if isinstance(node, ast.BinOp):
            operation = _OPERATORS.get(type(node.op))
            if operation is None:
                raise self.fail(node, "only + - * / ** join two terms")
            return self._apply(node, operation, [node.left, node.right], depth)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.UAdd, ast.USub)):
            sign = -1.0 if isinstance(node.op, ast.USub) else 1.0
            return self._apply(node, lambda x: sign * x, [node.operand], depth)
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            comparison = _COMPARISONS.get(type(node.ops[0]))
            if comparison is None:
                raise self.fail(node, "only < > <= >= compare")
            return self._apply(node, comparison, [node.left, node.comparators[0]], depth)
        if isinstance(node, ast.Call):
            return self._call(node, depth)
        raise self.fail(node, "only numbers, x1 .. xd, pi, r, angle, operators and functions are allowed")

    def _number(self, node: ast.Constant) -> float:
        if isinstance(node.value, bool) or not isinstance(node.value, (int, float)):
            raise self.fail(node, f"{str(node.value)[:20]!r} is not a real number")
        try:
            value = float(node.value)
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            raise self.fail(node, "this number is too large")
        return value

    def _name(self, node: ast.Name) -> Node | float:
        if node.id == "pi":
            return math.pi
        if node.id == "r":
            return lambda columns: _library(columns[0]).sqrt(sum(x * x for x in columns))
        if node.id == "angle":
            self.n_inputs = max(self.n_inputs, 2)
            return lambda columns: FUNCTIONS["atan2"][1](columns[1], columns[0])
        match = re.fullmatch(r"x([1-9]\d{0,3})", node.id)
        if match and int(match[1]) <= MAX_INPUTS:
            index = int(match[1]) - 1
            self.n_inputs = max(self.n_inputs, index + 1)
            return lambda columns: columns[index]
        if node.id in FUNCTIONS:
            raise self.fail(node, f"{node.id} is a function: write {node.id}(...)")
        raise self.fail(node, f"{node.id[:30]!r} is unknown; use x1, x2, ..., pi, r, angle")

    def _call(self, node: ast.Call, depth: int) -> Node | float:
        if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS:
            raise self.fail(node, f"only these functions are known: {', '.join(FUNCTIONS)}")
        n_arguments, function = FUNCTIONS[node.func.id]
        if len(node.args) != n_arguments or node.keywords:
            raise self.fail(node, f"{node.func.id} takes {n_arguments} argument{'s' * (n_arguments > 1)}")
        return self._apply(node, function, node.args, depth)

    def _apply(
        self, node: ast.expr, function: Callable[..., Any], arguments: Sequence[ast.expr], depth: int
    ) -> Node | float:
        parts = [self.compile(argument, depth + 1) for argument in arguments]
        if not any(callable(part) for part in parts):
            return self._fold(node, function, parts)

        def evaluate(columns: Columns) -> Any:
            values = [part(columns) if callable(part) else part for part in parts]
            return function(*values)

        return evaluate

    def _fold(self, node: ast.expr, function: Callable[..., Any], values: Sequence[Any]) -> float:
        try:
            with np.errstate(all="ignore"):
                value = complex(function(*(np.float64(v) for v in values)))
        except (ArithmeticError, ValueError, TypeError):
            value = complex(math.nan)
        if value.imag or not math.isfinite(value.real):
            raise self.fail(node, "this has no finite real value")
        return value.real
