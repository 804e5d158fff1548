"""A running service on Ray Serve: the HTTP API, one dispatcher with the policy, and the servers of a fleet.

Importing this room imports nothing: a process of an edge server needs neither the API nor policies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lad_rllib.late import late_names

if TYPE_CHECKING:
    from lad_rllib.serving.application import ApplicationFields
    from lad_rllib.serving.ingress import ServiceFiles
    from lad_rllib.serving.keeper import FleetKeeper, FleetState, KnownServer
    from lad_rllib.serving.policies import named_policy
    from lad_rllib.serving.service import Service, check_port

__all__ = [
    "ApplicationFields",
    "FleetKeeper",
    "FleetState",
    "KnownServer",
    "Service",
    "ServiceFiles",
    "check_port",
    "named_policy",
]

__getattr__ = late_names(
    __name__,
    {
        "application": "ApplicationFields",
        "ingress": "ServiceFiles",
        "keeper": "FleetKeeper FleetState KnownServer",
        "policies": "named_policy",
        "service": "Service check_port",
    },
)
