"""One recipe, run."""
