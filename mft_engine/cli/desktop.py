"""The program among the applications of a Linux desktop: an entry of the menu with its icon."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from mft_engine.cli.program import CommandError
from mft_engine.resources import resources_folder

NAME = "mft-lab"
ENTRY = """[Desktop Entry]
Type=Application
Version=1.5
Name=MFT Lab
GenericName=Mean-field theory of neural networks
Comment=Watch a wide network as a gas of neurons, and ask whether it is self-consistent
Exec={program} gui %f
Icon={name}
Terminal=false
Categories=Science;Education;
Keywords=neural networks;mean field;Langevin;physics;
StartupWMClass=MFT Lab
"""


def data_home() -> Path:
    """Where a person's own applications are listed."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")


def files() -> tuple[Path, Path]:
    """The entry and its icon."""
    home = data_home()
    icon = home / "icons" / "hicolor" / "scalable" / "apps" / f"{NAME}.svg"
    return home / "applications" / f"{NAME}.desktop", icon


def install() -> tuple[Path, Path]:
    """Write both; what is there is replaced.

    Raises:
        CommandError: another system than Linux, or a folder that cannot be written.
    """
    if not sys.platform.startswith("linux"):
        raise CommandError("Entries of the applications' menu are written on Linux alone", 1)
    entry, icon = files()
    try:
        for path in (entry, icon):
            path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(resources_folder() / "icons" / f"{NAME}.svg", icon)
        entry.write_text(ENTRY.format(program=_program(), name=NAME), encoding="utf-8")
    except OSError as error:
        raise CommandError(f"The entry cannot be written to {entry.parent}: {error.strerror or error}", 1) from None
    return entry, icon


def remove() -> tuple[Path, Path]:
    """Take both away."""
    for path in files():
        path.unlink(missing_ok=True)
    return files()


def _program() -> str:
    """The command by its whole path, since menus do not know its environment; quoted where an entry asks for it."""
    beside = Path(sys.executable).with_name(NAME)
    program = str(beside) if beside.exists() else shutil.which(NAME) or NAME
    escaped = program.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if any(letter.isspace() or letter in '"\\' for letter in program) else escaped
