"""Claims about work that is done side by side: at once where there are threads, and the same found either way."""

from __future__ import annotations

import threading

import pytest
import torch

from mft_engine.compare.clouds import Comparison
from mft_engine.device import side_by_side
from mft_engine.experiment.events import ComparisonReady
from mft_engine.experiment.experiment import Experiment
from mft_engine.recipe import load_recipe


@pytest.fixture(autouse=True)
def _threads_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_with_two_threads_two_works_run_at_once_each_with_one_thread_for_its_products():
    both_here = threading.Barrier(2)

    def work():
        both_here.wait(timeout=30)
        return torch.get_num_threads()

    torch.set_num_threads(2)
    assert side_by_side(work, work) == [1, 1]
    assert torch.get_num_threads() == 2


def test_with_one_thread_works_follow_one_another_in_their_order():
    done = []

    def work(name):
        done.append((name, threading.get_ident()))
        return name

    torch.set_num_threads(1)
    assert side_by_side(lambda: work("a"), lambda: work("b"), lambda: work("c")) == ["a", "b", "c"]
    assert done == [(name, threading.get_ident()) for name in "abc"]


@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_fault_of_one_work_is_the_caller_s(n_threads):
    torch.set_num_threads(n_threads)
    with pytest.raises(ZeroDivisionError):
        side_by_side(lambda: 1, lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        side_by_side(lambda: 1 // 0, lambda: 1)
    assert torch.get_num_threads() == n_threads


def test_processes_that_talk_to_each_other_do_one_thing_after_the_other(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    torch.set_num_threads(2)
    assert set(side_by_side(threading.get_ident, threading.get_ident)) == {threading.get_ident()}


def test_a_run_and_its_verdict_are_the_same_with_one_thread_and_with_two():
    recipe = load_recipe("clover").replace(
        {
            "network.n_neurons": 1024,
            "foreground.n_neurons": 1024,
            "foreground.method": "gibbs",
            "training.time": 0.4,
            "comparison.n_permutations": 99,
            "engine.device": "cpu",
        }
    )
    found: list[tuple[bytes, float, Comparison]] = []
    for n_threads in (1, 2):
        experiment = Experiment(recipe.replace({"engine.n_threads": n_threads}))
        while not experiment.is_complete:
            experiment.advance(1000)
        list(experiment.foreground())
        (ready,) = [event for event in experiment.compare() if isinstance(event, ComparisonReady)]
        found.append((experiment.state.theta.numpy().tobytes(), experiment.state.step_size, ready.comparisons[0]))
    assert found[0][:2] == found[1][:2]
    assert found[0][2].to_dict() == found[1][2].to_dict()
    assert found[0][2].resolution is not None
