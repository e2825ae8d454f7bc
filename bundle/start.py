"""Where the built program begins: whatever it starts in a process of its own (workers of a sweep) begins here, too."""

import multiprocessing
import os


def _give_back_libraries() -> None:
    """Programs of the system that are started from here (ffmpeg, a browser) find their own libraries, not the bundle's.

    The loader of this process has read the variable already.
    """
    before = os.environ.pop("LD_LIBRARY_PATH_ORIG", None)
    os.environ.pop("LD_LIBRARY_PATH", None)
    if before is not None:
        os.environ["LD_LIBRARY_PATH"] = before


if __name__ == "__main__":
    _give_back_libraries()
    # A process that is a worker carries out its work here and ends; the program itself goes on.
    multiprocessing.freeze_support()
    from mft_engine.cli import main

    main()
