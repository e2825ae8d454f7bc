"""The engine's side of the window, without Qt: what is asked of it, and how long work is cut into slices."""
