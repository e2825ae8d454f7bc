"""The infinite-width solver against what a user would write, in one run: time, error, failures.

    python -m benchmarks.theory [--quick] [--json]

Peers put x on the 8 x 32 staggered polar rule and w on an 80 x 120 polar grid (one dense matrix, made outside the
clock): damped iteration r <- (1 - h) r + h (y - f_r), h from 1/2 halved until the residual's change shrinks, and
scipy's L-BFGS on the same dual. Ours includes building the kernels of its grids (*cold*: nothing kept but the
activation's table, made once a process), or starts from the solution 3 % away in temperature (*warm*, a slider
drag). Errors are against our solution on doubled grids; the reference table is met to 5e-7 by that (tests). Set
OMP_NUM_THREADS=1 for comparable numbers.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from mft_engine.laws.harmonics import angular_table, radial_kernel
from mft_engine.laws.planar import PlanarLaw
from mft_engine.network.activations import phi_numpy
from mft_engine.rng import Stream, host_generator
from mft_engine.theory.finite_width import solve_finite_width
from mft_engine.theory.gibbs import GibbsBackground
from mft_engine.theory.planar import solve_planar

Array = NDArray[np.float64]
Target = Callable[[Array], Array]


def product(x: Array) -> Array:
    """The clover's target x1 x2."""
    return x[:, 0] * x[:, 1]


def kite(x: Array) -> Array:
    """x1^2 - x2: one mirror axis."""
    return x[:, 0] ** 2 - x[:, 1]


def no_symmetry(x: Array) -> Array:
    """Nothing to exploit."""
    return np.sin(x[:, 0] + 0.3) + 0.5 * x[:, 0] * x[:, 1] + 0.3 * np.cos(2 * x[:, 1] + 1)


# name, target, temperature, lambda_w, lambda_a
CASES: tuple[tuple[str, Target, float, float, float], ...] = (
    ("clover", product, 0.02, 0.02, 0.001),
    ("clover, sharp", product, 0.01, 0.03, 0.03),
    ("clover, cold", product, 0.001, 0.02, 0.001),
    ("kite", kite, 0.02, 0.02, 0.001),
    ("no symmetry", no_symmetry, 0.02, 0.02, 0.001),
)
N_DAMPED = 2000
MAX_RESIDUAL = 1e-3


def polar_rule() -> tuple[Array, Array]:
    """The 8 x 32 staggered polar rule with half-range radii: 256 points for N(0, I_2)."""
    s, plain = np.polynomial.legendre.leggauss(200)
    s, plain = 4.5 * (s + 1), 4.5 * plain * 4.5 * (s + 1)
    plain = plain * np.exp(-0.5 * s**2)
    # Gauss rule for this weight by Stieltjes' recurrence
    alpha, beta = np.zeros(8), np.zeros(8)
    before, now = np.zeros_like(s), np.ones_like(s)
    norm_before = 1.0
    for k in range(8):
        norm = float(plain @ now**2)
        alpha[k] = float(plain @ (s * now**2)) / norm
        beta[k] = norm / norm_before
        before, now = now, (s - alpha[k]) * now - (beta[k] * before if k else 0.0)
        norm_before = norm
    jacobi = np.diag(alpha) + np.diag(np.sqrt(beta[1:]), 1) + np.diag(np.sqrt(beta[1:]), -1)
    radii, vectors = np.linalg.eigh(jacobi)
    weights = vectors[0] ** 2
    angle = 2 * np.pi * (np.arange(32) + (0.6180339887 * np.arange(8)[:, None]) % 1) / 32
    points = radii[:, None, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return points.reshape(-1, 2), np.repeat(weights / 32, 32)


class DenseProblem:
    """What a peer iterates on: features of 256 points on a polar grid of 80 x 120 weights."""

    def __init__(self, target: Target, temperature: float, lambda_w: float, lambda_a: float) -> None:
        self.points, self.weights = polar_rule()
        self.y = target(self.points)
        self.temperature, self.lambda_a = temperature, lambda_a
        rho = 8.5 * np.sqrt(temperature / lambda_w) * (np.arange(80) + 0.5) / 80
        self.angles = 2 * np.pi * (np.arange(120) + 0.5) / 120
        w = rho[:, None, None] * np.stack([np.cos(self.angles), np.sin(self.angles)], axis=-1)
        self.features = phi_numpy("relu_tanh", w.reshape(-1, 2) @ self.points.T)
        prior = rho * np.exp(-lambda_w * rho**2 / (2 * temperature))
        self.log_prior = np.log(np.repeat(prior / prior.sum() / 120, 120))

    def respond(self, residual: Array) -> tuple[float, Array, Array]:
        """log Z, f and the mass on the grid of the Gibbs law of a residual."""
        field = self.features @ (self.weights * residual)
        exponent = self.log_prior + field**2 / (2 * self.lambda_a * self.temperature)
        top = float(exponent.max())
        mass = np.exp(exponent - top)
        total = float(mass.sum())
        mass /= total
        return top + float(np.log(total)), (mass * field / self.lambda_a) @ self.features, mass

    def report(self, residual: Array) -> tuple[float, float, float]:
        """Loss, cos4 and the root-mean-square error of the fixed-point equation."""
        _, f, mass = self.respond(residual)
        mismatch = float(np.sqrt(self.weights @ (self.y - f - residual) ** 2))
        cosine = float(mass.reshape(80, 120).sum(axis=0) @ np.cos(4 * self.angles))
        return float(self.weights @ (self.y - f) ** 2), cosine, mismatch

    def damped(self) -> Array:
        """Damped iteration from r = y."""
        residual, step, last = self.y.copy(), 0.5, np.inf
        for _ in range(N_DAMPED):
            change = self.y - self.respond(residual)[1] - residual
            size = float(np.sqrt(self.weights @ change**2))
            if size < 1e-6:
                break
            step = max(step / 2, 1e-4) if size > last else step
            residual, last = residual + step * change, size
        return residual

    def quasi_newton(self) -> Array:
        """L-BFGS on the dual from r = 0."""
        root = np.sqrt(self.weights)

        def negative(scaled: Array) -> tuple[float, Array]:
            residual = scaled / root
            log_z, f, _ = self.respond(residual)
            value = self.weights @ (self.y * residual - 0.5 * residual**2) - self.temperature * log_z
            return -float(value), -(root * (self.y - residual - f))

        options = {"maxiter": 3000, "maxfun": 6000, "ftol": 1e-16, "gtol": 1e-8, "maxcor": 30}
        found = minimize(negative, np.zeros_like(self.y), jac=True, method="L-BFGS-B", options=options)
        return np.asarray(found.x / root)


def _timed(run: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    seconds, result = [], None
    for _ in range(repeats):
        begin = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds), result


def _solve_case(name: str, target: Target, settings: tuple[float, float, float], repeats: int) -> dict[str, Any]:
    """Ours, cold and warm, and both peers on one problem."""

    def cold() -> Any:
        radial_kernel.cache_clear()
        return solve_planar(target, "relu_tanh", *settings)

    fine = solve_planar(target, "relu_tanh", *settings, resolution=2)
    exact = (fine.loss, fine.order_parameters["cos4"])
    row: dict[str, Any] = {"case": name, "loss": exact[0], "cos4": exact[1], "paths": {}}
    seconds, theory = _timed(cold, repeats)
    neighbour = solve_planar(target, "relu_tanh", settings[0] * 1.03, *settings[1:])
    solve_planar(target, "relu_tanh", *settings, warm=neighbour)
    warm_seconds, warm = _timed(lambda: solve_planar(target, "relu_tanh", *settings, warm=neighbour), repeats)
    for path, spent, found in (("ours, cold", seconds, theory), ("ours, warm", warm_seconds, warm)):
        row["paths"][path] = {
            "ms": 1e3 * spent,
            "loss_error": abs(found.loss - exact[0]),
            "cos4_error": abs(found.order_parameters["cos4"] - exact[1]),
            "mismatch": float(np.sqrt(2 * found.gap)),
        }
    problem = DenseProblem(target, *settings)
    for path, run in (("damped iteration", problem.damped), ("L-BFGS on points", problem.quasi_newton)):
        spent, residual = _timed(run, 1)
        loss, cosine, mismatch = problem.report(residual)
        row["paths"][path] = {
            "ms": 1e3 * spent,
            "loss_error": abs(loss - exact[0]),
            "cos4_error": abs(cosine - exact[1]),
            "mismatch": mismatch,
        }
    for path in row["paths"].values():
        path["has_failed"] = path["mismatch"] > MAX_RESIDUAL
    return row


def _grid(n: int) -> dict[str, Any]:
    """Cold and warm times over temperature x scale in [1e-3, 1]^2, and failures."""
    cold, warm, n_failed = [], [], 0
    for target in (product, kite):
        for temperature in np.geomspace(1e-3, 1, n):
            for scale in np.geomspace(1e-3, 1, n):
                theory = solve_planar(target, "relu_tanh", temperature, 20 * scale, scale)
                again = solve_planar(target, "relu_tanh", 1.03 * temperature, 20 * scale, scale, warm=theory)
                cold.append(1e3 * theory.seconds)
                warm.append(1e3 * again.seconds)
                n_failed += int(not max(theory.gap, again.gap) < 1e-6)
    return {
        "n_problems": len(cold),
        "n_failed": n_failed,
        "cold_ms": {"median": statistics.median(cold), "max": max(cold)},
        "warm_ms": {"median": statistics.median(warm), "max": max(warm)},
    }


def _sampling(repeats: int) -> dict[str, float]:
    """Milliseconds of everything that is drawn or predicted from a solution."""
    settings = ("relu_tanh", 0.02, 0.02, 0.001)
    theory = solve_planar(product, *settings)
    points, weights = polar_rule()
    residual, y = theory.residual(points), product(points)
    generator = host_generator(0, Stream.FOREGROUND_GIBBS)
    law = theory.law
    PlanarLaw.from_field(points, weights * residual, *settings)
    background = GibbsBackground(points, y, weights, 512, *settings, seed=0)
    background.sweep(2)
    jobs: dict[str, tuple[Callable[[], Any], int]] = {
        "2,048 exact neurons from a law": (lambda: law.sample(2048, generator), repeats),
        "law of a new residual on 256 points": (
            lambda: PlanarLaw.from_field(points, weights * residual, *settings),
            repeats,
        ),
        "density image 200 x 200": (lambda: law.density_image(3.0, 200), repeats),
        "finite-width law, N = 128, 256 points": (lambda: solve_finite_width(points, y, weights, 128, *settings), 1),
        "exact Gibbs background, 100 sweeps of 512 neurons, 256 points": (lambda: background.sweep(100), 1),
    }
    return {name: 1e3 * _timed(run, count)[0] for name, (run, count) in jobs.items()}


def measure(*, quick: bool = False) -> dict[str, Any]:
    """All measurements as one document."""
    angular_table("relu_tanh")
    repeats = 5 if quick else 15
    cases = CASES[:1] if quick else CASES
    return {
        "cases": [_solve_case(name, target, tuple(settings), repeats) for name, target, *settings in cases],
        "grid": _grid(3 if quick else 8),
        "sampling_ms": _sampling(repeats),
    }


def markdown(document: dict[str, Any]) -> str:
    """The document as Markdown tables."""
    lines = ["| case | path | ms | loss error | cos4 error | |", "|---|---|---|---|---|---|"]
    for case in document["cases"]:
        for name, row in case["paths"].items():
            verdict = "not converged" if row["has_failed"] else ""
            lines.append(
                f"| {case['case']} | {name} | {row['ms']:.1f} | {row['loss_error']:.1e} | {row['cos4_error']:.1e} "
                f"| {verdict} |"
            )
    grid = document["grid"]
    lines += [
        "",
        f"{grid['n_problems']} problems over temperature x scale: {grid['n_failed']} failures; cold "
        f"{grid['cold_ms']['median']:.0f} ms (at most {grid['cold_ms']['max']:.0f}), warm "
        f"{grid['warm_ms']['median']:.1f} ms (at most {grid['warm_ms']['max']:.0f})",
        "",
        "| job | ms |",
        "|---|---|",
    ]
    lines += [f"| {name} | {value:.2f} |" for name, value in document["sampling_ms"].items()]
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one case, a 3 x 3 grid")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    document = measure(quick=arguments.quick)
    print(json.dumps(document, indent=1) if arguments.json else markdown(document))


if __name__ == "__main__":
    main()
