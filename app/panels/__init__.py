"""The docks: told what to show, never asking."""
