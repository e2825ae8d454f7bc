"""Where the built program begins: whatever it starts in a process of its own (workers of a sweep) begins here, too."""

import multiprocessing

if __name__ == "__main__":
    # A process that is a worker carries out its work here and ends; the program itself goes on.
    multiprocessing.freeze_support()
    from mft_engine.cli import main

    main()
