"""What made a run: time, machine and versions, the same for runs of recipes and of watched trainings."""

from __future__ import annotations

import datetime
import platform
from importlib import metadata
from typing import Any

PACKAGES = ("mft-lab", "torch", "numpy", "scipy", "numba", "h5py", "safetensors", "pydantic")


def origin() -> dict[str, Any]:
    """created, platform and versions (None for what is not installed)."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"created": created, "platform": platform.platform(), "versions": versions}
