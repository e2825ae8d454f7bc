"""What the window is put together from besides its docks: commands, files dropped on it, memory."""
