"""What an offloading decision is, and the schedulers that need no learning (NumPy only)."""

from lad_rllib.scheduling.bounds import lower_bound_s, requests_lower_bound_s
from lad_rllib.scheduling.fitted import FITTED, fit_scheduler
from lad_rllib.scheduling.fitted.priced_greedy import PricedGreedy
from lad_rllib.scheduling.fitted.size_intervals import SizeIntervals
from lad_rllib.scheduling.fitted.tabular import TabularPolicy
from lad_rllib.scheduling.heuristics import HEURISTICS, Heuristic, heuristics_for, make_heuristic, possible_heuristics
from lad_rllib.scheduling.offline_search import local_search, settle
from lad_rllib.scheduling.quality import jain_index, schedule_quality
from lad_rllib.scheduling.rollout import EpisodeRecord, GivenDecisions, play
from lad_rllib.scheduling.scheduler import Scheduler

__all__ = [
    "HEURISTICS",
    "FITTED",
    "EpisodeRecord",
    "GivenDecisions",
    "Heuristic",
    "PricedGreedy",
    "Scheduler",
    "SizeIntervals",
    "TabularPolicy",
    "fit_scheduler",
    "jain_index",
    "heuristics_for",
    "local_search",
    "lower_bound_s",
    "make_heuristic",
    "play",
    "possible_heuristics",
    "requests_lower_bound_s",
    "schedule_quality",
    "settle",
]
