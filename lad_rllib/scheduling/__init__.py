"""What an offloading decision is, and the schedulers that need no learning (NumPy only)."""

from lad_rllib.scheduling.bounds import lower_bound_s
from lad_rllib.scheduling.heuristics import HEURISTICS, make_heuristic, possible_heuristics
from lad_rllib.scheduling.offline_search import local_search, settle
from lad_rllib.scheduling.priced_greedy import PricedGreedy
from lad_rllib.scheduling.protocol import Scheduler
from lad_rllib.scheduling.quality import schedule_quality
from lad_rllib.scheduling.rollout import EpisodeRecord, GivenDecisions, play
from lad_rllib.scheduling.size_classes import SizeIntervals
from lad_rllib.scheduling.stronger import STRONGER, fit_stronger
from lad_rllib.scheduling.tabular import TabularPolicy

__all__ = [
    "HEURISTICS",
    "STRONGER",
    "EpisodeRecord",
    "GivenDecisions",
    "PricedGreedy",
    "Scheduler",
    "SizeIntervals",
    "TabularPolicy",
    "fit_stronger",
    "local_search",
    "lower_bound_s",
    "make_heuristic",
    "play",
    "possible_heuristics",
    "schedule_quality",
    "settle",
]
