"""The service as an application of Ray Serve that a config file describes, for ``serve deploy`` and KubeRay.

``import_path: lad_rllib.serving.application:application`` with the fields of :class:`ApplicationFields` as ``args``.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from ray import serve

from lad_rllib.api import ApiSettings
from lad_rllib.declared import Declared, Text, declared
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet import load_fleet
from lad_rllib.names import ServerHosts
from lad_rllib.serving.ingress import ServiceFiles
from lad_rllib.serving.keeper import asked
from lad_rllib.serving.policies import named_policy
from lad_rllib.serving.service import HEAD_NODE, ingress_application, named_keeper


class ApplicationFields(Declared):
    """``args`` of the service's application."""

    fleet: Text | dict[str, Any] = "digits"
    """The fleet: a shipped one's name, a file on the head's node, or its keys."""
    servers: ServerHosts = "actors"
    """What its servers are: Ray actors, or applications of Ray Serve."""
    policy: Text = "any-fleet"
    """What decides at first: a shipped policy, a checkpoint's folder, or a scheduler of requests."""
    api: dict[str, Any] = {}
    """Fields of ``ApiSettings``; ``keys_file`` must be among them, since Serve listens for the whole cluster."""
    log: Text | None = None
    """File of log lines on the head's node; null: `serve/lad_rllib.log` among Ray's logs there."""
    decisions: Text | None = None
    """Folder of the decision log; null: none is kept."""
    timeout_s: Annotated[float, Field(gt=0, le=1e6)] = 3600.0
    """Longest wait for the servers to be warm, machines that an autoscaler brings among them [s]."""

    def settings(self) -> ApiSettings:
        """Limits and defaults of the API.

        Raises:
            ConfigurationError: for a field that does not fit, or without keys.
        """
        settings = declared(ApiSettings, self.api, "api.")
        if settings.keys_file is None:
            raise ConfigurationError("api.keys_file is missing; name the file of the API keys that are let in")
        return settings


def application(args: dict[str, Any]) -> serve.Application:
    """Start the fleet, and make the ingress that stands in front of it on the head's node.

    The servers stay with the cluster: deployed again with other ``args``, the service keeps the fleet that it has,
    which ``lad-rllib serve add`` and ``remove`` change, and takes new limits and files.

    Args:
        args: Fields of :class:`ApplicationFields`.

    Raises:
        ConfigurationError: for what cannot be served.
        EdgeError: if a server cannot be started.
    """
    fields = declared(ApplicationFields, args, "args.")
    settings, spec, scheduler = fields.settings(), load_fleet(fields.fleet), named_policy(fields.policy)
    keeper = named_keeper(fields.policy, scheduler, lasts=True)
    asked(keeper.start_once.remote(spec, fields.timeout_s, fields.servers))
    return ingress_application(keeper, settings, ServiceFiles(log=fields.log, decisions=fields.decisions), HEAD_NODE)
