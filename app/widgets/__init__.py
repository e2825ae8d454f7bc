"""Small controls that the docks are made of."""
