"""From a server's description to its engine; called in the process that is to compute."""

from __future__ import annotations

from functools import partial
from typing import Any

from lad_rllib.edge import EdgeServer, EmulatedEngine, Engine, PacedEngine, embedded_model_path
from lad_rllib.fleet.server_spec import EMBEDDED, DiffusersServer, EmulatedServer
from lad_rllib.fleet.spec import FleetSpec


def make_engine(server: EmulatedServer | DiffusersServer, time_scale: float) -> Engine:
    """The engine of a server.

    Args:
        server: The server.
        time_scale: Wall seconds per second of an emulated server; a real one always has 1.

    Raises:
        ConfigurationError: for a device or memory profile that this machine does not have.
    """
    if isinstance(server, EmulatedServer):
        return EmulatedEngine(
            server.profile,
            time_scale=time_scale,
            seed=server.seed,
            cold_start=server.cold_start,
            make_png=server.make_png,
        )
    engine = _diffusers_engine(server)
    return PacedEngine(engine, server.least_step_s) if server.least_step_s else engine


def _diffusers_engine(server: DiffusersServer) -> Engine:
    from lad_rllib.edge import DiffusersEngine

    return DiffusersEngine(
        embedded_model_path() if server.model == EMBEDDED else server.model,
        dtype=server.dtype,
        device=server.device,
        memory_profile=server.memory_profile,
        guidance=server.guidance,
        negative_prompt=server.negative_prompt,
        width=server.width,
        height=server.height,
        max_sequence_length=server.max_sequence_length,
    )


def server_settings(spec: FleetSpec, index: int) -> dict[str, Any]:
    """Arguments of :class:`~lad_rllib.edge.EdgeServer` for one server, besides name and engine."""
    server = spec.servers[index]
    return {
        "queue_limit": server.queue_limit,
        "link_rate_mbit_per_s": server.link_rate_mbit_per_s,
        "home_station": spec.home_station(index),
        "allowed_sizes": _pairs(server.allowed_sizes),
        "warm_up_sizes": _pairs(server.warm_up_sizes),
        "stall_s": server.stall_s,
    }


def _pairs(sizes: list[list[int]] | None) -> list[tuple[int, int]] | None:
    return None if sizes is None else [(width, height) for width, height in sizes]


def start_here(spec: FleetSpec, index: int) -> EdgeServer:
    """One server in this process; its model is loaded by a thread of its own."""
    server = spec.servers[index]
    build = partial(make_engine, server, spec.time_scale)
    return EdgeServer(server.name, build(), make_engine=build, **server_settings(spec, index))
