"""Many experiments."""
