"""Compiled rules for requests that come one by one: the yardsticks that an engineer or a reviewer would name."""

from lad_rllib.scheduling.request_rules.asymmetry import ControlledAsymmetry
from lad_rllib.scheduling.request_rules.intervals import FirstPolicyIteration, SizeIntervalsEqualLoad
from lad_rllib.scheduling.request_rules.loaded import (
    DeclaredCost,
    JoinShortestQueue,
    LeastWorkLeft,
    LeastWorkLeftAffinity,
    PowerOfTwo,
    ResidentFirst,
    ShortestExpectedDelay,
)
from lad_rllib.scheduling.request_rules.priced import SelfPriced
from lad_rllib.scheduling.request_rules.unloaded import Random, RoundRobin, SpeedProportional

__all__ = [
    "ControlledAsymmetry",
    "DeclaredCost",
    "FirstPolicyIteration",
    "JoinShortestQueue",
    "LeastWorkLeft",
    "LeastWorkLeftAffinity",
    "PowerOfTwo",
    "Random",
    "ResidentFirst",
    "RoundRobin",
    "SelfPriced",
    "ShortestExpectedDelay",
    "SizeIntervalsEqualLoad",
    "SpeedProportional",
]
