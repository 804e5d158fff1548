"""What an offloading decision is, and the schedulers that need no learning (NumPy only)."""

from lad_rllib.scheduling.heuristics import HEURISTICS, make_heuristic
from lad_rllib.scheduling.protocol import Scheduler
from lad_rllib.scheduling.rollout import EpisodeRecord, play

__all__ = ["HEURISTICS", "EpisodeRecord", "Scheduler", "make_heuristic", "play"]
