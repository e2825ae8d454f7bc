"""Laws of one neuron: prior times the exponential of a quadratic form of its features."""
