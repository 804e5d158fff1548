"""``lad-rllib fleet``: checks a fleet's file, starts the fleet on a cluster, shows how it is, ends it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from lad_rllib.edge import EdgeError, ServerStatus
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet import SHIPPED_FLEETS, FleetSpec, ServerSpec, load_fleet
from lad_rllib.runs import cluster
from lad_rllib.runs.fleet_options import FleetFileOptions, FleetListOptions, FleetUpOptions
from lad_rllib.runs.tables import print_json, print_table


def _spec(options: FleetFileOptions) -> FleetSpec:
    if options.file is None:
        raise ConfigurationError(f"a FILE is missing: give a fleet file, or one of {', '.join(SHIPPED_FLEETS)}")
    return load_fleet(options.file)


def _connect(address: str | None) -> None:
    """Join a cluster that outlives this command."""
    cluster.connect(address or os.environ.get("RAY_ADDRESS") or "auto")


def check(options: FleetFileOptions, *, as_json: bool) -> int:
    """Show what a fleet file means, without starting anything."""
    spec = _spec(options)
    servers = [_described(spec, index) for index in range(len(spec.servers))]
    if as_json:
        print_json(servers)
        return 0
    scale = "" if spec.time_scale == 1 else f", {spec.time_scale:g} wall seconds a second"
    rows = []
    for server in servers:
        needs = [f"{name} {amount:g}" for name, amount in server["resources"].items()]
        needs += [f"{label}: {value}" for label, value in server["labels"].items()]
        gpus = f", {server['num_gpus']:g} GPU" if server["num_gpus"] else ""
        rows.append(
            {
                "server": server["server"],
                "engine": f"{server['kind']} {server['engine']}",
                "reserves": f"{server['num_cpus']:g} CPU{gpus}",
                "node": ", ".join(needs) or spec.placement,
                "Mbit/s": _number(server["link_rate_mbit_per_s"]),
                "station": _number(server["station"]),
            }
        )
    print_table(f"{spec.name}: {len(servers)} servers, {spec.stations} base stations{scale}{spec.order_note}", rows)
    return 0


def _described(spec: FleetSpec, index: int) -> dict[str, Any]:
    server = spec.servers[index]
    return {
        "server": server.name,
        "kind": server.kind,
        "engine": server.engine_name,
        "num_cpus": server.num_cpus,
        "num_gpus": server.num_gpus,
        "resources": dict(server.resources),
        "labels": dict(server.labels),
        "placement": spec.placement,
        "link_rate_mbit_per_s": server.link_rate_mbit_per_s,
        "station": spec.home_station(index),
        "order": server.order,
    }


def _number(value: float | None, digits: int = 6) -> str:
    return "–" if value is None else f"{value:.{digits}g}"


def up(options: FleetUpOptions) -> int:
    """Start a fleet; returns when every server is warm."""
    from lad_rllib.fleet import Fleet

    spec = _spec(options)
    _connect(options.address)
    fleet = Fleet.start(
        spec, shared=True, timeout_s=options.timeout, report=lambda name, state: print(f"{name}: {state}", flush=True)
    )
    print(f"fleet {spec.name} is up: {len(fleet.servers)} servers are warm{spec.order_note}; Fleet.attach finds them")
    return 0


def down(options: FleetFileOptions) -> int:
    """End a fleet."""
    from lad_rllib.fleet.fleet import end_shared

    spec = _spec(options)
    _connect(options.address)
    ended = end_shared(spec)
    if not ended:
        raise ConfigurationError(f"fleet {spec.name} does not run here")
    print(f"fleet {spec.name} is down: ended {', '.join(ended)}")
    return 0


def status(options: FleetFileOptions, *, as_json: bool) -> int:
    """Show how every server is; returns 1 unless all are healthy."""
    spec = _spec(options)
    _connect(options.address)
    servers = [_seen(spec, server) for server in spec.servers]
    if as_json:
        print_json(servers)
    else:
        print_table(f"fleet {spec.name}{spec.order_note}", [_status_row(server) for server in servers])
    return 0 if all(server["healthy"] for server in servers) else 1


def _status_row(server: Mapping[str, Any]) -> dict[str, str]:
    runs = server["running_task_id"] is not None
    return {
        "server": server["server"],
        "state": server["state"],
        "waiting": _number(server["tasks_queued"]),
        "work [s]": _number(server["work_queued_s"], 3),
        "step": f"{server['running_step']}/{server['running_steps']}" if runs else "–",
        "served": _number(server["tasks_served"]),
        "failed": _number(server["tasks_failed"]),
        "health": "–" if server["health"] == server["state"] else server["health"],
    }


def _seen(spec: FleetSpec, server: ServerSpec) -> dict[str, Any]:
    """What a server says of itself; None where it says nothing."""
    from lad_rllib.fleet.hosts import find_shared

    named = {"server": server.name, "engine": server.engine_name}
    silent = named | dict.fromkeys(field.name for field in fields(ServerStatus) if field.name != "name")
    found = find_shared(spec, server)
    if found is None:
        return silent | {"state": "not running", "healthy": False, "health": "not running"}
    try:
        own_status, health, engine = found.status().to_dict(), found.health(), found.describe()
    except EdgeError as error:
        return silent | {"state": "no answer", "healthy": False, "health": str(error)}
    if server.in_real_time:
        named["engine"] += f" on {engine.device}, {engine.dtype}"
    del own_status["name"]
    return named | own_status | {"healthy": health.healthy, "health": "healthy" if health.healthy else health.reason}


def list_fleets(options: FleetListOptions, *, as_json: bool) -> int:
    """Show the shipped fleets, and those that run on the cluster."""
    running = _running_fleets(options)
    fleets = [_shipped(name, running) for name in SHIPPED_FLEETS]
    if as_json:
        others = sorted(item for item in (running or {}).items() if item[0] not in SHIPPED_FLEETS)
        own = {"shipped": False, "time_scale": None, "servers": None}
        print_json([*fleets, *({"fleet": name, **own, "servers_running": number} for name, number in others)])
        return 0
    rows = [
        {
            "fleet": fleet["fleet"],
            "servers": "\n".join(f"{number} x {engine}" for engine, number in fleet["servers"].items()),
            "time scale": f"{fleet['time_scale']:g}",
        }
        for fleet in fleets
    ]
    print_table("shipped fleets", rows)
    if running is None:
        print("those that run: give the --address of a cluster to see them")
    else:
        lines = [f"{name} ({number} servers)" for name, number in sorted(running.items())]
        print(f"those that run: {', '.join(lines) or 'none'}")
    return 0


def _shipped(name: str, running: Mapping[str, int] | None) -> dict[str, Any]:
    spec = load_fleet(name)
    return {
        "fleet": name,
        "shipped": True,
        "time_scale": spec.time_scale,
        "servers": Counter(f"{server.kind} {server.engine_name}" for server in spec.servers),
        "servers_running": None if running is None else running[name],
    }


def _running_fleets(options: FleetListOptions) -> Counter[str] | None:
    """Number of servers of each fleet that runs on the cluster; None if no cluster was named."""
    import ray
    from ray.util import list_named_actors

    from lad_rllib.fleet.hosts import NAMESPACE

    if options.address or os.environ.get("RAY_ADDRESS"):
        _connect(options.address)
    elif not ray.is_initialized():
        return None
    actors = [actor["name"] for actor in list_named_actors(all_namespaces=True) if actor["namespace"] == NAMESPACE]
    return Counter(name.partition("/")[0] for name in actors)
