"""What one neuron feels, and how it moves in it."""
