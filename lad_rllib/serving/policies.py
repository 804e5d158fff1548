"""What may decide in a service, by its name: a shipped policy, a checkpoint, or a scheduler of requests."""

from __future__ import annotations

import contextlib
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from lad_rllib.errors import ConfigurationError
from lad_rllib.names import SHIPPED_POLICIES
from lad_rllib.scheduling.request_scheduler import REQUEST_SCHEDULERS, RequestScheduler
from lad_rllib.service import RequestModel
from lad_rllib.simulator.requests import build_request_setting

PRACTICE = "unequal-8"
"""Setting on which a policy decides before there is a fleet."""


def named_policy(name: str) -> RequestScheduler:
    """A scheduler of requests.

    Args:
        name: Name of a scheduler of requests, of a policy that comes with the package, or folder of a checkpoint.

    Raises:
        ConfigurationError: if it is neither, or the checkpoint's policy does not decide request by request.
    """
    if name in REQUEST_SCHEDULERS:
        return REQUEST_SCHEDULERS[name]()
    from lad_rllib.algorithms.lad_dispatch.policy import load_request_scheduler

    try:
        return load_request_scheduler(name)
    except ConfigurationError:
        if "/" in name:
            raise
        choices = ", ".join((*SHIPPED_POLICIES, *REQUEST_SCHEDULERS))
        raise ConfigurationError(f"no policy {name!r}; choose from {choices}, or name a checkpoint's folder") from None


def policy_read_elsewhere(name: str) -> RequestScheduler:
    """As :func:`named_policy`, without loading RLlib and PyTorch, which read checkpoints, into this process.

    Arguments and errors are the same.
    """
    if name in REQUEST_SCHEDULERS:
        return named_policy(name)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as reader:
        return reader.submit(named_policy, name).result()


def practise(scheduler: RequestScheduler) -> None:
    """Have a policy decide once for a made-up fleet, so that what it loads and compiles is there when it is needed."""
    setting = build_request_setting({"preset": PRACTICE})
    requests = RequestModel(setting.world, setting.history())
    with contextlib.suppress(Exception):  # foreign code, which is begun and asked again for the fleet
        scheduler.begin(requests.world, setting.history())
        scheduler.choose(requests.idle_view(), np.random.default_rng(0))
