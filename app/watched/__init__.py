"""The window for a training that `mft.watch` has kept, or is keeping."""
