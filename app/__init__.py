"""The window of MFT Lab: Qt on this side, the engine behind `session.Session`."""
