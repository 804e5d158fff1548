"""An edge server as an application of Ray Serve: one deployment with one replica, without a route of its own.

A call over a handle may overtake another one; a client numbers its calls, and those that overtook others wait for their
turn, as with actors. All of them run in one event loop, so a waiting task takes no thread.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from ray import serve

from lad_rllib.edge import Engine, ModelLoadFailed
from lad_rllib.edge.hosted import GROUPS, OWN_CONTROL, TURN_WAIT_S, HostedServer
from lad_rllib.edge.record import TaskResult
from lad_rllib.edge.recovery import end_process
from lad_rllib.edge.task import ImageTask
from lad_rllib.fleet import FleetSpec
from lad_rllib.fleet.hosts import server_settings
from lad_rllib.serving.own_address import listen_on_own_address

DEPLOYMENT = "edge-server"
"""Name of the deployment in each of these applications."""

MAX_ONGOING = 10_000
"""Calls that Serve lets in at once, questions among them; the server's own queue limit is lower."""

HEALTH_S, HEALTH_TIMEOUT_S, SHUTDOWN_S = 1.0, 10.0, 2.0
"""Time between two health checks by Serve, the longest one, and the time that a server has to end [s]."""

STARTS = 3
"""Attempts to start a server that never ran; one that did is started again for as long as it takes."""

LOOK_S = 0.05
"""Time between two looks whether the model is loaded [s]."""


class EdgeApplication(HostedServer):
    """An edge server in a replica of Serve, whose constructor returns when the server is warm.

    Serve starts it again if its process is lost, if it has failed for good, or if its running task is stuck.

    Args:
        name: Name of the server.
        make_engine: Builds the engine.
        settings: Arguments of :class:`~lad_rllib.edge.server.EdgeServer`.

    Raises:
        ModelLoadFailed: if the model cannot be loaded.
    """

    def __init__(self, name: str, make_engine: Callable[[], Engine], settings: dict[str, Any]) -> None:
        listen_on_own_address()
        super().__init__(name, make_engine(), make_engine=make_engine, restart=end_process, **settings)
        self._turn = asyncio.Condition()
        while (status := self._server.status()).state == "starting":
            time.sleep(LOOK_S)
        if status.state == "failed":
            self._server.close()
            raise ModelLoadFailed(status.reason)

    async def serve(self, client: str, number: int, task: ImageTask, since: float = 0.0) -> TaskResult:
        """Queue a client's task in the order of its numbers, and wait for the image.

        Arguments as of :class:`~lad_rllib.edge.remote.EdgeServerActor`. The task is cancelled if the call is.
        """
        self.check_meant(since)
        async with self._turn:
            try:
                async with asyncio.timeout(TURN_WAIT_S):
                    await self._turn.wait_for(lambda: self.is_turn(client, number))
            except TimeoutError:
                pass  # the calls before are lost
            future = self._server.submit(task)
            self.end_turn(client, number)
            self._turn.notify_all()
        with self._leases.hold(client.partition("/")[0], task.task_id):
            try:
                return await asyncio.wrap_future(future)
            except asyncio.CancelledError:
                self._server.cancel(task.task_id)
                raise

    async def check_health(self) -> None:
        """Serve starts the server again if this raises: it does not get over its state by itself."""
        health, state = self._server.health(), self._server.status().state
        if state == "failed" or (state == "ready" and not health.healthy):
            raise RuntimeError(health.reason)

    def __del__(self) -> None:
        """Serve ends the server."""
        if hasattr(self, "_server"):  # else the engine could not be built
            self._server.close(SHUTDOWN_S / 2)


def _at_once(name: str) -> None:
    """Have the application call a method in its event loop."""
    plain = getattr(HostedServer, name)

    @functools.wraps(plain)
    async def method(application: EdgeApplication, *arguments: Any, **named: Any) -> Any:
        return plain(application, *arguments, **named)

    setattr(EdgeApplication, name, method)


def _in_thread(name: str) -> None:
    """Have the application call a method in a thread."""
    plain = getattr(HostedServer, name)

    @functools.wraps(plain)
    async def method(application: EdgeApplication, *arguments: Any, **named: Any) -> Any:
        return await asyncio.to_thread(plain, application, *arguments, **named)

    setattr(EdgeApplication, name, method)


for _name in (*GROUPS["control"], *OWN_CONTROL):
    _at_once(_name)
for _name in GROUPS["life"]:
    _in_thread(_name)


def edge_application(spec: FleetSpec, index: int) -> serve.Application:
    """A server of a fleet as an application: its resources, GPUs and labels, its model, and its settings.

    Args:
        spec: The fleet.
        index: Position of the server.
    """
    server = spec.servers[index]
    deployment = serve.deployment(
        name=DEPLOYMENT,
        num_replicas=1,
        max_ongoing_requests=MAX_ONGOING,
        health_check_period_s=HEALTH_S,
        health_check_timeout_s=HEALTH_TIMEOUT_S,
        graceful_shutdown_wait_loop_s=SHUTDOWN_S / 10,
        graceful_shutdown_timeout_s=SHUTDOWN_S,
        max_constructor_retry_count=STARTS,
        ray_actor_options={
            "num_cpus": server.num_cpus,
            "num_gpus": server.num_gpus,
            "resources": server.resources,
            "label_selector": server.labels,
        },
    )(EdgeApplication)
    return deployment.bind(server.name, partial(server.make_engine, spec.time_scale), server_settings(spec, index))
