"""Measuring the speed of every server without the measurements disturbing one another."""

from __future__ import annotations

import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from lad_rllib.edge import EdgeServer, ImageTask, ServerClient, TaskRecord
from lad_rllib.fleet.spec import FleetSpec

Server = EdgeServer | ServerClient
Size = tuple[int, int]
"""Width and height [pixel]."""
Result = TypeVar("Result")


def measure_each(spec: FleetSpec, servers: Sequence[Server], measure: Callable[[Server], Result]) -> list[Result]:
    """Measure every server: emulated ones together, then those in real time, on each node one after the other.

    Args:
        spec: The fleet.
        servers: Its servers, in their order.
        measure: Called with each, from a thread of its own.
    """
    busy: dict[str, threading.Lock] = defaultdict(threading.Lock)  # of each node

    def alone(index: int) -> Result:
        if index not in nodes:
            return measure(servers[index])
        with busy[nodes[index]]:
            return measure(servers[index])

    indices = range(len(servers))
    nodes = {index: _node_of(servers[index]) for index in indices if spec.servers[index].in_real_time}
    emulated = [index for index in indices if index not in nodes]
    results: dict[int, Result] = {}
    for together in (emulated, list(nodes)):
        with ThreadPoolExecutor(max(1, len(together))) as pool:
            results |= dict(zip(together, pool.map(alone, together), strict=True))
    return [results[index] for index in indices]


def measured_images(server: Server, images: Sequence[tuple[int, Size | None]]) -> Iterator[TaskRecord]:
    """Images of the given steps and sizes, one after the other, queued like any task; the first is on top."""
    for number, (steps, size) in enumerate([images[0], *images]):
        width, height = size or (None, None)
        result = server.generate(ImageTask(f"measure-{uuid.uuid4().hex}", "a grey cat", steps, width, height))
        if number > 0:  # the first finds caches and clocks cold
            yield result.record


def _node_of(server: Server) -> str:
    """Id of the node that a server runs on; empty for this process."""
    return "" if isinstance(server, EdgeServer) else server.node()
