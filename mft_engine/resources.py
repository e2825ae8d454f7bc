"""Where the data files of the project are: recipes, icons, texts.

They lie in `resources/` beside the packages in a checkout (and so in an editable install), and inside the engine's
package in a wheel.
"""

from __future__ import annotations

from pathlib import Path


def installed_folder(name: str, marker: str) -> Path:
    """A folder of data: `name` beside the packages in a checkout, `_name` inside the engine in a wheel.

    Args:
        marker: something that lies in it.

    Raises:
        FileNotFoundError: the installation is incomplete.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / f"_{name}", package.parent / name):
        if (folder / marker).exists():
            return folder
    raise FileNotFoundError(
        f"MFT Lab's {name} folder is missing from this installation; reinstall the package mft-lab."
    )


def resources_folder() -> Path:
    """The folder that holds `recipes/`, `icons/` and the tour texts.

    Raises:
        FileNotFoundError: the installation is incomplete.
    """
    return installed_folder("resources", "recipes")
