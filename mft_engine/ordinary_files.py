"""Files that somebody named: whether one can be read to its end, and a fingerprint of what is in it."""

from __future__ import annotations

import errno
import functools
import hashlib
import stat
from pathlib import Path

MAX_TEXT_BYTES = 100_000_000


def require_ordinary(path: Path, most: int | None = None) -> None:
    """Refuse what would be read for ever or for too long: a pipe, a device, a folder, a file beyond a size.

    Args:
        path: a name, links followed.
        most: bytes that the file may have.

    Raises:
        OSError: it is none; `strerror` says what it is instead.
    """
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is a pipe or a device, and no file", str(path))
    if most is not None and status.st_size > most:
        size = f"it has {status.st_size / 1e6:,.0f} MB; at most {most / 1e6:,.0f} MB are read"
        raise OSError(errno.EFBIG, size, str(path))


def file_digest(path: str | Path) -> str | None:
    """A fingerprint of a file's content; None where there is none that can be read."""
    place = Path(path).expanduser()
    try:
        status = place.stat()
        return _content_digest(place, status.st_mtime_ns, status.st_size)
    except (OSError, ValueError, RuntimeError):
        return None


@functools.lru_cache(maxsize=64)
def _content_digest(path: Path, changed: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
