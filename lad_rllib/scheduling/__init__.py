"""What an offloading decision is, and the schedulers that need no learning (NumPy only)."""

from lad_rllib.scheduling.bounds import lower_bound_s
from lad_rllib.scheduling.heuristics import HEURISTICS, make_heuristic
from lad_rllib.scheduling.local_search import local_search
from lad_rllib.scheduling.protocol import Scheduler
from lad_rllib.scheduling.rollout import EpisodeRecord, GivenDecisions, play

__all__ = [
    "HEURISTICS",
    "EpisodeRecord",
    "GivenDecisions",
    "Scheduler",
    "local_search",
    "lower_bound_s",
    "make_heuristic",
    "play",
]
