"""Claims about `mft_engine.kernels`: the reference is the formula, the fused kernel is the reference."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from scipy import special
from torch._subclasses.fake_tensor import FakeTensorMode

from mft_engine import kernels, rng
from mft_engine.kernels import GraphedKernel, ReferenceKernel, StepPlan, choose, reference
from mft_engine.network.activations import ACTIVATIONS, get_activation

pytest.importorskip("numba")

from mft_engine.kernels import approximations, fused, slots
from mft_engine.kernels.fused import FusedKernel
from mft_engine.kernels.fused_many import FusedManyKernel
from mft_engine.kernels.noise import fill_normal
from mft_engine.points.measure import polar_rule, rotation

every_activation = pytest.mark.parametrize("name", ACTIVATIONS)
every_kernel = pytest.mark.parametrize("kernel_class", [ReferenceKernel, GraphedKernel, FusedKernel, FusedManyKernel])


class Setting:
    """A small problem: points with or without antipodes in shuffled order, targets, weights, a cloud."""

    def __init__(self, n_inputs=2, *, is_paired=True, n_out=1, dtype=torch.float32, n_neurons=203, n_points=80):
        def draw(step, rows, columns):
            return rng.normal(11, rng.Stream.TASK, step, rows, columns, device="cpu", dtype=torch.float32)

        half = draw(0, n_points // 2, n_inputs)
        points = torch.cat([half, -half if is_paired else half + 0.1])
        order = torch.argsort(draw(1, n_points, 1)[:, 0])
        self.points = points[order].to(dtype)
        self.targets = draw(2, n_points, n_out).to(dtype)
        if n_out == 1:
            self.targets = self.targets[:, 0]
        weights = draw(3, n_points, 1)[:, 0].abs().to(dtype)
        self.weights = weights / weights.sum()
        self.theta = draw(4, n_neurons, n_inputs + n_out).to(dtype)
        self.total = torch.zeros(self.targets.shape, dtype=torch.float64)
        self.signal = self.weights.reshape(-1, *(1,) * (n_out > 1)) * self.targets

    def plan(self, *, rate=1e-2, decay=1e-3, noise=1e-2, integrator="leimkuhler-matthews", kappa=1.0, seed=3):
        n_params = self.theta.shape[1]
        return StepPlan(
            tuple(rate * (1 + 0.1 * j) for j in range(n_params)),
            tuple(decay * (1 + 0.2 * j) for j in range(n_params)),
            tuple(noise * (1 + 0.3 * j) for j in range(n_params)),
            integrator,
            seed,
            int(rng.Stream.BACKGROUND),
            kappa,
        )

    def background(self, kernel, plan, first_step=0, n_steps=1, theta=None, total=None):
        return kernel.advance_background(
            self.theta if theta is None else theta,
            self.points,
            self.targets,
            self.weights,
            plan,
            first_step,
            n_steps,
            self.total if total is None else total,
        )

    def frozen(self, kernel, plan, first_step=0, n_steps=1, theta=None):
        theta = self.theta if theta is None else theta
        return kernel.advance_frozen(theta, self.points, self.signal, plan, first_step, n_steps)


def output(theta, points, kappa, activation):
    """f(x_mu), literally."""
    d = points.shape[1]
    return theta.shape[0] ** -kappa * activation.phi(points @ theta[:, :d].T) @ theta[:, d:]


# ------------------------------------------------------------------------------------ the reference is the formula


@every_activation
@pytest.mark.parametrize("n_inputs", [1, 2, 5])
@pytest.mark.parametrize("n_out", [1, 3])
def test_reference_gradient_is_what_autograd_finds(name, n_inputs, n_out):
    setting, activation = Setting(n_inputs, n_out=n_out, dtype=torch.float64), get_activation(name)
    theta = setting.theta.clone().requires_grad_()
    # kappa = 0: the sum over neurons has no factor, so that its derivative is each neuron's own.
    total = (setting.signal.reshape(80, n_out) * output(theta, setting.points, 0.0, activation)).sum()
    (wanted,) = torch.autograd.grad(total, theta)
    found = reference.gradient(setting.theta, setting.points, setting.signal, activation)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


@every_activation
@pytest.mark.parametrize("kappa", [1.0, 0.5, 0.8])
def test_reference_prediction_is_the_formula(name, kappa):
    setting, activation = Setting(dtype=torch.float64), get_activation(name)
    found = reference.predict(setting.theta, setting.points, kappa, activation)
    wanted = output(setting.theta, setting.points, kappa, activation)[:, 0]
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("integrator", ["leimkuhler-matthews", "euler"])
@pytest.mark.parametrize("n_out", [1, 3])
@pytest.mark.parametrize("kappa", [1.0, 0.5])
def test_reference_step_is_minus_the_gradient_of_the_energy_plus_noise(integrator, n_out, kappa):
    setting = Setting(n_out=n_out, dtype=torch.float64)
    plan = setting.plan(integrator=integrator, kappa=kappa)
    n_neurons, n_params = setting.theta.shape
    theta = setting.theta.clone().requires_grad_()
    f = output(theta, setting.points, kappa, get_activation("tanh"))
    loss = (setting.weights[:, None] * (setting.targets.reshape(80, n_out) - f).square()).sum()
    # N^(2 kappa - 1) (1/2) loss is the energy whose gradient a neuron feels (docs/physics.md section 1).
    (gradient,) = torch.autograd.grad(n_neurons ** (2 * kappa - 1) * loss / 2, theta)
    xi = [rng.normal(plan.seed, plan.stream, k, n_neurons, n_params, device="cpu", dtype=torch.float64) for k in (7, 8)]
    noise = xi[0] if integrator == "euler" else (xi[0] + xi[1]) / 2
    rate, decay, scale = (torch.tensor(v, dtype=torch.float64) for v in (plan.rate, plan.decay, plan.noise))
    wanted = setting.theta - rate * gradient - decay * setting.theta + scale * noise
    result = setting.background(ReferenceKernel(get_activation("tanh")), plan, first_step=7)
    torch.testing.assert_close(result.theta, wanted, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(result.losses, loss.detach().reshape(1), rtol=1e-12, atol=0)
    torch.testing.assert_close(result.prediction, f.detach().reshape(setting.targets.shape), rtol=0, atol=1e-12)
    torch.testing.assert_close(result.prediction_sum, result.prediction, rtol=0, atol=0)


def test_reference_does_not_depend_on_the_size_of_its_blocks(monkeypatch):
    setting = Setting(dtype=torch.float64)
    kernel, plan = ReferenceKernel(get_activation("relu_tanh")), setting.plan()
    whole = setting.background(kernel, plan, n_steps=5)
    frozen = setting.frozen(kernel, plan, n_steps=5)
    monkeypatch.setattr(reference, "BLOCK_ON_HOST", 80 * 7)
    blocked = setting.background(kernel, plan, n_steps=5)
    torch.testing.assert_close(blocked.theta, whole.theta, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(setting.frozen(kernel, plan, n_steps=5).theta, frozen.theta, rtol=1e-12, atol=1e-12)


def test_reference_steps_run_on_the_meta_device_under_fake_tensors():
    with FakeTensorMode():
        for n_out in (1, 3):
            shape = (16,) if n_out == 1 else (16, n_out)
            theta = torch.zeros(8, 2 + n_out, device="meta")
            points, weights = torch.zeros(16, 2, device="meta"), torch.zeros(16, device="meta")
            targets, total = torch.zeros(shape, device="meta"), torch.zeros(shape, dtype=torch.float64, device="meta")
            plan = StepPlan((0.1,) * (2 + n_out), (0.1,) * (2 + n_out), (0.1,) * (2 + n_out), "euler", 0, 1)
            kernel = choose("relu_tanh", device="meta", dtype=torch.float32, n_inputs=2, n_out=n_out)
            result = kernel.advance_background(theta, points, targets, weights, plan, 0, 3, total)
            for tensor, wanted in (
                (result.theta, theta.shape),
                (result.prediction, shape),
                (result.prediction_sum, shape),
                (result.losses, (3,)),
                (result.finite, (3,)),
                (kernel.advance_frozen(theta, points, targets, plan, 0, 3).theta, theta.shape),
                (kernel.predict(theta, points, 1.0), shape),
            ):
                assert tensor.shape == wanted and tensor.device.type == "meta"


# ---------------------------------------------------------------------------------- the fused kernel is the reference


@every_activation
@pytest.mark.parametrize("n_inputs", [1, 2, 5])
@pytest.mark.parametrize("is_paired", [True, False])
def test_fused_step_is_the_reference_step_to_float32_rounding(name, n_inputs, is_paired):
    setting = Setting(n_inputs, is_paired=is_paired)
    plan = setting.plan(kappa=0.8)
    fast, slow = FusedKernel(get_activation(name)), ReferenceKernel(get_activation(name))
    found, wanted = setting.background(fast, plan, 3), setting.background(slow, plan, 3)
    # |theta| < 5 rounds to 2.4e-7, twice; the drift (< 10, times rate 1e-2) adds 3e-7 of itself, the noise 1e-8.
    torch.testing.assert_close(found.theta, wanted.theta, rtol=0, atol=1e-6)
    # Each term of f errs by 5e-7 of |a b| (b^2 of z^2 up to 100); the errors of 203 neurons average out.
    scale = 1.0 + float(wanted.prediction.abs().max())
    torch.testing.assert_close(found.prediction, wanted.prediction, rtol=0, atol=5e-7 * scale)
    torch.testing.assert_close(found.prediction_sum, wanted.prediction_sum, rtol=0, atol=5e-7 * scale)
    torch.testing.assert_close(found.losses, wanted.losses, rtol=2e-6, atol=0)
    moved, unmoved = setting.frozen(fast, plan, 3).theta, setting.frozen(slow, plan, 3).theta
    torch.testing.assert_close(moved, unmoved, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        fast.predict(setting.theta, setting.points, 0.8),
        slow.predict(setting.theta, setting.points, 0.8),
        rtol=0,
        atol=1e-6 * scale,
    )


@every_activation
def test_fused_trajectory_stays_with_the_float64_reference_over_many_steps(name):
    setting, exact = Setting(), Setting(dtype=torch.float64)
    plan = setting.plan(rate=2e-3, decay=1e-3)
    found = setting.background(FusedKernel(get_activation(name)), plan, n_steps=400)
    wanted = exact.background(ReferenceKernel(get_activation(name)), plan, n_steps=400)
    # 400 roundings of 1e-7 to 5e-7, adding like a random walk or, at worst, all alike: 2e-4; kinks amplify a little.
    assert (found.theta.double() - wanted.theta).abs().max() < 2e-4
    torch.testing.assert_close(found.losses, wanted.losses, rtol=1e-4, atol=1e-6)
    # Both must have gone somewhere for this to mean anything.
    assert (wanted.theta - exact.theta).abs().max() > 0.1


@every_kernel
@pytest.mark.parametrize("integrator", ["leimkuhler-matthews", "euler"])
def test_neurons_without_data_keep_the_stationary_variance_of_the_integrator(kernel_class, integrator):
    # theta <- (1 - h) theta + s xi has variance s^2/(h (2 - h)) with independent xi; with (xi_k + xi_{k+1})/2 the
    # covariance s^2/4 of theta_k with s xi_k/2 makes it s^2/(2 h) = T/lambda exactly (docs/physics.md section 1).
    h, s, n_neurons = 0.4, 0.5, 40_000
    setting = Setting(n_neurons=8)
    variance = s * s / (2 * h) if integrator == "leimkuhler-matthews" else s * s / (h * (2 - h))
    plan = StepPlan((1.0,) * 3, (h,) * 3, (s,) * 3, integrator, 5, int(rng.Stream.FOREGROUND))
    theta = torch.zeros(n_neurons, 3)
    points, signal = setting.points[:2], torch.zeros(2)
    # Memory of the start is (1 - h)^60 = 5e-14.
    theta = kernel_class(get_activation("tanh")).advance_frozen(theta, points, signal, plan, 0, 60).theta
    # Standard error of a variance over n values: variance sqrt(2/n); columns and neurons are independent.
    found = theta.double().var(unbiased=False, dim=0)
    assert (found - variance).abs().max() < 4 * variance * math.sqrt(2 / n_neurons)
    correlation = (theta[:, 0] * theta[:, 1]).double().mean() / variance
    assert abs(correlation) < 4 / math.sqrt(n_neurons)


@every_kernel
@pytest.mark.parametrize("name", ["relu_tanh", "sin", "quadratic"])
@pytest.mark.parametrize("is_paired", [True, False])
@pytest.mark.parametrize("n_inputs", [2, 5])
def test_any_split_of_the_steps_gives_the_same_bits(kernel_class, name, is_paired, n_inputs):
    setting = Setting(n_inputs, is_paired=is_paired)
    kernel, plan = kernel_class(get_activation(name)), setting.plan()
    whole = setting.background(kernel, plan, 5, 12)
    frozen = setting.frozen(kernel, plan, 5, 12)
    for parts in ([1] * 12, [5, 1, 6], [11, 1]):
        theta, still, total, losses, step = setting.theta, setting.theta, setting.total, [], 5
        for n_steps in parts:
            result = setting.background(kernel, plan, step, n_steps, theta, total)
            still = setting.frozen(kernel, plan, step, n_steps, still).theta
            theta, total = result.theta, result.prediction_sum
            losses.append(result.losses)
            step += n_steps
        assert torch.equal(theta, whole.theta)
        assert torch.equal(total, whole.prediction_sum)
        assert torch.equal(torch.cat(losses), whole.losses)
        assert torch.equal(result.prediction, whole.prediction)
        assert torch.equal(still, frozen.theta)


@every_kernel
def test_prediction_and_losses_belong_to_the_states_before_the_steps(kernel_class):
    setting = Setting()
    kernel, plan = kernel_class(get_activation("relu_tanh")), setting.plan()
    two = setting.background(kernel, plan, 0, 2)
    first = setting.background(kernel, plan, 0, 1)
    f0 = kernel.predict(setting.theta, setting.points, 1.0).double()
    f1 = kernel.predict(first.theta, setting.points, 1.0).double()
    torch.testing.assert_close(two.prediction, f1, rtol=0, atol=1e-6)
    torch.testing.assert_close(two.prediction_sum, f0 + f1, rtol=0, atol=2e-6)
    losses = [float((setting.weights * (setting.targets - f).square()).sum()) for f in (f0, f1)]
    assert two.losses.tolist() == pytest.approx(losses, rel=1e-5)


@every_kernel
def test_arguments_are_not_written(kernel_class):
    setting = Setting()
    names = ("theta", "points", "targets", "weights", "total", "signal")
    before = {name: getattr(setting, name).clone() for name in names}
    kernel, plan = kernel_class(get_activation("relu_tanh")), setting.plan()
    result = setting.background(kernel, plan, n_steps=3)
    setting.frozen(kernel, plan, n_steps=3)
    kernel.predict(setting.theta, setting.points, 1.0)
    for tensor in (result.theta, result.prediction_sum, result.prediction):
        tensor.fill_(math.nan)
    for name in names:
        assert torch.equal(getattr(setting, name), before[name])


@every_kernel
def test_a_zero_in_every_tuple_freezes_a_column(kernel_class):
    setting = Setting()
    plan = StepPlan((0.0, 0.1, 0.0), (0.0, 0.1, 0.0), (0.0, 0.1, 0.0), "euler", 0, 1)
    kernel = kernel_class(get_activation("relu_tanh"))
    for theta in (setting.background(kernel, plan, n_steps=3).theta, setting.frozen(kernel, plan, n_steps=3).theta):
        assert torch.equal(theta[:, [0, 2]], setting.theta[:, [0, 2]])
        assert (theta[:, 1] != setting.theta[:, 1]).all()


@every_kernel
def test_a_one_sided_neuron_with_zero_weights_rests_on_its_kink(kernel_class):
    setting = Setting()
    setting.theta[17, :2] = 0.0
    moved = setting.background(kernel_class(get_activation("relu_tanh")), setting.plan(noise=0.0)).theta
    assert torch.equal(moved[17, :2], torch.zeros(2))
    moved = setting.background(kernel_class(get_activation("tanh")), setting.plan(noise=0.0)).theta
    assert (moved[17, :2] != 0).all()


@every_kernel
def test_the_first_step_that_is_not_finite_is_named(kernel_class):
    setting = Setting()
    kernel, plan = kernel_class(get_activation("quadratic")), setting.plan()
    fine = setting.background(kernel, plan, 40, 3)
    assert fine.is_finite and fine.nonfinite_step is None and setting.frozen(kernel, plan).is_finite
    for column, bad in ((0, math.nan), (2, math.inf)):
        broken = setting.theta.clone()
        broken[5, column] = bad
        assert setting.background(kernel, plan, 40, 3, theta=broken).nonfinite_step == 40
        assert not setting.frozen(kernel, plan, 40, 3, theta=broken).is_finite
    # A step far too large: the cloud explodes after some finite steps.
    result = setting.background(kernel, setting.plan(rate=3.0), 40, 60)
    step = result.nonfinite_step
    assert step is not None and 40 < step < 100 and not result.is_finite
    assert torch.isfinite(result.losses[: step - 40]).all()
    alone = setting.background(kernel, setting.plan(rate=3.0), 40, step - 40)
    assert alone.is_finite and torch.isfinite(alone.theta).all()


# --------------------------------------------------------------------------------------------- inside the fused kernel


@pytest.mark.parametrize("n_inputs", [1, 2, 5])
@pytest.mark.parametrize("integrator", ["leimkuhler-matthews", "euler"])
def test_noise_inside_the_kernel_is_the_counter_based_stream(n_inputs, integrator):
    setting = Setting(n_inputs, n_neurons=5000)
    n_params = n_inputs + 1
    plan = StepPlan((0.0,) * n_params, (0.0,) * n_params, (1.0,) * n_params, integrator, 2**40 + 9, 77)
    theta = torch.zeros_like(setting.theta)
    kernel = FusedKernel(get_activation("relu_tanh"))
    for found in (
        setting.frozen(kernel, plan, 2**32 - 1, theta=theta).theta,
        setting.background(kernel, plan, 2**32 - 1, theta=theta).theta,
    ):
        xi = [rng.normal(plan.seed, plan.stream, k, 5000, n_params, device="cpu") for k in (2**32 - 1, 2**32)]
        wanted = xi[0] if integrator == "euler" else (xi[0] + xi[1]) / 2
        # |xi| < 5.8: two float32 Box-Muller transforms, each a few roundings (6e-8) of radius and angle.
        torch.testing.assert_close(found, wanted, rtol=0, atol=2e-6)


def test_noise_inside_the_kernel_has_the_moments_of_a_standard_normal():
    n = 2**17
    words, out = np.empty((4, n), dtype=np.uint64), np.empty((8, n), dtype=np.float32)
    fill_normal(*(np.uint64(v) for v in (1, 2, 3, 4)), 0, n, words, out)
    z = out.astype(np.float64)
    # Variances of z, z^2, z^3, z^4: 1, 2, 15, 96.
    for power, mean, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((z**power).mean() - mean) < 4 * math.sqrt(variance / z.size)
    correlations = np.corrcoef(z) - np.eye(8)
    assert np.abs(correlations).max() < 4.5 / math.sqrt(n)


@pytest.mark.parametrize(
    ("name", "exact", "reach", "error"),
    [
        ("tanh", np.tanh, 20.0, 2.5e-7),
        ("erf", special.erf, 8.0, 4e-7),
        ("erf_slope", lambda z: 2 / math.sqrt(math.pi) * np.exp(-z * z), 8.0, 4e-7),
        ("sin", np.sin, 1e4, 2e-7),
        ("cos", np.cos, 1e4, 2e-7),
        ("gaussian", lambda z: np.exp(-z * z), 8.0, 4e-7),
    ],
)
def test_approximations_have_the_stated_absolute_error(name, exact, reach, error):
    function = getattr(approximations, name)
    z = np.linspace(-reach, reach, 20_001).astype(np.float32)
    z = np.concatenate([z, z * np.float32(1e-3), np.float32([0.0, -0.0])])
    found = np.array([function(v) for v in z], dtype=np.float64)
    assert np.abs(found - exact(z.astype(np.float64))).max() < error


def test_four_tanh_of_one_division_have_the_stated_error_whatever_the_other_three_are():
    z = np.random.default_rng(0).uniform(-12, 12, (8000, 4)).astype(np.float32)
    z[:4000] *= np.float32(0.1)
    z[::7, 1], z[::5, 2], z[::3, 3] = 0.0, 1e30, -50.0
    y = z * approximations.MINUS_2_LOG2_E
    found = np.array([approximations.tanh_of_four(*row) for row in y], dtype=np.float64)
    assert np.abs(found - np.tanh(z.astype(np.float64))).max() < 5e-7


def test_a_signal_s_share_of_a_slope_is_never_a_subnormal_number():
    """Those take a hundred times as long as others: training on a cubic teacher took six times as long."""
    found = np.float32([approximations.erf_slope(z) for z in np.float32([0.0, 5.0, 8.0, 9.3, 20.0, 1e10])])
    assert (found * np.float32(1e-10) >= np.finfo(np.float32).tiny).all()


@pytest.mark.parametrize("name", ["tanh", "erf", "gaussian"])
def test_approximations_saturate_at_huge_arguments(name):
    function = getattr(approximations, name)
    limit = 0.0 if name == "gaussian" else 1.0
    for z in (50.0, 1e10, 3e38):
        assert function(np.float32(z)) == pytest.approx(limit, abs=1e-7)
        assert function(np.float32(-z)) == pytest.approx(-limit, abs=1e-7)


@pytest.mark.parametrize("n_inputs", [2, 5])
@pytest.mark.parametrize("name", ["relu_tanh", "sin"])
def test_activations_computed_twice_give_the_bits_of_activations_kept(monkeypatch, name, n_inputs):
    setting = Setting(n_inputs)
    kernel, plan = FusedKernel(get_activation(name)), setting.plan()
    kept = setting.background(kernel, plan, n_steps=5)
    monkeypatch.setattr(fused, "KEPT_BYTES", 0)
    twice = setting.background(kernel, plan, n_steps=5)
    assert torch.equal(kept.theta, twice.theta) and torch.equal(kept.prediction_sum, twice.prediction_sum)


def test_a_neuron_in_a_frozen_field_does_not_see_the_others():
    setting = Setting()
    kernel, plan = FusedKernel(get_activation("relu_tanh")), setting.plan()
    whole = setting.frozen(kernel, plan, n_steps=5).theta
    assert torch.equal(setting.frozen(kernel, plan, n_steps=5, theta=setting.theta[:50]).theta, whole[:50])


def test_kernel_follows_points_that_change_between_calls_and_in_place():
    setting = Setting()
    kernel, plan = FusedKernel(get_activation("relu_tanh")), setting.plan()
    setting.background(kernel, plan)
    other = Setting(is_paired=False)
    fresh = FusedKernel(get_activation("relu_tanh"))
    assert torch.equal(other.background(kernel, plan).theta, other.background(fresh, plan).theta)
    setting.points *= 2.0
    assert torch.equal(setting.background(kernel, plan).theta, setting.background(fresh, plan).theta)


def test_two_threads_may_use_one_kernel():
    settings = [Setting(), Setting(is_paired=False)]
    kernel = FusedKernel(get_activation("relu_tanh"))
    plan = settings[0].plan()
    wanted = [setting.background(kernel, plan, n_steps=50).theta for setting in settings]
    found = [[], []]

    def work(i):
        for _ in range(20):
            found[i].append(settings[i].background(kernel, plan, n_steps=50).theta)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(2):
        assert len(found[i]) == 20 and all(torch.equal(theta, wanted[i]) for theta in found[i])


# ------------------------------------------------------------------------------------------------------------- pairing


def test_antipodes_are_found_in_any_order_with_duplicates_and_the_origin():
    half = np.array([[1, 2], [1, 2], [-3, 0.5], [0, 1]], dtype=np.float32)
    points = np.concatenate([half, [[0, 0]], -half]).astype(np.float32)
    for seed in range(5):
        shuffled = points[rng.host_generator(seed, rng.Stream.TASK).permutation(len(points))]
        partner = slots.antipodes(shuffled)
        assert partner is not None
        assert np.array_equal(shuffled[partner], -shuffled)
        assert np.array_equal(partner[partner], np.arange(len(points)))


def test_the_polar_rule_pairs_up_also_when_it_is_turned():
    rule = torch.as_tensor(polar_rule(8, 32).inputs, dtype=torch.float32)
    for points in (
        rule,
        rule @ rotation(3, 7, rule.device, rule.dtype).T,
        rule @ rotation(3, 7, rule.device, rule.dtype),
    ):
        arranged = slots.arrange(points.numpy())
        assert arranged.is_paired and arranged.x.shape[1] == 128
    assert not slots.arrange(torch.as_tensor(polar_rule(8, 31).inputs, dtype=torch.float32).numpy()).is_paired


def test_points_without_all_their_antipodes_are_not_paired():
    points = np.array([[1, 2], [-1, -2], [3, 1]], dtype=np.float32)
    assert slots.antipodes(points) is None
    assert slots.antipodes(np.array([[1, 2], [-1, 2]], dtype=np.float32)) is None
    assert slots.antipodes(np.array([[1, 2]], dtype=np.float32)) is None


@pytest.mark.parametrize("is_paired", [True, False])
@pytest.mark.parametrize("n_points", [80, 37])
def test_every_point_has_exactly_one_place_and_padding_has_none(is_paired, n_points):
    half = Setting(is_paired=False, n_points=n_points + n_points % 2).points.numpy()
    points = np.concatenate([half, -half, [[0.0, 0.0]]]).astype(np.float32) if is_paired else half[:n_points]
    arranged = slots.arrange(points)
    assert arranged.is_paired == is_paired
    assert arranged.x.shape[1] % slots.SLOT_GROUP == 0
    seen = np.concatenate([arranged.plus, arranged.minus])
    assert sorted(seen[seen >= 0]) == list(range(len(points)))
    for index, sign in ((arranged.plus, 1), (arranged.minus, -1)):
        there = index >= 0
        assert np.array_equal(sign * arranged.x[:, there].T, points[index[there]])
    assert not arranged.x[:, arranged.plus < 0].any()


# ------------------------------------------------------------------------------------------------------------ choosing


def test_the_fused_kernel_is_chosen_where_it_serves_and_others_elsewhere():
    def name(**change):
        arguments = {"device": "cpu", "dtype": torch.float32, "n_inputs": 2, "n_out": 1} | change
        return choose("relu_tanh", **arguments).name

    assert name() == "fused" and name(n_inputs=16) == "fused"
    assert name(kind="reference") == "reference"
    changes = ({"dtype": torch.float64}, {"n_inputs": 17}, {"n_out": 2}, {"device": "meta"})
    found = ("reference", "compiled products", "compiled products", "reference")
    for change, elsewhere in zip(changes, found, strict=True):
        assert name(**change) == elsewhere
        with pytest.raises(ValueError, match="cannot serve"):
            name(**change, kind="fused")
    with pytest.raises(ValueError, match="not auto, fused, graphed or reference"):
        name(kind="fastest")
    with pytest.raises(ValueError, match="did you mean"):
        choose("relutanh", device="cpu", dtype=torch.float32, n_inputs=2)


def test_the_reference_is_chosen_where_numba_is_missing(monkeypatch):
    monkeypatch.setattr(kernels.importlib.util, "find_spec", lambda name: None)
    assert choose("relu_tanh", device="cpu", dtype=torch.float32, n_inputs=2).name == "reference"
    with pytest.raises(ValueError, match="numba is not installed"):
        choose("relu_tanh", device="cpu", dtype=torch.float32, n_inputs=2, kind="fused")


def test_is_ready_tells_whether_a_call_would_compile(monkeypatch):
    monkeypatch.setattr(fused, "_compiled", {})
    kernel = FusedKernel(get_activation("relu_tanh"))
    paired, single = Setting().points, Setting(is_paired=False).points
    assert not kernel.is_ready and not kernel.is_ready_for(paired) and not kernel.is_ready_for(single)
    kernel.warm_up()
    assert kernel.is_ready and kernel.is_ready_for(paired) and not kernel.is_ready_for(single)
    kernel.warm_up(single)
    assert kernel.is_ready_for(single) and FusedKernel(get_activation("relu_tanh")).is_ready
    assert ReferenceKernel(get_activation("relu_tanh")).is_ready


def test_every_activation_has_a_fused_form():
    assert set(fused.FORMS) == set(ACTIVATIONS)


@every_kernel
def test_arguments_that_cannot_be_meant_are_refused(kernel_class):
    setting = Setting()
    kernel, plan = kernel_class(get_activation("relu_tanh")), setting.plan()
    with pytest.raises(ValueError, match="n_steps"):
        setting.background(kernel, plan, n_steps=0)
    with pytest.raises(ValueError, match="columns"):
        setting.frozen(kernel, plan, theta=setting.theta[:, :2])
    with pytest.raises(ValueError, match="no readout"):
        kernel.predict(setting.theta[:, :2], setting.points, 1.0)
    with pytest.raises(ValueError, match="one number per column"):
        StepPlan((0.1,), (0.1, 0.1), (0.1,), "euler", 0, 0)
    with pytest.raises(ValueError, match="integrator"):
        StepPlan((0.1,), (0.1,), (0.1,), "verlet", 0, 0)
    with pytest.raises(ValueError, match="finite"):
        StepPlan((math.nan,), (0.1,), (0.1,), "euler", 0, 0)


def test_fused_refuses_what_its_compiled_code_could_not_bear():
    setting = Setting()
    kernel, plan = FusedKernel(get_activation("relu_tanh")), setting.plan()
    for attribute in ("targets", "weights", "total", "signal"):
        short = Setting()
        setattr(short, attribute, getattr(short, attribute)[:-1])
        step = short.frozen if attribute == "signal" else short.background
        with pytest.raises(ValueError, match="shape"):
            step(kernel, plan)
    with pytest.raises(ValueError, match="float32"):
        setting.background(kernel, plan, theta=setting.theta.double())
    many = Setting(n_out=3)
    with pytest.raises(ValueError, match="one readout"):
        many.background(kernel, many.plan())


def test_fused_sums_predictions_in_float64_only():
    setting = Setting()
    with pytest.raises(ValueError, match="float64"):
        setting.background(
            FusedKernel(get_activation("relu_tanh")), setting.plan(), total=torch.zeros(80, dtype=torch.float32)
        )


def test_plan_groups_neighbouring_columns_with_equal_numbers():
    plan = StepPlan((1.0, 1.0, 2.0, 1.0), (0.0,) * 4, (0.0,) * 4, "euler", 0, 0)
    assert list(plan.groups()) == [
        (slice(0, 2), 1.0, 0.0, 0.0),
        (slice(2, 3), 2.0, 0.0, 0.0),
        (slice(3, 4), 1.0, 0.0, 0.0),
    ]


STEPS_IN_MANY_INPUTS = """
import torch
from mft_engine.kernels import StepPlan, choose
random = torch.Generator().manual_seed(0)
theta, points = (torch.randn(n, d, generator=random) for n, d in ((24, 13), (719, 12)))
targets, weights = torch.sign(points[:, 0]), torch.full((719,), 1 / 719)
plan = StepPlan((0.2,) * 13, (1e-3,) * 13, (0.0,) * 13, "euler", 0, 0)
kernel = choose("relu_tanh", device="cpu", dtype=torch.float32, n_inputs=12, kind="fused")
total = torch.zeros(719, dtype=torch.float64)
print(kernel.advance_background(theta, points, targets, weights, plan, 0, 3, total).theta.numpy().tobytes().hex())
"""


def test_a_loop_that_was_just_compiled_gives_the_bits_of_the_one_from_the_cache(tmp_path):
    """In many inputs a first start had other bits than later ones: an interrupted run could not be repeated."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    told = [
        subprocess.run(
            [sys.executable, "-c", STEPS_IN_MANY_INPUTS], env=environment, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert told[0] == told[1] and len(told[0]) > 24 * 13 * 8
