"""The entry in the menu of applications: written where desktops look, with its icon, and taken away again."""

from __future__ import annotations

import configparser
import shlex
import sys
from pathlib import Path

import pytest

from mft_engine.cli.commands import main


def carry_out(*words: str) -> int | None:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return ended.value.code if isinstance(ended.value.code, int) else None


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.setattr(sys, "platform", "linux")
    return tmp_path / "share"


def test_the_entry_names_the_program_by_its_path_and_an_icon_that_is_there(home: Path, monkeypatch, tmp_path) -> None:
    beside = tmp_path / "my programs"
    beside.mkdir()
    (beside / "mft-lab").write_text("")
    monkeypatch.setattr(sys, "executable", str(beside / "python"))
    assert carry_out("desktop") == 0
    entry = configparser.ConfigParser(interpolation=None)
    entry.optionxform = str  # type: ignore[assignment, method-assign]
    entry.read(home / "applications" / "mft-lab.desktop", encoding="utf-8")
    group = entry["Desktop Entry"]
    assert group["Type"] == "Application" and group["Terminal"] == "false"
    assert shlex.split(group["Exec"]) == [str(beside / "mft-lab"), "gui", "%f"]
    icon = home / "icons" / "hicolor" / "scalable" / "apps" / f"{group['Icon']}.svg"
    assert icon.read_text().startswith("<svg")
    assert carry_out("desktop", "--remove") == 0
    assert not list(home.rglob("*.desktop")) and not list(home.rglob("*.svg"))


def test_where_it_cannot_be_written_is_one_sentence(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home.write_text("no folder")
    assert carry_out("desktop") == 1
    assert "The entry cannot be written to" in capsys.readouterr().err


def test_other_systems_have_no_such_menu(home: Path, monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert carry_out("desktop") == 1
    assert "on Linux alone" in capsys.readouterr().err
