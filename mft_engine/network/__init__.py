"""Networks: activations, neurons as rows, several hidden layers."""
