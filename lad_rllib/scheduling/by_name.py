"""One namespace of schedulers without training: those that decide for whole slots, and those for single requests."""

from __future__ import annotations

from lad_rllib.errors import ConfigurationError
from lad_rllib.scheduling.heuristics import HEURISTICS
from lad_rllib.scheduling.request_scheduler import REQUEST_SCHEDULERS, RequestScheduler
from lad_rllib.scheduling.scheduler import Scheduler


def make_scheduler(name: str, one_by_one: bool) -> Scheduler | RequestScheduler:
    """Build a scheduler by its name; a name that both registries have is one rule in two forms.

    Args:
        name: Name in :data:`HEURISTICS` or :data:`REQUEST_SCHEDULERS`.
        one_by_one: Which form is taken if there are both: that for single requests, or that for slots.

    Raises:
        ConfigurationError: for an unknown name; the message lists those that exist.
    """
    forms = (REQUEST_SCHEDULERS, HEURISTICS) if one_by_one else (HEURISTICS, REQUEST_SCHEDULERS)
    for registry in forms:
        if name in registry:
            made: Scheduler | RequestScheduler = registry[name]()
            return made
    known = dict.fromkeys((*HEURISTICS, *REQUEST_SCHEDULERS))
    raise ConfigurationError(f"unknown scheduler {name!r}; choose from {', '.join(known)}")
