"""The window of a watched training: everything that was kept is shown, and it follows who writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PySide6.QtWidgets import QLabel, QWidget
from torch import nn

import mft_engine as mft
from app.panels.help_pages import HelpPages
from app.shell.dropping import what_it_becomes
from app.theme import DARK, ThemeKeeper
from app.watched.window import WatchedWindow
from app.widgets.help_button import HelpButton
from app.window import MainWindow
from mft_engine.cli.commands import main


def save(folder: Path, n_steps: int = 20, *, has_loss: bool = True) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 40), nn.Tanh(), nn.Linear(40, 1))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    x = torch.randn(64, 2)

    def loss() -> torch.Tensor:
        return (model(x)[:, 0] - x[:, 0] * x[:, 1]).square().mean()

    watch = mft.watch(
        model[0], model[2], optimizer=optimizer, activation=model[1], loss=loss if has_loss else None, n_foreground=50
    )
    for _ in range(n_steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    watch.save(folder, name="mine")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept") / "run"
    save(folder)
    return folder


@pytest.fixture
def show(themes: ThemeKeeper, qtbot: Any) -> Iterator[Callable[[Path], WatchedWindow]]:
    windows: list[WatchedWindow] = []

    def open_it(folder: Path) -> WatchedWindow:
        windows.append(WatchedWindow(folder, themes))
        windows[-1].resize(1280, 720)
        windows[-1].show()
        return windows[-1]

    yield open_it
    for window in windows:
        window.close()


def is_empty(view: QWidget) -> bool:
    return bool(view.empty.isVisibleTo(view))  # type: ignore[attr-defined]


def test_a_watched_training_is_shown_whole(show: Callable[[Path], WatchedWindow], kept: Path, qtbot: Any) -> None:
    window = show(kept)
    qtbot.waitUntil(lambda: window.run is not None, timeout=60_000)
    assert "mine" in window.windowTitle() and "20 steps" in window.windowTitle()
    header = window.cloud.header
    assert [header.chips[name].detail for name in ("initial", "background", "foreground")] == ["40", "40", "50"]
    offered = [header.x_picker.itemText(k) for k in range(header.x_picker.count())]
    assert offered[:4] == ["weights PC 1", "weights PC 2", "weights PC 3", "function PC 1"]
    assert offered[-2:] == ["|w|", "|v|"] and not header.chips["theory"].isVisible()
    card = window.findings.card
    assert card.state == window.run.now.verdict and "40 neurons" in card.sentence.text()
    assert window.findings.numbers.text("p_value", 1) != "–"
    assert "Neurons have moved" in window.findings.sentences.text()
    window.resize(1280, 720)
    labels, viewport = window.findings.numbers.findChildren(QLabel), window.findings.viewport()
    qtbot.waitUntil(
        lambda: max(label.mapTo(viewport, label.rect().topRight()).x() for label in labels) < viewport.width()
    )
    for view in (window.cloud, window.moved, window.distance, window.losses, window.kernel, window.marginals):
        assert not is_empty(view)
    names = ["network", "riders", "20 neurons", "10 neurons", "5 neurons", "2 neurons"]
    assert list(window.losses.chips) == names
    window.apply_theme(DARK)


def test_what_is_not_there_has_a_reason(show: Callable[[Path], WatchedWindow], tmp_path: Path, qtbot: Any) -> None:
    save(tmp_path / "run", 0, has_loss=False)
    window = show(tmp_path / "run")
    qtbot.waitUntil(lambda: window.run is not None, timeout=60_000)
    assert is_empty(window.losses) and is_empty(window.kernel)
    assert not is_empty(window.cloud) and not is_empty(window.moved)


def test_neurons_that_stand_out_are_ringed(
    show: Callable[[Path], WatchedWindow], kept: Path, tmp_path: Path, qtbot: Any
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(kept, folder)
    document = json.loads((folder / "watched.json").read_text())
    for found, ringed in (([7, 3], [7, 3]), ([7, "x", 4000], [7])):
        document["outliers"] = {"indices": found, "expected": 0.4, "p_value": 0.001}
        (folder / "watched.json").write_text(json.dumps(document))
        window = show(folder)
        qtbot.waitUntil(lambda window=window: window.run is not None, timeout=60_000)
        assert window.cloud.marked.numbers.tolist() == ringed
        assert window.cloud.header.chips["standing out"].isVisible()


def test_its_numbers_are_explained_without_the_main_window(
    show: Callable[[Path], WatchedWindow], kept: Path, qtbot: Any
) -> None:
    window = show(kept)
    asked = {button.heading: button for button in window.findChildren(HelpButton)}
    assert {"Distance between neurons and riders", "Besides", "What is watched"} <= asked.keys()
    for heading, button in asked.items():
        button.click()
        pages = window.findChild(HelpPages)
        assert pages is not None and pages.isVisible() and pages.shown == "numbers"
        item = pages.contents.currentItem()
        assert item is not None and item.text(0) == heading
    window.explain()
    assert pages.shown == "watching"
    pages.close()


def test_it_waits_for_a_training_and_follows_it(
    show: Callable[[Path], WatchedWindow], kept: Path, tmp_path: Path, qtbot: Any
) -> None:
    folder = tmp_path / "later"
    window = show(folder)
    qtbot.waitUntil(lambda: "Nothing has been kept" in window.status.text(), timeout=60_000)
    assert is_empty(window.cloud)
    shutil.copytree(kept, folder)
    qtbot.waitUntil(lambda: window.run is not None and window.run.about["n_steps"] == 20, timeout=60_000)
    save(folder, 25)
    qtbot.waitUntil(lambda: window.run.about["n_steps"] == 25, timeout=60_000)
    assert "step 25" in window.status.text()


def test_a_damaged_file_is_a_sentence_and_the_picture_stays(
    show: Callable[[Path], WatchedWindow], kept: Path, tmp_path: Path, qtbot: Any
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(kept, folder)
    window = show(folder)
    qtbot.waitUntil(lambda: window.run is not None, timeout=60_000)
    (folder / "watched.json").write_text("{")
    qtbot.waitUntil(lambda: "damaged or cut off" in window.status.text(), timeout=60_000)
    assert not is_empty(window.cloud)


def test_figures_and_clouds_are_written_where_a_person_says(
    show: Callable[[Path], WatchedWindow], kept: Path, tmp_path: Path, qtbot: Any
) -> None:
    window = show(kept)
    qtbot.waitUntil(lambda: window.run is not None, timeout=60_000)
    window.export_to(tmp_path / "out")
    qtbot.waitUntil(lambda: "files are in" in window.status.text(), timeout=60_000)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"clouds.png", "clouds.pdf", "curves.png", "kernel.pdf", "clouds.npz", "clouds.csv"} <= names


def test_open_run_in_the_main_window_opens_it_beside(window: MainWindow, kept: Path, qtbot: Any) -> None:
    assert what_it_becomes(kept) == ("Open this watched training", "run")
    window.commands.open_path(kept)
    (opened,) = window.commands.watched
    qtbot.waitUntil(lambda: opened.run is not None, timeout=60_000)
    assert opened.isVisible() and str(kept) in window.settings.recent
    opened.close()
    qtbot.waitUntil(lambda: not window.commands.watched, timeout=10_000)


def test_the_command_line_opens_watched_trainings_in_their_window(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[Any] = []
    monkeypatch.setattr("app.application.main", lambda **options: opened.append(options["followed"]) or 0)
    for words in (["gui", str(kept)], ["gui", "--watch", str(tmp_path / "later")], ["gui", "--watch", "x", "clover"]):
        with pytest.raises(SystemExit):
            main(words)
    assert opened == [kept, tmp_path / "later"]
    assert "not both" in capsys.readouterr().err
