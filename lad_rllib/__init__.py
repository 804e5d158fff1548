"""Learned scheduling of text-to-image requests on edge networks (LAD-TS), as an RLlib algorithm."""

from lad_rllib.registry import register, register_with_gymnasium

__version__ = "0.1.0"

__all__ = ["register"]

register_with_gymnasium()
