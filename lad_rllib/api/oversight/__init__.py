"""Who decides in a running service: what is tried, what is put in charge, and what is taken out of charge again."""

from lad_rllib.api.oversight.history import PolicyHistory
from lad_rllib.api.oversight.overseer import Overseer

__all__ = ["Overseer", "PolicyHistory"]
