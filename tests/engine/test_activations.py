"""Claims about `mft_engine.network.activations`: right values, right derivatives, declared properties that hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import special
from torch._subclasses.fake_tensor import FakeTensorMode

from mft_engine.network.activations import ACTIVATIONS, Activation, dphi_numpy, get_activation, phi_numpy

# Written a second time, from scipy and numpy, as the oracle.
ORACLE = {
    "relu_tanh": lambda z: np.maximum(0.0, np.tanh(z)),
    "clip01": lambda z: np.clip(z, 0.0, 1.0),
    "tanh": np.tanh,
    "erf": special.erf,
    "relu": lambda z: np.maximum(0.0, z),
    "sin": np.sin,
    "quadratic": np.square,
    "hardtanh": lambda z: np.clip(z, -1.0, 1.0),
    "tanh_squared": lambda z: np.tanh(z) ** 2,
}
Z = np.concatenate([np.linspace(-12.0, 12.0, 4001) + 1e-4, [-100.0, 100.0, 1e-9, -1e-9]])

every_activation = pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS.keys())


def test_the_default_is_registered_first_and_every_activation_has_an_oracle():
    assert next(iter(ACTIVATIONS)) == "relu_tanh"
    assert set(ACTIVATIONS) == set(ORACLE)


@every_activation
def test_phi_is_the_named_function_in_float64(activation: Activation):
    # Values of z^2 reach 1e4: relative there, absolute (one or two roundings of numbers near 1) elsewhere.
    np.testing.assert_allclose(phi_numpy(activation.name, Z), ORACLE[activation.name](Z), rtol=1e-15, atol=1e-15)


@every_activation
def test_dphi_is_the_derivative_that_autograd_finds(activation: Activation):
    z = torch.tensor(Z, requires_grad=True)
    (slope,) = torch.autograd.grad(activation.phi(z).sum(), z)
    torch.testing.assert_close(activation.dphi(z.detach()), slope, rtol=1e-12, atol=1e-12)


@every_activation
def test_dphi_is_the_central_difference_of_the_oracle_away_from_kinks(activation: Activation):
    h = 1e-5
    z = np.linspace(-4.0, 4.0, 801) + 0.003
    for kink in activation.kinks:
        z = z[np.abs(z - kink) > 2 * h]
    oracle = ORACLE[activation.name]
    # Error h^2 phi'''/6 (at most a few 1e-10) plus rounding 1e-16 * 16 / h = 2e-10.
    np.testing.assert_allclose(
        dphi_numpy(activation.name, z), (oracle(z + h) - oracle(z - h)) / (2 * h), atol=2e-9, rtol=0
    )


@every_activation
def test_both_is_phi_and_dphi(activation: Activation):
    z = torch.tensor(Z)
    value, slope = activation.both(z)
    assert torch.equal(value, activation.phi(z)) and torch.equal(slope, activation.dphi(z))


@every_activation
def test_linearised_is_phi_and_a_product_with_dphi(activation: Activation):
    z = torch.tensor(Z)
    along = torch.linspace(-2.0, 3.0, len(Z), dtype=torch.float64)
    value, pull = activation.linearised(z)
    assert torch.equal(value, activation.phi(z))
    # Slopes have at most a few roundings more.
    torch.testing.assert_close(pull(along.clone()), along * activation.dphi(z), rtol=1e-13, atol=1e-14)


@every_activation
def test_declared_parity_holds(activation: Activation):
    z = torch.linspace(0.01, 5.0, 100, dtype=torch.float64)
    plus, minus = activation.phi(z), activation.phi(-z)
    is_odd, is_even = torch.allclose(plus, -minus, atol=1e-15), torch.allclose(plus, minus, atol=1e-15)
    assert (is_odd, is_even) == (activation.parity == "odd", activation.parity == "even")


@every_activation
def test_the_slope_jumps_at_the_declared_kinks_and_nowhere_else(activation: Activation):
    h = 1e-6
    grid = np.arange(-400, 401) / 100.0
    jump = np.abs(dphi_numpy(activation.name, grid + h) - dphi_numpy(activation.name, grid - h))
    # |phi''| is at most 4 (tanh_squared's 2, z^2's 2): a smooth slope moves by less than 8e-6 over 2e-6.
    assert set(grid[jump > 1e-5]) == set(activation.kinks)


@every_activation
def test_float32_values_are_right_to_a_few_roundings(activation: Activation):
    z = torch.linspace(-9, 9, 1001, dtype=torch.float32)
    for single, double in zip(activation.both(z), activation.both(z.double()), strict=True):
        # tanh: up to two roundings (6e-8) of it, doubled; slopes have |d tanh| up to 4.
        torch.testing.assert_close(single.double(), double, rtol=3e-7, atol=4 * 2.4e-7)


@every_activation
def test_slope_at_a_kink_is_zero(activation: Activation):
    for kink in activation.kinks:
        assert activation.dphi(torch.tensor([kink], dtype=torch.float64)).item() == 0.0


@every_activation
def test_input_is_not_written(activation: Activation):
    z = torch.tensor(Z)
    copy = z.clone()
    activation.phi(z), activation.dphi(z), activation.both(z)
    assert torch.equal(z, copy)


@every_activation
def test_runs_on_the_meta_device_under_fake_tensors(activation: Activation):
    with FakeTensorMode():
        z = torch.zeros(3, device="meta")
        for result in (activation.phi(z), activation.dphi(z), *activation.both(z)):
            assert result.shape == (3,) and result.dtype == torch.float32 and result.device.type == "meta"


def test_phi_numpy_takes_scalars_lists_and_read_only_arrays():
    z = np.array([[0.5, -0.5]])
    z.flags.writeable = False
    assert phi_numpy("tanh", z).shape == (1, 2)
    assert phi_numpy("tanh", 0.5) == pytest.approx(math.tanh(0.5), abs=1e-15)
    assert phi_numpy("relu", [1, -1]).tolist() == [1.0, 0.0]


def test_an_unknown_name_is_answered_with_the_nearest():
    assert get_activation("erf").name == "erf"
    with pytest.raises(ValueError, match="'relu_tanh'") as caught:
        get_activation("relutanh")
    assert all(name in str(caught.value) for name in ACTIVATIONS)
    with pytest.raises(ValueError, match="did you mean"):
        get_activation("")
