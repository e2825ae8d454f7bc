"""Infinite-width theory: solvers, closures, limits and certificates."""
