"""What the commands of a running service may be told; see :mod:`lad_rllib.runs.options`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lad_rllib import names
from lad_rllib.runs.fleet_options import ActorFleetOptions
from lad_rllib.runs.options import REQUEST_SCHEDULERS, Duration, Options, Positive, option

KEY_VARIABLE = "LAD_RLLIB_API_KEY"
"""Environment variable that holds the API key of commands that change a service."""

Port = Annotated[int, Field(ge=1, le=65535)]


class ServeOptions(ActorFleetOptions):
    """A service in front of a fleet."""

    title = "service"

    checkpoint: str | None = option(
        None, f"trained policy of lad-dispatch that decides, or one of {', '.join(names.SHIPPED_POLICIES)}", "DIR|NAME"
    )
    scheduler: Literal[REQUEST_SCHEDULERS] | None = option(  # type: ignore[valid-type]
        None, "scheduler without training that decides (default: the policy any-fleet)"
    )
    servers: names.ServerHosts = option(
        "actors", "what the servers are: Ray actors, or applications of Ray Serve, one each"
    )
    host: str = option("127.0.0.1", "address to listen on; any but this machine's own needs --keys", "ADDR")
    port: Port = option(8000, "port to listen on", "PORT")
    haproxy: bool = option(
        False, "HAProxy before the API instead of Ray Serve's Python proxy: faster; with a Ray of this machine's own"
    )
    keys: str | None = option(None, "API keys that are let in (default: everyone on this machine is)", "FILE")
    api_settings: str | None = option(
        None, "limits and defaults of the HTTP API, a YAML file with what is to be other than usual", "FILE"
    )
    log: str | None = option(None, "add log lines to this file, a JSON object each", "FILE")
    decisions: str | None = option(None, "keep a decision log, which train and evaluate take as --arrivals", "DIR")
    jobs: str | None = option(
        None, "keep jobs and their images in this file, to go on with when the service is started again", "FILE"
    )
    improve_every: Duration | None = option(
        None,
        "look for a better policy so often in what --decisions has, in a process that gives way to the service, and "
        f"try it: 6h; with --keys it needs a key with admin in {KEY_VARIABLE}",
        "TIME",
    )
    improve_settings: str | None = option(
        None, "how much --improve-every learns from and judges, a YAML file with options of improve: hours: 12", "FILE"
    )
    canary_share: Annotated[float, Field(gt=0, le=0.5)] | None = option(
        None, "share of the requests for which a policy that is tried decides, after it did in shadow (0.1)", "X"
    )
    go_back_after: Duration | None = option(
        None,
        "longest time for which the policy in charge may be worse than least work left, or than the policy before it, "
        "would have been (10m)",
        "TIME",
    )
    timeout: Positive = option(600.0, "longest wait for models to load [s]", "S")


class ServiceOptions(Options):
    """Which running service."""

    title = "service"

    url: str = option("http://127.0.0.1:8000", f"where it listens; a key with admin is read from {KEY_VARIABLE}", "URL")


class AddOptions(ServiceOptions):
    """Servers that join."""

    title = "servers"

    file: str | None = option(None, "fleet file whose servers join", "FILE", positional=True)


class ServerOptions(ServiceOptions):
    """One server."""

    title = "server"

    name: str | None = option(None, "name of the server", "NAME", positional=True)


class TryOptions(ServiceOptions):
    """What is tried."""

    title = "policy"

    policy: str | None = option(None, "as of swap; without it, the trial ends", "NAME|DIR", positional=True)


class SwapOptions(ServiceOptions):
    """What decides."""

    title = "policy"

    policy: str | None = option(
        None, "scheduler of requests, or folder of a checkpoint where the service runs", "NAME|DIR", positional=True
    )


class GrafanaOptions(Options):
    """A dashboard."""

    title = "dashboard"
