"""Targets in d dimensions that depend on few directions: sparse parities, staircases, single-index teachers.

Networks in mean-field scaling find those directions; a kernel (the lazy limit) has to pay for all d of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from mft_engine.tasks.task import Task, TaskError, no_more, whole

MAX_INPUTS = 1000


def _inputs(parameters: Mapping[str, Any]) -> Literal["gaussian", "signs"]:
    value = parameters.get("inputs", "signs")
    if value == "gaussian" or value == "signs":
        return value  # type: ignore[no-any-return]
    raise TaskError(f'task.inputs = {value!r}: inputs can be "signs" (+1 or -1) or "gaussian"')


def _signs(x: Any, is_needed: bool) -> Any:
    # 2 [x > 0] - 1 instead of the library's sign, which is 0 at 0 and has another name in each library.
    return 2.0 * (x > 0) - 1.0 + 0 * x if is_needed else x


def build_parity(name: str, parameters: Mapping[str, Any]) -> Task:
    """y = x1 x2 ... xk on signs (of the signs of Gaussian inputs): k-sparse parity of d = `task.n_inputs`."""
    no_more(name, parameters, ("n_inputs", "k", "inputs"))
    k = whole(parameters, "k", 3, 1, 12, "the number of inputs that count")
    n_inputs = whole(parameters, "n_inputs", 10, k, MAX_INPUTS, "the number of inputs")
    law = _inputs(parameters)
    is_gaussian = law == "gaussian"

    def target(x: Any) -> Any:
        value = _signs(x[:, 0], is_gaussian)
        for j in range(1, k):
            value = value * _signs(x[:, j], is_gaussian)
        return value

    factors = [f"sign(x{j + 1})" if is_gaussian else f"x{j + 1}" for j in range(k)]
    return Task(name, f"Parity of {k} of {n_inputs}", "*".join(factors), n_inputs, target, law, n_relevant=k)


def build_staircase(name: str, parameters: Mapping[str, Any]) -> Task:
    """y = n^-1/2 (x1 .. xL + x1 .. x2L + ...): n steps (`task.steps`) that each add L = `task.leap` inputs; E y^2 = 1.

    Leap 1 is the merged staircase that training climbs one input at a time; a leap of L has to be found at once.

    Source: Abbe, Boix-Adsera, Misiakiewicz, arXiv 2202.08658 and 2302.11055.
    """
    no_more(name, parameters, ("n_inputs", "steps", "leap", "inputs"))
    steps = whole(parameters, "steps", 3, 1, 8, "the number of steps")
    leap = whole(parameters, "leap", 1, 1, 8, "the number of inputs that a step adds")
    n_inputs = whole(parameters, "n_inputs", max(10, steps * leap), steps * leap, MAX_INPUTS, "the number of inputs")
    law = _inputs(parameters)
    is_gaussian = law == "gaussian"

    def target(x: Any) -> Any:
        term, total = 1.0, 0.0
        for j in range(steps * leap):
            term = term * _signs(x[:, j], is_gaussian)
            if (j + 1) % leap == 0:
                total = total + term
        return total / math.sqrt(steps)

    names = [f"sign(x{j + 1})" if is_gaussian else f"x{j + 1}" for j in range(steps * leap)]
    terms = ["*".join(names[: (s + 1) * leap]) for s in range(steps)]
    formula = f"({' + '.join(terms)})/sqrt({steps})" if steps > 1 else terms[0]
    title = f"Staircase, {steps} steps of leap {leap} in {n_inputs}"
    return Task(name, title, formula, n_inputs, target, law, n_relevant=steps * leap)


def cubic_weight(parameters: Mapping[str, Any]) -> tuple[int, float]:
    """(d, epsilon) of a cubic teacher.

    Raises:
        TaskError: a value that is not allowed.
    """
    n_inputs = whole(parameters, "n_inputs", 10, 1, MAX_INPUTS, "the number of inputs")
    epsilon = parameters.get("epsilon", -0.3)
    if isinstance(epsilon, bool) or not isinstance(epsilon, (int, float)) or not abs(epsilon) <= 100:
        raise TaskError(f"task.epsilon = {epsilon!r}: the weight of the cubic part is a number from -100 to 100")
    return n_inputs, float(epsilon)


def build_cubic_teacher(name: str, parameters: Mapping[str, Any]) -> Task:
    """y = H1(z) + eps H3(z), z = w*.x, H1 = z, H3 = (z^3 - 3 z)/sqrt 6, x ~ N(0, I_d); w* is the first axis.

    Gaussian inputs know no direction, so the axis costs no generality. A kernel needs of order d^3 points for H3.

    Source: Rubin, Seroussi, Ringel, arXiv 2310.03789.
    """
    no_more(name, parameters, ("n_inputs", "epsilon"))
    n_inputs, epsilon = cubic_weight(parameters)

    def target(x: Any) -> Any:
        z = x[:, 0]
        return z + epsilon * (z**3 - 3 * z) / math.sqrt(6)

    formula = f"x1 {'-' if epsilon < 0 else '+'} {abs(epsilon):g}*(x1**3 - 3*x1)/sqrt(6)"
    return Task(name, f"Cubic teacher in {n_inputs}", formula, n_inputs, target, n_relevant=1)
