"""Networks with several hidden layers: the same experiment, one field and one verdict for every layer."""
