"""Learned scheduling of text-to-image requests on edge networks (LAD-TS), as an RLlib algorithm."""

__version__ = "0.1.0"
