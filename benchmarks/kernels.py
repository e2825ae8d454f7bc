"""The step kernels against what a user would write, in one run: time and error side by side.

    python -m benchmarks.kernels [--quick] [--json]

Every path does the same update of the default clover (relu_tanh, y = x1 x2, points with their antipodes) in float32
on one thread, timed by the processor's clock of this process (wall time, where nothing else runs). Paths take turns,
so that a slow spell of the machine meets all of them. Errors are those of one noiseless step against the float64
reference, root mean squares relative to the change that the step makes.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mft_engine import rng
from mft_engine.kernels import Kernel, ReferenceKernel, StepPlan, choose
from mft_engine.network.activations import get_activation

SIZES = ((2048, 256), (2048, 1024), (16384, 256), (131072, 256))
LAMBDA_W, LAMBDA_A, TEMPERATURE, STEP_SIZE = 0.02, 0.001, 0.02, 0.0015
SEED = 0
# Nanoseconds a neuron and point: the operations of a step counted, at the issue rate of the 512-bit server CPU for
# which the goal was set, antipodal points sharing one tanh. A faster CPU than that one goes beyond it, as does a frozen
# step, which sums no prediction.
FLOOR_NS = 0.22
# A sample of a path lasts at least this long, in seconds, or one step.
SAMPLE_SECONDS = 0.02


@dataclass(frozen=True)
class Case:
    """One size: theta (n_neurons, 3), points (n_points, 2), targets and weights (n_points,), float32."""

    theta: Tensor
    points: Tensor
    targets: Tensor
    weights: Tensor

    @classmethod
    def of(cls, n_neurons: int, n_points: int) -> Case:
        half = rng.normal(SEED, rng.Stream.TASK, 0, n_points // 2, 2, device="cpu")
        points = torch.cat([half, -half])
        theta = rng.normal(SEED, rng.Stream.INITIAL, 0, n_neurons, 3, device="cpu")
        theta = theta * torch.tensor([(TEMPERATURE / scale) ** 0.5 for scale in (LAMBDA_W, LAMBDA_W, LAMBDA_A)])
        targets = points[:, 0] * points[:, 1]
        return cls(theta, points, targets, torch.full((n_points,), 1.0 / n_points))

    def double(self) -> Case:
        return Case(self.theta.double(), self.points.double(), self.targets.double(), self.weights.double())

    @property
    def signal(self) -> Tensor:
        """A frozen signal: the residual of a network that is zero everywhere."""
        return self.weights * self.targets


def rates() -> tuple[float, float, float]:
    """Per column: step size over lambda."""
    return (STEP_SIZE / LAMBDA_W, STEP_SIZE / LAMBDA_W, STEP_SIZE / LAMBDA_A)


def plan(*, noisy: bool) -> StepPlan:
    """Leimkuhler-Matthews steps of the default clover."""
    noise = tuple((2 * rate * TEMPERATURE) ** 0.5 if noisy else 0.0 for rate in rates())
    return StepPlan(rates(), (STEP_SIZE,) * 3, noise, "leimkuhler-matthews", SEED, int(rng.Stream.BACKGROUND))


class PlainNetwork(nn.Module):
    """The network as a user writes it."""

    def __init__(self, theta: Tensor) -> None:
        super().__init__()
        self.hidden = nn.Linear(2, theta.shape[0], bias=False)
        self.readout = nn.Linear(theta.shape[0], 1, bias=False)
        with torch.no_grad():
            self.hidden.weight.copy_(theta[:, :2])
            self.readout.weight.copy_(theta[:, 2:].T)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(torch.relu(torch.tanh(self.hidden(x)))).squeeze(1) / self.hidden.out_features

    def theta(self) -> Tensor:
        return torch.cat([self.hidden.weight.detach(), self.readout.weight.detach().T], dim=1)


def plain_pytorch(case: Case) -> tuple[Callable[[], None], Callable[[], Tensor]]:
    """Module, autograd, SGD with weight decay; no noise."""
    network, n_neurons = PlainNetwork(case.theta), case.theta.shape[0]
    rate_w, _, rate_a = rates()
    groups = [
        {"params": [network.hidden.weight], "lr": rate_w * n_neurons, "weight_decay": LAMBDA_W / n_neurons},
        {"params": [network.readout.weight], "lr": rate_a * n_neurons, "weight_decay": LAMBDA_A / n_neurons},
    ]
    optimiser = torch.optim.SGD(groups)

    def step() -> None:
        optimiser.zero_grad()
        loss = 0.5 * (case.weights * (case.targets - network(case.points)).square()).sum()
        loss.backward()
        optimiser.step()

    return step, network.theta


def plain_foreground(case: Case) -> tuple[Callable[[], None], Callable[[], Tensor]]:
    """Independent neurons on a frozen signal: module, autograd, SGD with weight decay; no noise."""
    network, signal = PlainNetwork(case.theta), case.signal
    n_neurons = case.theta.shape[0]
    rate_w, _, rate_a = rates()
    groups = [
        {"params": [network.hidden.weight], "lr": rate_w, "weight_decay": LAMBDA_W},
        {"params": [network.readout.weight], "lr": rate_a, "weight_decay": LAMBDA_A},
    ]
    optimiser = torch.optim.SGD(groups)

    def step() -> None:
        optimiser.zero_grad()
        potential = -(signal * network(case.points)).sum() * n_neurons
        potential.backward()
        optimiser.step()

    return step, network.theta


def hand_gradient(case: Case) -> tuple[Callable[[], None], Callable[[], Tensor]]:
    """Gradient by hand, every tensor allocated once, tanh by the faster sigmoid; no noise."""
    n_neurons, n_points = case.theta.shape[0], case.points.shape[0]
    weight, readout = case.theta[:, :2].clone(), case.theta[:, 2].clone()
    rate_w, _, rate_a = rates()
    value, slope = torch.empty(n_neurons, n_points), torch.empty(n_neurons, n_points)
    is_on = torch.empty(n_neurons, n_points, dtype=torch.bool)
    doubled = (2.0 * case.points).T.contiguous()

    def step() -> None:
        torch.mm(weight, doubled, out=value)
        value.sigmoid_().mul_(2.0).sub_(1.0).clamp_min_(0.0)
        torch.gt(value, 0.0, out=is_on)
        torch.mul(value, value, out=slope).neg_().add_(1.0).mul_(is_on)
        signal = case.weights * (case.targets - readout @ value / n_neurons)
        drift_w = readout[:, None] * (slope @ (signal[:, None] * case.points))
        drift_a = value @ signal
        weight.mul_(1.0 - STEP_SIZE).add_(drift_w, alpha=rate_w)
        readout.mul_(1.0 - STEP_SIZE).add_(drift_a, alpha=rate_a)

    return step, lambda: torch.cat([weight, readout[:, None]], dim=1)


def compiled_pytorch(case: Case) -> tuple[Callable[[], None], Callable[[], Tensor]]:
    """The hand gradient as one function given to torch.compile; no noise."""
    rate_w, _, rate_a = rates()
    state = [case.theta[:, :2].clone(), case.theta[:, 2].clone()]

    @torch.compile(dynamic=False)
    def update(weight: Tensor, readout: Tensor, points: Tensor, targets: Tensor, weights: Tensor) -> Any:
        value = torch.tanh(weight @ points.T).clamp_min(0.0)
        slope = (1.0 - value * value) * (value > 0.0)
        signal = weights * (targets - readout @ value / readout.shape[0])
        drift_w = readout[:, None] * (slope @ (signal[:, None] * points))
        return (
            (1.0 - STEP_SIZE) * weight + rate_w * drift_w,
            (1.0 - STEP_SIZE) * readout + rate_a * (value @ signal),
        )

    def step() -> None:
        state[:] = update(state[0], state[1], case.points, case.targets, case.weights)

    return step, lambda: torch.cat([state[0], state[1][:, None]], dim=1)


def jax_jit(case: Case) -> tuple[Callable[[], None], Callable[[], Tensor]]:
    """jax.grad of the loss under jit; no noise; one thread, where this is its first import."""
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    import jax
    import jax.numpy as jnp

    points, targets, weights = (jnp.asarray(t.numpy()) for t in (case.points, case.targets, case.weights))
    rate = jnp.asarray(rates(), dtype=jnp.float32)
    n_neurons = case.theta.shape[0]

    def loss(theta: Any) -> Any:
        features = jnp.maximum(0.0, jnp.tanh(theta[:, :2] @ points.T))
        return 0.5 * (weights * (targets - theta[:, 2] @ features / n_neurons) ** 2).sum()

    update = jax.jit(lambda theta: (1.0 - STEP_SIZE) * theta - rate * n_neurons * jax.grad(loss)(theta))
    state = [jnp.asarray(case.theta.numpy())]

    def step() -> None:
        state[0] = update(state[0]).block_until_ready()

    return step, lambda: torch.from_numpy(np.array(state[0]))


class KernelPath:
    """A kernel's background (or frozen) steps, `n_steps` a call, with noise; the noiseless step for the error."""

    def __init__(self, kernel: Kernel, case: Case, n_steps: int, *, is_frozen: bool = False) -> None:
        self.kernel, self.case, self.n_steps, self.is_frozen = kernel, case, n_steps, is_frozen
        self.theta, self.step_number = case.theta, 0
        self.total = torch.zeros(len(case.points), dtype=torch.float64, device=case.points.device)

    def _advance(self, theta: Tensor, noisy: bool, n_steps: int) -> Tensor:
        case = self.case
        first = self.step_number
        if self.is_frozen:
            return self.kernel.advance_frozen(theta, case.points, case.signal, plan(noisy=noisy), first, n_steps).theta
        return self.kernel.advance_background(
            theta, case.points, case.targets, case.weights, plan(noisy=noisy), first, n_steps, self.total
        ).theta

    def __call__(self) -> None:
        self.theta = self._advance(self.theta, True, self.n_steps)
        self.step_number += self.n_steps

    def one_noiseless_step(self) -> Tensor:
        return self._advance(self.case.theta, False, 1)


def spread(samples: list[float]) -> dict[str, float]:
    """Median, smallest and interquartile range of samples, in milliseconds."""
    quartiles = statistics.quantiles(samples, n=4) if len(samples) > 1 else [samples[0]] * 3
    return {
        "median_ms": 1e3 * statistics.median(samples),
        "min_ms": 1e3 * min(samples),
        "iqr_ms": 1e3 * (quartiles[2] - quartiles[0]),
        "n_samples": len(samples),
    }


def relative_error(found: Tensor, wanted: Tensor, start: Tensor) -> float:
    """Root mean square error of a step over the root mean square change that the step makes.

    Not the largest error: where w.x is zero to rounding, float32 may fall on the other side of the kink.
    """
    start = start.double()
    return float((found.double() - wanted).square().mean().sqrt() / (wanted - start).square().mean().sqrt())


def measure_size(n_neurons: int, n_points: int, quick: bool) -> dict[str, Any]:
    """Every path at one size."""
    case = Case.of(n_neurons, n_points)
    activation = get_activation("relu_tanh")
    fused = choose("relu_tanh", device="cpu", dtype=torch.float32, n_inputs=2)
    compile_start = time.perf_counter()
    fused.warm_up(case.points)
    warm_up_seconds = time.perf_counter() - compile_start
    steps_a_call = max(1, round(5e6 / (n_neurons * n_points)))
    exact = {
        frozen: KernelPath(ReferenceKernel(activation), case.double(), 1, is_frozen=frozen).one_noiseless_step()
        for frozen in (False, True)
    }
    makers: dict[str, Callable[[Case], tuple[Callable[[], None], Callable[[], Tensor]]]] = {
        "plain PyTorch": plain_pytorch,
        "plain PyTorch, frozen": plain_foreground,
        "hand gradient": hand_gradient,
    }
    if not quick:
        makers["torch.compile"] = compiled_pytorch
        if importlib.util.find_spec("jax") is not None:
            makers["JAX jit"] = jax_jit
    paths: dict[str, tuple[Callable[[], None], int]] = {}
    errors: dict[str, float] = {}
    for name, make in makers.items():
        step, theta = make(case)
        step()
        errors[name] = relative_error(theta(), exact["frozen" in name], case.theta)
        paths[name] = (step, 1)
    kernels: tuple[tuple[str, Kernel], ...] = (("reference", ReferenceKernel(activation)), (fused.name, fused))
    for name, kernel in kernels:
        for is_frozen in (False, True):
            n_steps = steps_a_call if kernel is fused else 1
            path = KernelPath(kernel, case, n_steps, is_frozen=is_frozen)
            label = f"{name}, frozen" if is_frozen else name
            errors[label] = relative_error(path.one_noiseless_step(), exact[is_frozen], case.theta)
            paths[label] = (path, n_steps)
    samples = _take_turns(paths, n_rounds=3 if quick or n_neurons > 50_000 else 9)
    results: dict[str, Any] = {}
    for name, seconds in samples.items():
        row: dict[str, Any] = spread(seconds)
        row["ns_per_neuron_and_point"] = row["median_ms"] * 1e6 / (n_neurons * n_points)
        base = samples["plain PyTorch, frozen" if "frozen" in name else "plain PyTorch"]
        row["times_plain"] = 1e3 * statistics.median(base) / row["median_ms"]
        row["share_of_floor"] = FLOOR_NS / row["ns_per_neuron_and_point"]
        row["error"] = errors[name]
        results[name] = row
    return {
        "n_neurons": n_neurons,
        "n_points": n_points,
        "steps_per_fused_call": steps_a_call,
        "warm_up_seconds": warm_up_seconds,
        "paths": results,
    }


def _take_turns(paths: dict[str, tuple[Callable[[], None], int]], n_rounds: int) -> dict[str, list[float]]:
    """Seconds a step, one per round, of the processor: what other programs take from it meanwhile is not counted."""
    repeats: dict[str, int] = {}
    for name, (call, _) in paths.items():
        call()
        start = time.process_time()
        call()
        repeats[name] = max(1, round(SAMPLE_SECONDS / (time.process_time() - start)))
    samples: dict[str, list[float]] = {name: [] for name in paths}
    for _ in range(n_rounds):
        for name, (call, n_steps) in paths.items():
            start = time.process_time()
            for _ in range(repeats[name]):
                call()
            samples[name].append((time.process_time() - start) / (repeats[name] * n_steps))
    return samples


def machine() -> dict[str, str]:
    """What the numbers belong to."""
    cpuinfo = Path("/proc/cpuinfo")
    model = platform.processor()
    if cpuinfo.exists():
        models = [line.split(":", 1)[1] for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = models[0].strip() if models else model
    versions = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    if importlib.util.find_spec("numba") is not None:
        import numba

        versions["numba"] = numba.__version__
    return {"cpu": model, "system": platform.system(), **versions}


def measure(*, quick: bool = False) -> dict[str, Any]:
    """All sizes (quick: the smallest, few repeats, no compiled peers) on one thread.

    Returns:
        machine, threads and one entry per size with, for each path, median and spread in ms a step, the ratio to plain
        PyTorch and the error against the float64 reference.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        sizes = [measure_size(*size, quick) for size in (SIZES[:1] if quick else SIZES)]
    finally:
        torch.set_num_threads(threads)
    settings = asdict(plan(noisy=True))
    return {"machine": machine(), "n_threads": 1, "quick": quick, "plan": settings, "sizes": sizes}


def markdown(document: dict[str, Any]) -> str:
    """The sizes as one table."""
    lines = [
        f"{', '.join(f'{key} {value}' for key, value in document['machine'].items())}; one thread",
        "",
        "| neurons x points | path | CPU ms a step (median) | iqr | ns per neuron x point "
        f"| floor ({FLOOR_NS} ns) over it | times plain | error |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for size in document["sizes"]:
        for name, row in size["paths"].items():
            lines.append(
                f"| {size['n_neurons']:,} x {size['n_points']:,} | {name} | {row['median_ms']:.3f} | "
                f"{row['iqr_ms']:.3f} | {row['ns_per_neuron_and_point']:.3f} | {100 * row['share_of_floor']:.0f} % | "
                f"{row['times_plain']:.1f} | {row['error']:.1e} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the smallest size, few repeats, no compiled peers")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    arguments = parser.parse_args()
    document = measure(quick=arguments.quick)
    print(json.dumps(document, indent=1) if arguments.json else markdown(document))


if __name__ == "__main__":
    main()
