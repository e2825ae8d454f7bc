"""Measures of inputs and statistics of what is seen on them."""
