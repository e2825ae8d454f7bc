"""Targets that compose: functions of functions, which a network with several hidden layers can build in two stages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mft_engine.tasks.task import NamedFunction, Task, TaskError, TorusGrid, no_more, whole

TARGETS = ("sum", "product")


def build_continuous_xor(name: str, parameters: Mapping[str, Any]) -> Task:
    """y = (u + v + u v)/sqrt 3 (or u v) on a torus: x = sqrt 2 (cos a, sin a, cos b, sin b).

        u = sqrt 2 sin 2a = sqrt 2 x1 x2,   v = sqrt 2 sin 2b = sqrt 2 x3 x4

    u and v are each an xor of two inputs made continuous, and u v is an xor of those: a function of degree 4 that is
    built from two of degree 2. E u^2 = E v^2 = E (u v)^2 = 1, and y has variance 1. A grid of `task.n_angles` angles a
    circle integrates trigonometric polynomials below that degree without an error: infinite data.
    """
    no_more(name, parameters, ("n_angles", "target"))
    n_angles = whole(parameters, "n_angles", 16, 8, 64, "the number of angles on each circle")
    kind = parameters.get("target", "sum")
    if kind not in TARGETS:
        raise TaskError(f'task.target = {kind!r}: it can be "sum", (u + v + u v)/sqrt 3, or "product", u v')

    def u(x: Any) -> Any:
        return 2**0.5 * x[:, 0] * x[:, 1]

    def v(x: Any) -> Any:
        return 2**0.5 * x[:, 2] * x[:, 3]

    def uv(x: Any) -> Any:
        return u(x) * v(x)

    def target(x: Any) -> Any:
        return uv(x) if kind == "product" else (u(x) + v(x) + uv(x)) / 3**0.5

    product = "2*x1*x2*x3*x4"
    return Task(
        name,
        "Continuous xor",
        product if kind == "product" else f"(sqrt(2)*x1*x2 + sqrt(2)*x3*x4 + {product})/sqrt(3)",
        4,
        target,
        inputs=TorusGrid(n_angles),
        functions=(NamedFunction("u", u), NamedFunction("v", v), NamedFunction("uv", uv)),
    )
