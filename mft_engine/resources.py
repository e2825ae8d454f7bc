"""Where the data files of the project are: recipes, icons, texts.

They lie in `resources/` beside the packages in a checkout (and so in an editable install), and inside the engine's
package in a wheel.
"""

from __future__ import annotations

from pathlib import Path


def resources_folder() -> Path:
    """The folder that holds `recipes/`, `icons/` and the tour texts.

    Raises:
        FileNotFoundError: the installation is incomplete.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "_resources", package.parent / "resources"):
        if (folder / "recipes").is_dir():
            return folder
    raise FileNotFoundError(
        "MFT Lab's resources folder is missing from this installation; reinstall the package mft-lab."
    )
