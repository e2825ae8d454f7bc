"""What the program stands on: every package with its licence, and whether a fault of it is known and mended.

    .venv/bin/python .ci/dependencies.py

Exit code 1 for a licence that the program may not be given away with, or a known fault that a newer version has not.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import metadata
from typing import Any

from packaging.requirements import Requirement

# Whoever gets the program may use, change and pass on these; Qt's is the LGPL, for it is linked and not changed.
PERMITTED = re.compile(
    r"\b(MIT|0?BSD|Apache|ISC|Zlib|PSF|Python Software Foundation|matplotlib|HPND|LGPL|MPL|CC0|BSL-1\.0|Unlicense)\b"
)
# Drivers that torch brings along where there is a card: their owner lets them be passed on, not changed.
OF_THE_CARD = re.compile(r"(nvidia|cuda)-|triton$")
UNREACHABLE = "The audit was left out: the list of known faults cannot be reached from here."


def normal(name: str) -> str:
    """A package's name as all its spellings are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def dependencies(name: str = "mft-lab") -> dict[str, str]:
    """Every package that a package needs, directly or not, with its version."""
    found: dict[str, str] = {}
    todo = [name]
    while todo:
        present = normal(todo.pop())
        if present in found:
            continue
        try:
            found[present] = metadata.version(present)
        except metadata.PackageNotFoundError:  # of another system
            continue
        for text in metadata.requires(present) or []:
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                todo.append(needed.name)
    return found


def licence(name: str) -> str:
    """What a package itself says of its licence, in short."""
    about = metadata.metadata(name)
    trove = [line.rpartition("::")[2].strip() for line in about.get_all("Classifier") or [] if "License ::" in line]
    said = about.get("License-Expression") or ", ".join(trove) or about.get("License") or "none"
    return str(said).strip().splitlines()[0][:80]


def is_permitted(name: str, text: str) -> bool:
    """Whether the program may be given away with a package of that licence."""
    return bool(PERMITTED.search(text) or OF_THE_CARD.match(name))


def known_faults(report: str, names: set[str]) -> list[str]:
    """Faults that a newer version of one of these packages has not, from what pip-audit wrote.

    Raises:
        ValueError: it wrote no report.
    """
    document: Any = json.loads(report)
    return [
        f"{package['name']} {package['version']}: {fault['id']}, mended in {', '.join(fault['fix_versions'])}"
        for package in document["dependencies"]
        if normal(package["name"]) in names
        for fault in package.get("vulns", [])
        if fault["fix_versions"]
    ]


def main() -> int:
    """Print the list, and what is wrong with it."""
    found = dependencies()
    wrong = []
    for name, version in sorted(found.items()):
        text = licence(name)
        print(f"{name:<24}{version:<16}{text}")
        if not is_permitted(name, text):
            wrong.append(f"{name}: its licence ({text}) is not one that this program may be given away with")
    command = [sys.executable, "-m", "pip_audit", "--local", "--format", "json", "--progress-spinner", "off"]
    report = subprocess.run([*command, "--timeout", "10"], capture_output=True, text=True, check=False).stdout
    try:
        wrong += known_faults(report, set(found))
    except (ValueError, KeyError, TypeError):
        print(UNREACHABLE)
    for sentence in wrong:
        print(sentence, file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
