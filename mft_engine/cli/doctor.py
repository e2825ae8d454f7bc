"""What this installation is made of, and what is known to be wrong with it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import socket
import sys
from collections.abc import Mapping
from typing import Any

from mft_engine.recipe import shipped_recipes
from mft_engine.resources import resources_folder

PACKAGES = (
    "torch", "numpy", "scipy", "numba", "pydantic", "matplotlib", "h5py", "safetensors", "PySide6-Essentials",
    "pyqtgraph", "superqt", "distributed",
)  # fmt: skip
CONNECT_SECONDS = 5.0


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def known_bad_pairs(versions: dict[str, str | None], python: tuple[int, int]) -> list[str]:
    """One sentence for each pair of versions that is known to crash or to give wrong pictures, with the remedy.

    Args:
        versions: package name to version, None where it is not installed.
        python: (major, minor).
    """
    remedy = 'install a good one: pip install "PySide6-Essentials>=6.10.3,<6.11"'
    sentences = []
    qt, plots = versions.get("PySide6-Essentials"), versions.get("pyqtgraph")
    if qt and _release(qt) >= (6, 12) and python < (3, 12):
        sentences.append(f"PySide6 {qt} kills Python {python[0]}.{python[1]} within seconds; {remedy}.")
    if qt and plots and _release(qt) == (6, 11) and _release(plots) == (0, 14):
        sentences.append(f"PySide6 {qt} breaks the SVG export of pyqtgraph {plots}; {remedy}.")
    return sentences


def display_fault(environment: Mapping[str, str], system: str = sys.platform) -> str | None:
    """Why no window can appear, in a sentence, or None; Qt itself would abort the process.

    Args:
        environment: as `os.environ`.
    """
    platform_asked = environment.get("QT_QPA_PLATFORM", "").split(";")[0].split(":")[0]
    if not system.startswith("linux") or platform_asked not in ("", "xcb", "wayland", "wayland-egl"):
        return None
    x, wayland = environment.get("DISPLAY", ""), environment.get("WAYLAND_DISPLAY", "")
    remedy = (
        "log in with a screen (ssh -X), or use the commands without a window: mft-lab run, export, ... (mft-lab --help)"
    )
    if not x and not wayland:
        return f"There is no display (DISPLAY and WAYLAND_DISPLAY are empty): {remedy}."
    folder = environment.get("XDG_RUNTIME_DIR", "")
    if (wayland and _answers(os.path.join(folder, wayland))) or (x and _x_answers(x)):
        return None
    return f"The display {' or '.join(name for name in (x, wayland) if name)} does not answer: {remedy}."


def _x_answers(display: str) -> bool:
    host, _, number = display.rpartition(":")
    number = number.split(".")[0]
    if not number.isdigit():
        return False
    if host in ("", "unix"):
        place = f"/tmp/.X11-unix/X{number}"
        return _answers(place) or _answers(f"\0{place}")
    try:
        socket.create_connection((host.strip("[]"), 6000 + int(number)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError, ValueError):
        return False
    return True


def _answers(place: str) -> bool:
    with socket.socket(socket.AF_UNIX) as caller:
        caller.settimeout(CONNECT_SECONDS)
        try:
            caller.connect(place)
        except (OSError, ValueError):
            return False
    return True


def guard() -> str | None:
    """The sentence to stop with before the window opens, or None where nothing is known to be wrong."""
    versions = {name: _version(name) for name in ("PySide6-Essentials", "pyqtgraph")}
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        return f"The window needs {' and '.join(missing)}: pip install mft-lab installs them."
    sentences = known_bad_pairs(versions, sys.version_info[:2])
    return sentences[0] if sentences else display_fault(os.environ)


def examine() -> dict[str, Any]:
    """Versions, devices, display, folders and known-bad pairs, as plain values."""
    import torch

    from mft_engine.device import available_devices
    from mft_engine.runs.runs import default_parent
    from mft_engine.tasks import PLUGIN_FAULTS

    versions = {name: _version(name) for name in PACKAGES}
    problems = known_bad_pairs(versions, sys.version_info[:2])
    problems += [f"{name} is not installed." for name in ("torch", "numpy", "scipy", "pydantic") if not versions[name]]
    problems += PLUGIN_FAULTS
    no_display = display_fault(os.environ)
    problems += [no_display] if no_display else []
    folder = default_parent()
    return {
        "mft_lab": _version("mft-lab"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions,
        "devices": available_devices(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "display": os.environ.get("WAYLAND_DISPLAY") or os.environ.get("DISPLAY"),
        "qt_platform": os.environ.get("QT_QPA_PLATFORM"),
        "resources": str(resources_folder()),
        "recipes": len(shipped_recipes()),
        "runs": str(folder),
        "runs_writable": os.access(_nearest_existing(str(folder)), os.W_OK),
        "problems": problems,
    }


def _nearest_existing(folder: str) -> str:
    while not os.path.exists(folder):
        folder = os.path.dirname(folder) or "/"
    return folder
