"""Claims about every row of `questions.table.QUESTIONS`: asked, told, summed up, stored and read back alike."""

from __future__ import annotations

import json

import pytest

from mft_engine.experiment.events import Answered
from mft_engine.experiment.experiment import Experiment
from mft_engine.questions import table
from mft_engine.questions.drift import Drift
from mft_engine.questions.table import QUESTIONS, Question
from mft_engine.recipe import load_recipe
from mft_engine.runs.runs import load, run_stored

SMALL = load_recipe("clover").replace({
    "network.n_neurons": 64, "training.n_steps": 100, "foreground.n_neurons": 64, "foreground.n_steps": 20,
    "comparison.n_permutations": 99, "engine.device": "cpu", "engine.n_threads": 1,
})  # fmt: skip


@pytest.mark.parametrize("recipe", [SMALL, load_recipe("continuous-xor").replace({
    "network.n_neurons": 8, "training.n_steps": 60, "task.n_angles": 8, "engine.device": "cpu"})],
    ids=["one layer", "two layers"])  # fmt: skip
def test_every_question_has_an_answer_in_words_for_every_network(recipe) -> None:
    experiment = Experiment(recipe)
    experiment.advance(1000)
    told = [event for event in experiment.ask() if isinstance(event, Answered)]
    assert [event.name for event in told] == list(QUESTIONS)
    for event in told:
        assert event.answer is experiment.answers[event.name]
        assert event.answer.why.endswith(".") and (event.answer.remark in ("", event.answer.why))
        plain = json.loads(json.dumps(event.answer.to_dict()))
        assert plain["verdict"] == event.answer.verdict
        assert QUESTIONS[event.name].read(plain).to_dict() == event.answer.to_dict()
    assert experiment.outcome().summary["drift"]["why"] == experiment.answers["drift"].why


def test_a_row_more_reaches_events_summary_and_store_by_itself(tmp_path, monkeypatch) -> None:
    def ask(asked):
        yield 0.5
        yield Drift((), None, "steady", f"Asked at {asked.recipe.name}.")

    monkeypatch.setitem(table.QUESTIONS, "another", Question("another", ask, Drift.from_dict))
    run = run_stored(SMALL, tmp_path)
    assert run.summary["another"]["why"] == "Asked at clover."
    assert load(run.folder).answers["another"].why == "Asked at clover."


def test_a_change_makes_answers_stale() -> None:
    experiment = Experiment(SMALL)
    experiment.advance(100)
    list(experiment.ask())
    experiment.retune(SMALL.replace({"training.temperature": 0.03}))
    assert experiment.answers == {} and experiment.outcome().summary["drift"] is None


def test_another_foreground_of_the_same_state_asks_for_no_answer_again(monkeypatch) -> None:
    asked = []

    def ask(of):
        asked.append(of.state.step)
        yield Drift((), None, "steady", "Asked.")

    monkeypatch.setitem(table.QUESTIONS, "another", Question("another", ask, Drift.from_dict))
    experiment = Experiment(SMALL)
    experiment.advance(50)
    first = {event.name: event.answer for event in experiment.ask() if isinstance(event, Answered)}
    list(experiment.foreground())
    again = {event.name: event.answer for event in experiment.ask() if isinstance(event, Answered)}
    assert asked == [50] and list(again) == list(QUESTIONS) and all(again[name] is first[name] for name in first)
    experiment.advance(50)
    list(experiment.ask())
    list(experiment.theory())  # the exact law may have an answer for equilibrium
    list(experiment.ask())
    assert asked == [50, 100, 100]
