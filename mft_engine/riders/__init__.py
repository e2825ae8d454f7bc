"""Riders: fresh neurons that ride along in somebody's own training, the foreground of any network."""
