"""A running service on Ray Serve: the HTTP API, one dispatcher with the policy, and the servers of a fleet."""

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
