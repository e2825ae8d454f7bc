"""A watched training on disk: read as it was written, listed, compared, exported, and followed while it goes."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import mft_engine as mft
from mft_engine.cli.commands import main
from mft_engine.experiment.storage import RunError
from mft_engine.riders import live
from mft_engine.riders.outliers import outliers_of
from mft_engine.riders.watch import Watch
from mft_engine.runs.watched import ARRAYS, DOCUMENT, is_watched, read_watched


def watched(n: int = 48, n_steps: int = 30, seed: int = 3, **options: Any) -> tuple[nn.Sequential, Watch]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(2, n), nn.Tanh(), nn.Linear(n, 1))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    watch = mft.watch(model[0], model[2], optimizer=optimizer, activation=model[1], **options)
    for _ in range(n_steps):
        x = torch.randn(64, 2)
        optimizer.zero_grad()
        (model(x)[:, 0] - x[:, 0] * x[:, 1]).square().mean().backward()
        optimizer.step()
    return model, watch


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Watch, Path]:
    test = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    held: list[nn.Sequential] = []

    def loss() -> torch.Tensor:
        return (held[0](test)[:, 0] - test[:, 0] * test[:, 1]).square().mean()

    torch.manual_seed(0)
    held.append(nn.Sequential(nn.Linear(2, 48), nn.Tanh(), nn.Linear(48, 1)))
    model = held[0]
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    watch = mft.watch(model[0], model[2], optimizer=optimizer, activation=model[1], loss=loss)
    for _ in range(60):
        x = torch.randn(64, 2)
        optimizer.zero_grad()
        (model(x)[:, 0] - x[:, 0] * x[:, 1]).square().mean().backward()
        optimizer.step()
    return watch, watch.save(tmp_path_factory.mktemp("watched") / "mine")


def test_a_saved_watch_is_read_as_it_was(saved: tuple[Watch, Path]) -> None:
    watch, folder = saved
    run = read_watched(folder)
    assert run.name == "mine" and run.columns == watch.names and run.about["n_steps"] == 60
    assert run.about["layer"] == "Linear(2, 48) -> Tanh -> Linear(48, 1)"
    assert np.array_equal(run.clouds["background"], watch.background.numpy())
    assert np.array_equal(run.clouds["foreground"], watch.foreground.numpy())
    found = watch.compare()
    assert run.now is not None and run.now.p_value_all == found.p_value_all
    assert run.now.way is not None and found.way is not None and np.array_equal(run.now.way.null, found.way.null)
    assert run.now.resolution == found.resolution and run.start is not None
    assert run.curves["step"][0] == 0 and run.curves["step"][-1] == 60 and np.isfinite(run.curves["ratio"]).all()
    assert (np.diff(run.curves["step"]) > 0).all() and len(run.curves["step"]) <= 25


def test_along_the_training_it_is_told_what_other_neurons_would_lose(saved: tuple[Watch, Path]) -> None:
    watch, folder = saved
    asked = read_watched(folder).exchanges
    assert set(asked) == {"step", "network", "riders", "24", "12", "6", "3"}
    assert asked["step"][0] == 0 and asked["step"][-1] == 60
    # Before the first step riders and neurons are draws of one law: losses of networks of 48 neurons of order 1.
    assert asked["network"][-1] < 0.7 * asked["network"][0]
    assert asked["riders"][-1] != asked["network"][-1]
    assert watch.exchanges[-1].sentence in " ".join(read_watched(folder).about["sentences"])


def test_what_is_drawn_of_a_neuron_has_names_and_meanings(saved: tuple[Watch, Path]) -> None:
    run = read_watched(saved[1])
    columns, tables = run.tables()
    names = [column.name for column in columns]
    assert names == [
        *(f"{kind} PC {k}" for kind in ("weights", "function") for k in (1, 2, 3)),
        *run.columns,
        "|w|",
        "|v|",
    ]
    assert all(column.meaning for column in columns)
    assert all(table.shape == (48, len(names)) for table in tables.values())
    pooled = np.concatenate([tables["background"], tables["foreground"]])
    spread = pooled.std(axis=0)
    assert spread[0] >= spread[1] >= spread[2] and spread[3] >= spread[4] >= spread[5]
    assert np.allclose(tables["background"][:, -1], np.abs(run.clouds["background"][:, -1]))


def test_the_data_kernel_has_the_trace_of_the_squared_answers(saved: tuple[Watch, Path]) -> None:
    watch, folder = saved
    run = read_watched(folder)
    assert watch.probe is not None
    answers = watch.layer.activations(watch.layer.tensors(watch.background), watch.probe, 256)
    # All eigenvalues of a kernel of 64 inputs but 32; the ones left out are below rounding of float32 answers.
    assert run.spectra["background"].sum() == pytest.approx(float(answers.square().mean()), rel=1e-4)
    assert run.spectra.keys() == {"background", "foreground", "initial_background"}


def test_runs_compare_and_export_know_watched_trainings(
    saved: tuple[Watch, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = saved[1]
    _, other = watched(seed=4)
    other.save(tmp_path / "other", name="another seed")
    _, wider = watched(48, 5)
    wider.save(tmp_path / "folder-of-layers" / "layer1")

    def ask(*words: str) -> str:
        with pytest.raises(SystemExit) as stop:
            main(list(words))
        assert stop.value.code == 0, capsys.readouterr().err
        return capsys.readouterr().out

    listed = ask("runs", str(tmp_path))
    assert "another seed" in listed and "layer1" in listed
    told = ask("compare", str(folder), str(tmp_path / "other"))
    assert told.startswith(("consistent", "close", "inconsistent"))
    files = ask(
        "export", str(folder), "--figure", "all", "--format", "png", "--data", "npz,csv", "--out", str(tmp_path)
    )
    names = {Path(line).name for line in files.splitlines()}
    assert names == {"clouds.png", "curves.png", "kernel.png", "clouds.npz", "clouds.csv"}
    with np.load(tmp_path / "clouds.npz") as data:
        assert np.array_equal(data["foreground"], read_watched(folder).clouds["foreground"])


def test_a_damaged_watched_run_is_a_sentence_and_hides_no_other(saved: tuple[Watch, Path], tmp_path: Path) -> None:
    from mft_engine.runs.runs import list_runs

    _, watch = watched(16, 2)
    for name in ("good", "cut", "words"):
        watch.save(tmp_path / name)
    arrays = tmp_path / "cut" / ARRAYS
    arrays.write_bytes(arrays.read_bytes()[:2000])
    (tmp_path / "words" / DOCUMENT).write_text('{"schema": "mft-lab/watched/1"}')
    with pytest.raises(RunError, match=r"watched.h5 is damaged or cut off"):
        read_watched(tmp_path / "cut")
    with pytest.raises(RunError, match="it has no name"):
        read_watched(tmp_path / "words")
    states = {Path(row["path"]).name: row["state"] for row in list_runs(tmp_path)}
    assert states == {"good": "watched", "cut": "watched", "words": "damaged"}


def test_a_run_of_the_lab_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text("")
    _, watch = watched(16, 1)
    with pytest.raises(RunError, match="holds a run of the lab itself"):
        watch.save(tmp_path)


def test_a_folder_keeps_up_with_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(live, "PATIENCE", 0.0)
    _, watch = watched(16, 3, folder=tmp_path / "live")
    assert is_watched(tmp_path / "live") and read_watched(tmp_path / "live").about["n_steps"] == 3
    watch.close()
    assert read_watched(tmp_path / "live").about["n_steps"] == 3


def test_a_full_disk_ends_the_following_and_not_the_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match="up to date no more"):
        _, watch = watched(16, 4, folder=tmp_path / "file" / "live")
    assert watch.n_steps == 4 and watch.compare().verdict is not None


def test_asking_for_losses_leaves_the_training_bit_for_bit() -> None:
    plain, _ = watched(16, 20)
    model, watch = watched(16, 20)
    torch.manual_seed(3)
    again = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = torch.optim.Adam(again.parameters(), 1e-2)
    noisy = mft.watch(again[0], again[2], optimizer=optimizer, activation=again[1], n_foreground=20,
                      loss=lambda: again(torch.randn(8, 2)).square().mean())  # fmt: skip
    for _ in range(20):
        x = torch.randn(64, 2)
        optimizer.zero_grad()
        (again(x)[:, 0] - x[:, 0] * x[:, 1]).square().mean().backward()
        optimizer.step()
    for ours, theirs in ((plain, model), (plain, again)):
        assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert len(noisy.exchanges) == 21 and watch.exchanges == ()


def test_a_model_that_is_watched_can_be_copied_and_stored_and_copies_are_not_heard(tmp_path: Path) -> None:
    def riders_after(is_copied: bool) -> torch.Tensor:
        model, watch = watched(16, 3)
        if is_copied:
            torch.save(model, tmp_path / "model.pt")
            stored = torch.load(tmp_path / "model.pt", weights_only=False)
            for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), stored):
                other(torch.ones(4, 2)).sum().backward()
        model(torch.ones(4, 2)).sum().backward()
        watch._optimizer.step()
        return watch.foreground

    assert torch.equal(riders_after(is_copied=False), riders_after(is_copied=True))


def test_a_notebook_gets_a_figure_and_a_table() -> None:
    _, watch = watched(32, 10)
    figure = watch.figure(width_mm=100)
    assert figure.get_figwidth() * 25.4 == pytest.approx(100)
    words = " ".join(text.get_text() for text in figure.texts)
    assert "after 10 steps" in words and "at the start" in words
    assert "riders" in watch._repr_html_()
    shown = watch.compare()._repr_html_()
    assert str(watch.compare().verdict) in shown and "would have noticed" in shown and len(shown) < 600


def test_a_model_in_half_precision_is_watched() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 1)).to(torch.bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = mft.watch(model[0], model[2], optimizer=optimizer, activation=model[1])
    for _ in range(5):
        x = torch.randn(32, 2).to(torch.bfloat16)
        optimizer.zero_grad()
        (model(x)[:, 0] - x[:, 0]).square().mean().backward()
        optimizer.step()
    assert watch.n_steps == 5 and watch.compare().verdict == "consistent"


def test_neurons_that_go_astray_are_named() -> None:
    model, watch = watched(128, 5)
    with torch.no_grad():
        model[0].weight[[7, 30, 55, 90, 91, 100]] *= 20
    found = watch.outliers()
    assert {7, 30, 55, 90, 91, 100} <= set(found.indices.tolist()) and found.p_value < 0.01
    assert "look at neurons" in found.sentence
    assert watch.run().standing_out == found.indices.tolist()


@pytest.mark.parametrize("n_riders", [64, 200])
def test_neurons_of_one_law_are_seldom_named_as_standing_out(n_riders: int) -> None:
    generator = np.random.default_rng(2)
    pairs = [
        (draw((100, 4)), draw((n_riders, 4)))
        for draw in (generator.standard_normal, lambda size: generator.standard_t(5, size))
        for _ in range(150)
    ]
    told = [outliers_of(*pair).p_value <= 0.01 for pair in pairs]
    # Of 300 at the level of 1 in 100: 3 are meant, 10 or more would be 1 in 1,000. By a binomial law 30 to 90 were.
    assert sum(told) < 10


def test_neurons_that_never_left_their_start_are_noticed_by_their_way() -> None:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(2, 128), nn.Tanh(), nn.Linear(128, 1))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    watch = mft.watch(model[0], model[2], optimizer=optimizer, activation=model[1])
    start = [parameter.detach().clone() for parameter in (model[0].weight, model[0].bias, model[2].weight)]
    for _ in range(60):
        x = torch.randn(64, 2)
        optimizer.zero_grad()
        (model(x)[:, 0] - x[:, 0] * x[:, 1]).square().mean().backward()
        optimizer.step()
        with torch.no_grad():
            model[0].weight[:64], model[0].bias[:64], model[2].weight[:, :64] = (
                start[0][:64],
                start[1][:64],
                start[2][:, :64],
            )
    found = watch.compare()
    assert found.verdict != "consistent" and found.decisive is found.way
    assert "way of" in found.what_differs
    assert found.resolution is not None and found.resolution.prior_share is not None
    assert found.resolution.prior_share < 0.5


def test_the_data_kernel_of_a_lazy_layer_stays_and_of_a_learning_one_turns() -> None:
    _, watch = watched(48, 0)
    assert watch.kernel_change is None
    _, watch = watched(48, 1)
    _, learnt = watched(48, 200)
    lazy, far = watch.kernel_change, learnt.kernel_change
    assert lazy is not None and far is not None
    assert max(lazy) < 1e-3 < 1e-2 < min(far) and max(far) <= 1
    rows = [watch.layer.activations(watch.layer.tensors(cloud), watch.probe, 256).double()
            for cloud in (watch.initial_background, watch.background)]  # fmt: skip
    before, now = (answers @ answers.T for answers in rows)
    assert lazy[0] == pytest.approx(float(1 - (before * now).sum() / before.norm() / now.norm()), abs=1e-9)
    run = learnt.run()
    assert run.about["kernel_change"] == far
    assert any("data kernel has turned by" in sentence for sentence in run.about["sentences"])


def test_in_a_notebook_every_answer_shows_itself() -> None:
    _, watch = watched(32, 10)
    for answer, words in (
        (watch.initial_check, "consistent"),
        (watch.outliers(), "stand where hardly a rider goes"),
        (watch.independence(), "times as far apart"),
        (watch.exchange(lambda: 1.0), "with riders as the layer"),
    ):
        shown = answer._repr_html_()
        assert shown.startswith("<p>") and words in shown and len(shown) < 600
    for name in ("curves", "kernel"):
        assert watch.figure(name).get_axes()
