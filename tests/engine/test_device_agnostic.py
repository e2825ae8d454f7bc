"""Without a GPU: every step runs on the meta device, and only one file names a device or makes random numbers."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import mft_engine
from mft_engine import rng
from mft_engine.dynamics import Hyper, step_plan
from mft_engine.dynamics.adam import Adam, corrections, moved, no_moments
from mft_engine.dynamics.hyper import plan_of
from mft_engine.dynamics.layered import Layered
from mft_engine.field import field
from mft_engine.field.field import MeanField, curvature, stiffness
from mft_engine.kernels import ReferenceKernel
from mft_engine.kernels.layered import LayeredKernel
from mft_engine.network.activations import ACTIVATIONS, get_activation
from mft_engine.network.layered import LayeredNetwork
from mft_engine.network.tables import Tables
from mft_engine.points.measure import rotation
from mft_engine.recipe import Recipe
from mft_engine.rng import Stream

ENGINE = Path(mft_engine.__file__).parent
FILES = sorted(path for path in ENGINE.rglob("*.py") if "_resources" not in path.parts)


@pytest.fixture(autouse=True)
def no_numbers_of_others() -> Iterator[None]:
    """What is kept for a device's recordings belongs to no other fake one."""
    field._unit_displacement.cache_clear()
    yield
    field._unit_displacement.cache_clear()


def _code(path: Path) -> Iterator[tuple[str, str]]:
    """Token type and text of a file, comments and docstrings left out."""
    previous = tokenize.NEWLINE
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        is_docstring = token.type == tokenize.STRING and previous in (tokenize.NEWLINE, tokenize.INDENT, tokenize.NL)
        if token.type not in (tokenize.COMMENT,) and not is_docstring:
            yield tokenize.tok_name[token.type], token.string
        previous = token.type


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ENGINE)))
def test_only_device_py_names_a_device(path: Path) -> None:
    if path.name in ("device.py", "recipe.py", "commands.py"):  # the last two name them for people
        return
    strings = [text.strip("\"'") for kind, text in _code(path) if kind == "STRING"]
    assert not [text for text in strings if re.fullmatch(r"(cpu|cuda|mps)(:\d)?", text)]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ENGINE)))
def test_only_rng_py_makes_random_numbers(path: Path) -> None:
    if path.name == "rng.py":
        return
    text = " ".join(text for _, text in _code(path))
    made = r"default_rng|torch \. rand\w*|torch \. Generator|np \. random \. (?!Generator)\w+|import random"
    assert not re.findall(made, text)


@pytest.mark.parametrize("integrator", ["leimkuhler-matthews", "euler"])
@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_every_step_and_field_runs_on_the_meta_device(name: str, integrator: str) -> None:
    """A tensor made on the CPU by mistake, or an `.item()`, raises there."""
    activation = get_activation(name)
    hyper = Hyper.of(Recipe().replace({"training.integrator": integrator}))
    plan = step_plan(hyper, 0.001, 2, seed=0, stream=Stream.BACKGROUND, readout_exponent=1.0)
    with FakeTensorMode():
        meta = torch.device("meta")
        theta = rng.normal(0, Stream.INITIAL, 0, 32, 3, device=meta, dtype=torch.float32)
        inputs = rng.normal(0, Stream.BATCH, 0, 16, 2, device=meta, dtype=torch.float32)
        inputs = inputs @ rotation(0, 5, meta, torch.float32)
        targets, weights = inputs[:, 0] * inputs[:, 1], torch.full_like(inputs[:, 0], 1 / 16)
        kernel = ReferenceKernel(activation)
        total = torch.zeros(16, dtype=torch.float64, device=meta)
        background = kernel.advance_background(theta, inputs, targets, weights, plan, 0, 3, total)
        frozen = kernel.advance_frozen(background.theta, inputs, weights * targets, plan, 0, 3)
        assert frozen.theta.shape == (32, 3) and background.losses.shape == (3,)
        field = MeanField(inputs, weights * targets, activation, 0.1, 0.1)
        assert field.gradient(theta).shape == (32, 3) and field.potential(theta).shape == (32,)
        assert stiffness(theta, inputs, weights, activation, hyper.rate_per_step(2)).shape == ()
        assert curvature(theta, field, 0.02).shape == ()
        update = Adam(0.01, 0.9, 0.999, 0.1, 0.1, trains_readout=True)
        after, moments = moved(theta, no_moments(theta), field.gradient(theta), corrections(0, update), update, 2)
        assert after.shape == (32, 3) and moments.shape == (2, 32, 3)


@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_every_step_and_field_of_several_layers_runs_on_the_meta_device(name: str) -> None:
    activation = get_activation(name)
    hyper = replace(Hyper.of(Recipe()), lambda_hidden=0.1)
    with FakeTensorMode():
        meta = torch.device("meta")
        shapes = LayeredNetwork(2, (8, 6), (activation, activation))
        inputs = rng.normal(0, Stream.BATCH, 0, 16, 2, device=meta, dtype=torch.float32)
        targets, weights = inputs[:, 0] * inputs[:, 1], torch.full_like(inputs[:, 0], 1 / 16)
        network = Layered(shapes, Tables(weights, targets[:, None], ("xy",)))
        theta = network.initial(Recipe(), stream=Stream.INITIAL, device=meta, dtype=torch.float32)
        rates, penalties = network.rates(hyper), network.penalties(hyper)
        plan = plan_of(hyper, 0.001, rates, penalties, seed=0, stream=Stream.BACKGROUND, readout_exponent=1.0)
        kernel = LayeredKernel(shapes, meta, torch.float32)
        total = torch.zeros(16, dtype=torch.float64, device=meta)
        result = kernel.advance_background(theta, inputs, targets, weights, plan, 0, 3, total)
        assert result.theta.shape == theta.shape and result.losses.shape == (3,)
        for neurons, field in network.felt(theta, inputs, weights, targets, hyper, 1.0):
            assert field.gradient(neurons).shape == neurons.shape and curvature(neurons, field, 0.02).shape == ()
        first, second = network.tables(theta, inputs, 1.0)
        assert first.shape == (8, 3) and second.shape == (6, 2)
