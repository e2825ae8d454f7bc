"""What can be asked of an experiment, one file each."""
