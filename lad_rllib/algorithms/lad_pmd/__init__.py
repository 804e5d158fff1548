"""LAD-TS that optimises total delay: it learns from what each task costs all others, instead of from its own delay."""

from lad_rllib.algorithms.lad_pmd.improvement import ImprovementSet, StepSize, averaging_share
from lad_rllib.algorithms.lad_pmd.learner import SystemDelayLearner
from lad_rllib.algorithms.lad_pmd.networks import SystemNetworks, SystemRLModule

__all__ = ["ImprovementSet", "StepSize", "SystemDelayLearner", "SystemNetworks", "SystemRLModule", "averaging_share"]
