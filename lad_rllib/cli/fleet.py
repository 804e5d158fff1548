"""``lad-rllib fleet``: check a fleet's file, start the fleet on a cluster, see how it is, end it."""

from __future__ import annotations

import argparse
import os
from collections import Counter

from rich.console import Console
from rich.table import Table

from lad_rllib.cli import cluster
from lad_rllib.edge import EdgeError
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet import SHIPPED_FLEETS, DiffusersServer, EmulatedServer, FleetSpec, load_fleet


def run(parsed: argparse.Namespace) -> int:
    """Do one action; returns the exit status."""
    if parsed.action == "list":
        return _list(parsed)
    if parsed.file is None:
        raise ConfigurationError(f"{parsed.action} needs a FILE: a fleet file, or one of {', '.join(SHIPPED_FLEETS)}")
    if not parsed.timeout > 0:
        raise ConfigurationError(f"--timeout must be positive, got {parsed.timeout:g}")
    spec = load_fleet(parsed.file)
    actions = {"up": _up, "status": _status, "down": _down, "check": _check}
    try:
        return actions[parsed.action](spec, parsed)
    except EdgeError as error:
        raise ConfigurationError(str(error)) from error


def _connect(address: str | None) -> None:
    """Join a cluster that outlives this command."""
    cluster.connect(address or os.environ.get("RAY_ADDRESS") or "auto")


def _check(spec: FleetSpec, parsed: argparse.Namespace) -> int:
    scale = "" if spec.time_scale == 1 else f", {spec.time_scale:g} wall seconds a second"
    table = Table(title=f"{spec.name}: {len(spec.servers)} servers, {spec.stations} base stations{scale}")
    for column in ("server", "kind", "model", "reserves", "runs where", "link [Mbit/s]", "at station"):
        table.add_column(column, no_wrap=column == "server")
    for index, server in enumerate(spec.servers):
        reserves = f"{server.num_cpus:g} CPU" + (f", {server.num_gpus:g} GPU" if server.num_gpus else "")
        needs = [f"{name} {amount:g}" for name, amount in server.resources.items()]
        needs += [f"{label}: {value}" for label, value in server.labels.items()]
        link, station = server.link_rate_mbit_per_s, spec.home_station(index)
        table.add_row(
            server.name,
            server.kind,
            _model_of(server),
            reserves,
            ", ".join(needs) or spec.placement,
            "none" if link is None else f"{link:g}",
            "none" if station is None else str(station),
        )
    Console().print(table)
    return 0


def _model_of(server: EmulatedServer | DiffusersServer) -> str:
    if isinstance(server, EmulatedServer):
        return server.profile.name
    slower = f", {server.least_step_s:g} s a step" if server.least_step_s else ""
    return f"{server.model}, {server.memory_profile}{slower}"


def _up(spec: FleetSpec, parsed: argparse.Namespace) -> int:
    from lad_rllib.fleet import Fleet

    _connect(parsed.address)
    fleet = Fleet.start(
        spec, shared=True, timeout_s=parsed.timeout, report=lambda name, state: print(f"{name}: {state}", flush=True)
    )
    print(f"fleet {spec.name} is up: {len(fleet.servers)} servers are warm; Fleet.attach finds them")
    return 0


def _down(spec: FleetSpec, parsed: argparse.Namespace) -> int:
    from lad_rllib.fleet.fleet import end_shared

    _connect(parsed.address)
    ended = end_shared(spec)
    if not ended:
        raise ConfigurationError(f"fleet {spec.name} does not run here")
    print(f"fleet {spec.name} is down: ended {', '.join(ended)}")
    return 0


def _status(spec: FleetSpec, parsed: argparse.Namespace) -> int:
    _connect(parsed.address)
    table = Table(title=f"fleet {spec.name}")
    columns = ("server", "engine", "state", "waiting", "work [s]", "running", "served", "failed", "delay [s]", "health")
    for column in columns:
        table.add_column(column, no_wrap=column == "server")
    healthy = [_status_row(table, spec, server) for server in spec.servers]
    Console().print(table)
    return 0 if all(healthy) else 1


def _status_row(table: Table, spec: FleetSpec, server: EmulatedServer | DiffusersServer) -> bool:
    """Add one server's row; whether it is healthy."""
    from lad_rllib.fleet.fleet import find_shared

    found = find_shared(spec, server)
    if found is None:
        table.add_row(server.name, _model_of(server), "not running", *[""] * 6, "not running")
        return False
    try:
        status, health, engine = found.status(), found.health(), found.describe()
    except EdgeError as error:
        table.add_row(server.name, _model_of(server), "no answer", *[""] * 6, str(error))
        return False
    running, fit = status.running_task_id, status.fit
    table.add_row(
        server.name,
        f"{_model_of(server)} on {engine.device}, {engine.dtype}" if server.kind == "diffusers" else _model_of(server),
        status.state,
        f"{status.tasks_queued} of {status.queue_limit}",
        "" if status.work_queued_s is None else f"{status.work_queued_s:.3g}",
        f"{running}: step {status.running_step} of {status.running_steps}" if running else "",
        str(status.tasks_served),
        str(status.tasks_failed),
        "" if fit is None else f"{fit.overhead_s:.3g} + {fit.per_step_s:.3g} a step",
        "healthy" if health.healthy else health.reason,
    )
    return health.healthy


def _list(parsed: argparse.Namespace) -> int:
    table = Table(title="fleets that come along")
    for column in ("fleet", "servers", "time scale"):
        table.add_column(column)
    for name in SHIPPED_FLEETS:
        spec = load_fleet(name)
        servers = Counter(f"{server.kind} {_model_of(server)}" for server in spec.servers)
        described = "\n".join(f"{number} x {what}" for what, number in servers.items())
        table.add_row(name, described, f"{spec.time_scale:g}")
    Console().print(table)
    return _list_running(parsed)


def _list_running(parsed: argparse.Namespace) -> int:
    import ray
    from ray.util import list_named_actors

    from lad_rllib.fleet.fleet import NAMESPACE

    if parsed.address or os.environ.get("RAY_ADDRESS"):
        _connect(parsed.address)
    elif not ray.is_initialized():
        print("those that run: name the cluster with --address to see them")
        return 0
    actors = [actor["name"] for actor in list_named_actors(all_namespaces=True) if actor["namespace"] == NAMESPACE]
    running = Counter(name.partition("/")[0] for name in actors)
    lines = [f"{name} ({number} servers)" for name, number in sorted(running.items())]
    print(f"those that run: {', '.join(lines) or 'none'}")
    return 0
