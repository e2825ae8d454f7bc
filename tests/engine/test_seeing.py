"""What is counted of a large cloud: every neuron, where it lives, the same on every device, one fetch of kilobytes."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from pretended import HERE, pretended_device
from torch._subclasses.fake_tensor import FakeTensorMode

from mft_engine import device, rng
from mft_engine.experiment import background
from mft_engine.experiment.experiment import Experiment
from mft_engine.experiment.seeing import Counting, see
from mft_engine.looks import (
    MOST_POINTS,
    Coordinate,
    Line,
    Look,
    Plane,
    Seen,
    Span,
    count,
    count_plane,
    ends_of,
    n_sent,
)
from mft_engine.questions.waves import phase_agreement, waves
from mft_engine.recipe import load_recipe
from mft_engine.rng import Stream

N = 150_000
W1, W2, A = Coordinate("column", 0), Coordinate("column", 1), Coordinate("readout")
LENGTH, ANGLE = Coordinate("length"), Coordinate("angle")
ALONG, COMPONENT = Coordinate("direction", direction=(0.6, -0.8)), Coordinate("direction", 0, (0.3, 0.5, -0.4), 0.25)
EVERY = {"column": W1, "readout": A, "length": LENGTH, "angle": ANGLE, "projection": ALONG, "component": COMPONENT}
SPANS = (Span(-1.3, 2.1, 256), Span(-0.7, 1.9, 256))


def table(n: int = N, n_columns: int = 3) -> torch.Tensor:
    return rng.normal(3, Stream.INITIAL, 0, n, n_columns, device=torch.device("cpu"), dtype=torch.float32)


def counted(theta: torch.Tensor, look: Look) -> Seen:
    seen = see((theta,), replace(look, n_columns=theta.shape[1]))
    assert seen is not None
    return seen


def look_at(x: Coordinate, y: Coordinate, n_out: int = 1) -> Look:
    lines = (Line(x, Span(-2.0, 2.0, 60)), Line(y, Span(-90.0, 90.0, 60)))
    return Look(n_out=n_out, plane=Plane(x, y, SPANS), lines=lines)


@pytest.mark.parametrize("n_out", [1, 2])
@pytest.mark.parametrize("kind", list(EVERY))
def test_every_neuron_is_counted_as_the_views_count_them_on_every_kind_of_axis(kind: str, n_out: int) -> None:
    theta, of = table(n_columns=2 + n_out), EVERY[kind]
    host = theta.numpy()
    for x, y in ((of, W2), (W2, of)):
        look = look_at(x, y, n_out)
        seen, along = counted(theta, look), [of.of(host, n_out) for of in (x, y)]
        assert seen.image is not None and seen.n_neurons == N
        assert np.array_equal(seen.image, count_plane(*along, SPANS)) and 0 < seen.image.sum() < N
        for values, line, (ends, counts) in zip(along, look.lines, seen.histograms, strict=True):
            assert line.span is not None and np.array_equal(counts, count(values, line.span))
            assert ends == ends_of(values)


def test_neurons_after_number_131072_count() -> None:
    theta = torch.zeros(N, 3)
    theta[131_072:, 0] = 1.0
    seen = counted(theta, look_at(W1, W2))
    assert seen.image is not None and seen.image.sum() == N
    across = np.flatnonzero(seen.image.sum(axis=0))
    assert len(across) == 2 and seen.image[:, across[1]].sum() == N - 131_072


def test_what_is_not_finite_is_in_no_cell_and_moves_no_end() -> None:
    theta = table()
    theta[7], theta[8], theta[9] = torch.nan, torch.inf, -torch.inf
    seen, host = counted(theta, look_at(W1, A)), theta.numpy()
    assert np.array_equal(seen.image, count_plane(host[:, 0], host[:, 2], SPANS))
    assert all(np.isfinite((ends.low, ends.high)).all() for ends, _ in seen.histograms)


def test_moments_are_those_of_weights_and_readout_length() -> None:
    theta = table(n_columns=4)
    moments = counted(theta, Look(n_out=2, has_moments=True)).moments
    host = theta.double().numpy()
    joined = np.column_stack([host[:, :2], np.hypot(host[:, 2], host[:, 3])])
    assert moments is not None
    # The length is rounded to float32, by half a unit in 2^24.
    assert np.abs(moments.mean - joined.mean(axis=0)).max() < 1e-7
    assert np.abs(moments.covariance - np.cov(joined.T, bias=True)).max() < 1e-6


def test_marked_neurons_come_with_their_rows() -> None:
    theta = table()
    marked = counted(theta, Look(marked=(N - 1, 5))).marked
    assert np.array_equal(marked, theta[[N - 1, 5]].numpy())


def test_a_late_look_may_mark_neurons_that_a_smaller_network_has_not() -> None:
    marked = counted(table(MOST_POINTS + 1), Look(marked=(5, 10**6))).marked
    assert marked is not None and marked.shape == (2, 3) and np.array_equal(marked[0], table(6)[5])


def test_counting_neither_waits_nor_mixes_devices() -> None:
    """A tensor made on the CPU by mistake, or an `.item()`, raises on the meta device."""
    with FakeTensorMode():
        theta = rng.normal(3, Stream.INITIAL, 0, 500, 4, device=torch.device("meta"), dtype=torch.float32)
        for of in EVERY.values():
            counting = Counting(theta, replace(look_at(of, W2, 2), has_moments=True))
            assert {tensor.device.type for tensor in counting.tensors} == {"meta"}
            assert sum(tensor.numel() for tensor in counting.tensors) == 2 * 2 + 256**2 + 2 * 60 + 3 + 9


def test_tensors_of_another_device_are_fetched_together_and_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = [torch.arange(5, dtype=torch.int32), torch.tensor(1.5).double(), table(4)[:, :2], torch.zeros(0, 3)]
    plain, fetches = device.fetched(tensors), []
    to_host = device.to_host
    monkeypatch.setattr(device, "to_host", lambda tensor: fetches.append(tensor.shape) or to_host(tensor))
    monkeypatch.setattr(device, "host_device", lambda: torch.device("meta"))  # now the CPU is another device
    packed = device.fetched(tensors)
    assert len(fetches) == 1
    for mine, theirs, tensor in zip(packed, plain, tensors, strict=True):
        assert np.array_equal(mine, theirs) and mine.dtype == theirs.dtype and mine.shape == tuple(tensor.shape)
        assert mine.flags.writeable and mine.flags.aligned


@pytest.mark.parametrize("n", [MOST_POINTS + 1, 300_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_a_frame_of_any_large_cloud_is_kilobytes_and_fetched_at_once(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = Experiment(load_recipe("clover").replace({"network.n_neurons": n}))
    fetches: list[int] = []
    fetched = background.fetched
    monkeypatch.setattr(background, "fetched", lambda tensors: fetches.append(len(tensors)) or fetched(tensors))
    monkeypatch.setattr(background, "to_host", lambda tensor: pytest.fail("fetched on its own"))
    look = Look(plane=Plane(W1, W2, SPANS), lines=tuple(Line(of, Span(-3, 3, 60)) for of in (W1, W2, A, ANGLE)))
    experiment.background.history.rows.append({"loss": 1.0})  # a run has records; before, the loss itself is reckoned
    snapshot = experiment.snapshot(look)
    assert snapshot.seen is not None and snapshot.seen.n_neurons == n and len(fetches) == 1
    assert set(snapshot.order_errors) == set(snapshot.order_parameters) == {f"cos{k}" for k in (2, 3, 4, 6, 8)}
    assert len(pickle.dumps(snapshot)) < 300_000
    # The worst case of counts that need four bytes each stays below as well.
    assert snapshot.seen.image is not None
    wide = replace(snapshot, seen=replace(snapshot.seen, image=snapshot.seen.image.astype(np.uint32)))
    assert len(pickle.dumps(wide)) < 300_000


def test_on_a_device_the_counts_of_a_frame_are_one_trip_and_those_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = tuple(Line(of, Span(-3, 3, 60)) for of in (W1, A, LENGTH, ANGLE, ALONG, COMPONENT))
    look = Look(
        plane=Plane(COMPONENT, ANGLE, (Span(-2, 2, 256), Span(-180, 180, 256))), lines=lines, marked=(7, 39_999)
    )
    recipe = load_recipe("clover").replace({"network.n_neurons": 40_000, "engine.n_threads": 1})
    wanted = Experiment(recipe.replace({"engine.device": "cpu"})).see("background", look)
    with pretended_device(monkeypatch) as there:
        experiment = Experiment(recipe.replace({"engine.device": str(HERE)}), kernel="reference")
        before = there.so_far()
        found = experiment.see("background", look)
        assert (there.count - before).n_trips == 1
        experiment.background.history.rows.append({"loss": 1.0})
        before = there.so_far()
        frame = experiment.snapshot(look)
        assert (there.count - before).n_trips == 1
    assert wanted is not None and found is not None and frame.seen is not None
    for seen in (found, frame.seen):
        assert np.array_equal(seen.image, wanted.image) and np.array_equal(seen.marked, wanted.marked)
        for mine, theirs in zip(seen.histograms, wanted.histograms, strict=True):
            assert mine[0] == theirs[0] and np.array_equal(mine[1], theirs[1])


def test_small_clouds_are_not_counted_and_only_those_that_are_looked_at() -> None:
    small, large = (Experiment(load_recipe("clover").replace({"network.n_neurons": n})) for n in (500, 40_000))
    look = Look(plane=Plane(W1, W2))
    assert small.snapshot(look).seen is None and small.see("background", look) is None
    assert large.snapshot(replace(look, clouds=("initial",))).seen is None
    seen = large.see("initial", look)
    assert seen is not None and seen.n_neurons == 40_000 and large.see("foreground", look) is None


def test_a_look_at_another_network_counts_nothing() -> None:
    experiment = Experiment(load_recipe("clover").replace({"network.n_neurons": 40_000}))
    for look in (Look(layer=1, plane=Plane(W1, W2)), Look(n_columns=4, plane=Plane(W1, Coordinate("column", 3)))):
        assert experiment.see("background", look) is None and experiment.snapshot(look).seen is None


def test_the_first_neurons_stand_for_a_large_cloud_and_wide_ones_send_fewer() -> None:
    assert n_sent(MOST_POINTS, 300) == MOST_POINTS and n_sent(MOST_POINTS + 1, 3) == 2048
    assert 32 <= n_sent(10**6, 291) < 64


def test_a_foreground_that_follows_the_slider_is_counted_as_it_is_drawn() -> None:
    changes = {"network.n_neurons": 512, "foreground.n_neurons": 40_000, "foreground.method": "gibbs"}
    experiment = Experiment(load_recipe("clover").replace({**changes, "training.time": 0.5}))
    look = Look(clouds=("foreground",), plane=Plane(W1, W2, (Span(-6, 6, 256),) * 2))
    ready = list(experiment.foreground())[-1]
    assert len(ready.theta) == 2048 and ready.sizes == (40_000,)
    first = experiment.see("foreground", look)
    experiment.retune(experiment.recipe.replace({"regularisation.scale": 0.01}))
    drawn = experiment.redraw()
    assert drawn is not None and len(drawn.theta) == 2048 and drawn.sizes == (40_000,)
    second = experiment.see("foreground", look)
    assert first is not None and second is not None and first.n_neurons == second.n_neurons == 40_000
    assert not np.array_equal(first.image, second.image)
    # The mean of all 40,000, with its error: four of them between the two ways.
    cos4 = drawn.orders["cos4"]
    sample = np.cos(4 * np.arctan2(drawn.theta[:, 1], drawn.theta[:, 0]))
    assert abs(cos4.mean - sample.mean()) < 4 * sample.std() / np.sqrt(2048)
    assert cos4.standard_error == pytest.approx(sample.std() / np.sqrt(40_000), rel=0.1)


def test_waves_are_those_of_every_neuron() -> None:
    modulus, theta = 11, table(70_000, 33)
    seen, found = counted(theta, Look(modulus=modulus)).waves, waves(theta.numpy(), modulus)
    assert seen is not None and np.array_equal(seen.counts, np.bincount(found.frequency, minlength=6)[1:])
    assert seen.counts.sum() == 70_000
    assert seen.agreement == pytest.approx(phase_agreement(found)[0], abs=1e-9)
    strongest = np.argsort(-found.strength)[:2000]
    phases = np.stack([found.phases[strongest, :2].sum(axis=1), found.phases[strongest, 2]], axis=1)
    turned = np.exp(1j * seen.phases) - np.exp(1j * phases)
    assert seen.phases.shape == (2000, 2) and np.abs(turned).max() < 1e-6
    with FakeTensorMode():
        meta = rng.normal(3, Stream.INITIAL, 0, 5000, 33, device=torch.device("meta"), dtype=torch.float32)
        tensors = Counting(meta, Look(modulus=modulus)).tensors
        assert [tuple(tensor.shape) for tensor in tensors] == [(5,), (2000, 2), ()]


def test_a_frame_of_a_wide_table_is_kilobytes_too() -> None:
    changes = {"network.n_neurons": 31_000, "engine.device": "cpu", "training.n_steps": 10}
    experiment = Experiment(load_recipe("modular-addition").replace(changes))
    n_columns, n_out, modulus = experiment.state.theta.shape[1], experiment.task.n_out, experiment.task.modulus
    look = Look(n_columns=n_columns, n_out=n_out, plane=Plane(W1, A, SPANS), modulus=modulus)
    snapshot = experiment.snapshot(look)
    assert snapshot.seen is not None and snapshot.seen.waves is not None and len(pickle.dumps(snapshot)) < 300_000
