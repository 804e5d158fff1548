"""``lad-rllib serve``: runs a service in the foreground, and shows and changes one that runs."""

from __future__ import annotations

import json
import threading

from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet import load_fleet
from lad_rllib.runs import signals
from lad_rllib.runs.progress import SaysWhen
from lad_rllib.runs.serve_options import (
    AddOptions,
    GrafanaOptions,
    ServeOptions,
    ServerOptions,
    ServiceOptions,
    SwapOptions,
    TryOptions,
)
from lad_rllib.runs.service_client import ServiceClient
from lad_rllib.runs.tables import print_json, print_table

_TRY = """\
{policy} sends requests to {servers} servers of fleet {fleet}
images:  {url}/v1/images/generations
try it:  curl {url}/v1/images/generations -H 'content-type: application/json'{key} -d '{{"prompt": "a red seven"}}'
page:    {url}/
servers: lad-rllib serve status{where}
metrics: {metrics}
end it:  Ctrl-C"""


def run(options: ServeOptions) -> int:
    """Serve until a signal."""
    say = SaysWhen()
    say("loading Ray Serve and PyTorch")
    from lad_rllib.runs.serve import running_service

    try:
        with running_service(options, say) as service:
            say("ready")
            where = "" if options.port == 8000 else f" --url {service.url}"
            key = "" if options.keys is None else " -H 'authorization: Bearer KEY'"
            state = service.state
            print(
                _TRY.format(
                    policy=state.policy,
                    servers=len(state.servers),
                    fleet=state.spec.name,
                    url=service.url,
                    key=key,
                    where=where,
                    metrics=service.metrics_url,
                ),
                flush=True,
            )
            threading.Event().wait()
    except signals.Interrupted as interruption:
        raise signals.Interrupted(interruption.number, "the service has ended") from None
    return 0


def status(options: ServiceOptions, *, as_json: bool) -> int:
    """Show the servers of a running service; returns 1 unless all are up."""
    fleet = ServiceClient(options.url).fleet()
    servers = fleet["servers"]
    if as_json:
        print_json([fleet])
    else:
        rows = [
            {
                "server": server["name"],
                "kind": server["kind"],
                "state": server["state"],
                "requests": str(server["tasks"]),
                "work [s]": f"{server['queue_s']:.3g}",
                "over expected": f"{server['over_expected']:.2f}",
                "reason": server["reason"],
            }
            for server in servers
        ]
        print_table(f"{options.url}: {fleet['policy']} decides", rows)
        for line in _told(ServiceClient(options.url)):
            print(line)
    return 0 if all(server["state"] == "up" for server in servers) else 1


def _told(client: ServiceClient) -> list[str]:
    """What is tried, and what the latest look at the policy in charge says; nothing without the right to see it."""
    try:
        policies = client.policies()
    except ConfigurationError:  # it takes a key with admin
        return []
    trial, look = policies["trial"], policies["look"]
    lines = [f"tried: {trial['policy']}, {trial['stage']}; {trial['why']}"] if trial else []
    if look:
        lines.append(f"the latest {look['requests']} requests, replayed: {look['why']}")
    return lines


def history(options: ServiceOptions, *, as_json: bool) -> int:
    """Show what became of policies."""
    records = ServiceClient(options.url).policies()["records"]
    if as_json:
        print_json(records)
    else:
        rows = [{key: str(record[key]) for key in ("time", "event", "policy", "why")} for record in records]
        print_table(f"{options.url}: policies", rows)
    return 0


def try_policy(options: TryOptions) -> int:
    """Try a policy on live requests, or end that."""
    client = ServiceClient(options.url)
    if options.policy is None:
        client.stop_trial()
        print("the trial has ended; the policy in charge stays")
    else:
        client.try_policy(options.policy)
        print(f"{options.policy} is tried; 'lad-rllib serve status' tells how it does")
    return 0


def add(options: AddOptions) -> int:
    """Let the servers of a fleet file join."""
    client = ServiceClient(options.url)
    for server in load_fleet(_given(options.file, "FILE", "a fleet file")).servers:
        client.add(server.to_dict())
        print(f"{server.name} has joined", flush=True)
    return 0


def drain(options: ServerOptions) -> int:
    """Send a server nothing new."""
    name = _given(options.name, "NAME", "the name of a server")
    ServiceClient(options.url).drain(name)
    print(f"{name} drains; 'lad-rllib serve remove {name}' ends it")
    return 0


def remove(options: ServerOptions) -> int:
    """End a server."""
    name = _given(options.name, "NAME", "the name of a server")
    ServiceClient(options.url).remove(name)
    print(f"{name} has left")
    return 0


def swap(options: SwapOptions) -> int:
    """Let another policy decide."""
    policy = _given(options.policy, "NAME|DIR", "a scheduler of requests or a checkpoint")
    print(f"{ServiceClient(options.url).swap(policy)} decides from now on")
    return 0


def grafana(options: GrafanaOptions) -> int:  # noqa: ARG001
    """Print the dashboard."""
    from lad_rllib.serving.dashboard import dashboard

    print(json.dumps(dashboard(), indent=2))
    return 0


def _given(value: str | None, what: str, meaning: str) -> str:
    if value is None:
        raise ConfigurationError(f"{what} is missing: give {meaning}")
    return value
