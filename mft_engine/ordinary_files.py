"""Whether a name that somebody gave is a file that can be read to its end."""

from __future__ import annotations

import errno
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
