"""What may decide in a service, by its name: a shipped policy, a checkpoint, or a scheduler of requests."""

from __future__ import annotations

from lad_rllib.errors import ConfigurationError
from lad_rllib.names import SHIPPED_POLICIES
from lad_rllib.scheduling.request_scheduler import REQUEST_SCHEDULERS, RequestScheduler


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
