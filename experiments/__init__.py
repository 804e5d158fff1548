"""Comparisons behind the results in the documentation; each runs as ``python -m experiments.NAME``."""
