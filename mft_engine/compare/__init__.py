"""Whether two clouds have one law."""
