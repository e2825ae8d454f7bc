"""What a recipe asks after its training: in order or side by side, with the same numbers and every event told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest
import torch

from mft_engine.experiment.answering import answer_all
from mft_engine.experiment.events import (
    Answered,
    CertificateReady,
    ComparisonReady,
    DataKernelsReady,
    Event,
    ForegroundReady,
    ReferencesReady,
    TheoryReady,
)
from mft_engine.experiment.experiment import STAGES, Experiment
from mft_engine.recipe import Recipe, load_recipe

SMALL = {
    "network.n_neurons": 128,
    "foreground.n_neurons": 128,
    "training.n_steps": 200,
    "comparison.n_permutations": 199,
}
READY = (ForegroundReady, ComparisonReady, TheoryReady, ReferencesReady, CertificateReady, Answered, DataKernelsReady)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def trained(recipe: Recipe, n_threads: int) -> Experiment:
    experiment = Experiment(recipe.replace({**SMALL, "engine.n_threads": n_threads}))
    while not experiment.is_complete:
        experiment.advance(100)
    return experiment


def numbers(experiment: Experiment) -> str:
    """The summary without what the clock and the threads say."""
    summary = experiment.outcome().summary
    del summary["digest"]
    for part in summary.values():
        if isinstance(part, dict):
            for key in [key for key in part if "second" in key]:
                del part[key]
    return json.dumps(summary, default=str, sort_keys=True)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_side_by_side_the_answers_are_those_of_one_after_the_other(threads: None, n_threads: int) -> None:
    recipe = load_recipe("clover")
    one_by_one = trained(recipe, 1)
    for ask in STAGES:
        for _ in ask(one_by_one):
            pass
    together, told = trained(recipe, n_threads), []
    answer_all(together, told.append)
    assert numbers(together) == numbers(one_by_one)
    assert {type(event) for event in told} >= set(READY)


def test_events_are_told_by_one_thread_at_a_time(threads: None) -> None:
    experiment, inside, most, by = trained(load_recipe("clover"), 2), 0, 0, set()

    def tell(event: Event) -> None:
        nonlocal inside, most
        inside += 1
        by.add(threading.get_ident())
        most = max(most, inside)
        inside -= 1

    answer_all(experiment, tell)
    assert most == 1 and len(by) == 2


def test_a_fault_beside_the_comparison_is_raised_when_both_have_ended(
    threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = trained(load_recipe("clover"), 2)

    def broken(self: Experiment) -> Iterator[Event]:
        raise ArithmeticError("no certificate")
        yield

    monkeypatch.setattr("mft_engine.experiment.answering.STAGES", (*STAGES[:4], broken, *STAGES[5:]))
    with pytest.raises(ArithmeticError, match="no certificate"):
        answer_all(experiment)
    assert experiment.comparison is not None and experiment.data_kernels is None
