"""Edge servers that are applications of Ray Serve: their client, and what starts and ends them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from typing import Any

import ray
from ray import serve
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import ApplicationStatus, LoggingConfig

from lad_rllib.edge import EdgeError, ModelLoadFailed, ServerClient
from lad_rllib.edge.client import edge_error, unanswered
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet import FleetSpec
from lad_rllib.fleet.hosts import CONTROL_TIMEOUT_S, FleetServer
from lad_rllib.fleet.placement import release, reserve
from lad_rllib.serving.edge_application import DEPLOYMENT, edge_application
from lad_rllib.simulator.order import Order, make_order

PREFIX = "edge-server-"
"""Before a server's name in the name of its application."""

LOOK_S = 1.0
"""Time between two looks whether an application can be deployed [s]."""

DELETE_S = 60.0
"""Longest wait until applications are deleted [s]."""

QUIET = LoggingConfig(log_level="WARNING", enable_access_log=False)


_LOOP = threading.Lock()


def _loop() -> asyncio.AbstractEventLoop:
    """The event loop, in a thread of its own, in which all clients of this process make their calls."""
    with _LOOP:
        return _started_loop()


@functools.cache
def _started_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="calls of applications", daemon=True).start()
    return loop


class ApplicationClient(ServerClient):
    """The client of an edge server that is an application; see :class:`~lad_rllib.edge.client.ServerClient`.

    Args:
        name: Name of the server, for messages.
        application: Name of the application.
        control_timeout_s: See ``ServerClient``.
        order: See ``ServerClient``.
    """

    def __init__(
        self, name: str, application: str, control_timeout_s: float = CONTROL_TIMEOUT_S, order: Order | None = None
    ) -> None:
        self.application = application
        self._connection: DeploymentHandle[Any] | None = None
        self._handles: dict[str, DeploymentHandle[Any]] = {}  # of the methods
        self._looked_s = time.monotonic()
        super().__init__(name, control_timeout_s, order)

    def __reduce__(self) -> tuple[Any, ...]:  # a copy has an order of its own in which it submits
        return ApplicationClient, (self.name, self.application, self.control_timeout_s, self.__dict__.get("order"))

    def call(self, method: str, *arguments: Any, **named: Any) -> Future[Any]:
        """See ``ServerClient``."""
        return asyncio.run_coroutine_threadsafe(self._answer(method, arguments, named), _loop())

    def end(self) -> None:
        """Delete the application."""
        delete([self.application])

    def disconnect(self) -> None:
        """Free what the calls need; there are no more."""
        asyncio.run_coroutine_threadsafe(self._disconnect(), _loop())

    def may_answer_later(self, error: BaseException) -> bool:
        """Whether the application may still be deployed."""
        return False

    def check_starts(self) -> None:
        """Raise if Serve has given the application up."""
        if time.monotonic() - self._looked_s < LOOK_S:
            return
        self._looked_s = time.monotonic()
        application = serve.status().applications.get(self.application)
        if application is not None and application.status == ApplicationStatus.DEPLOY_FAILED:
            said = [deployment.message for deployment in application.deployments.values()]
            lines = [line for line in "\n".join([application.message, *said]).splitlines() if line.strip()]
            reason = lines[-1].strip().removeprefix(f"{ModelLoadFailed.__module__}.{ModelLoadFailed.__name__}: ")
            raise ModelLoadFailed(f"server {self.name}: {reason}", server=self.name)

    def error_of(self, error: BaseException) -> EdgeError:
        """See ``ServerClient``; whatever Serve itself says is that the server does not answer."""
        if isinstance(error, (RayServeException, CancelledError, asyncio.CancelledError)):
            return unanswered(error, self.name)
        return edge_error(error, self.name)

    async def _answer(self, method: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        response = self._handle(method).remote(*arguments, **named)
        try:
            return await response
        except asyncio.CancelledError:
            response.cancel()
            raise

    async def _disconnect(self) -> None:
        connection, self._connection, self._handles = self._connection, None, {}
        if connection is not None:
            await connection.shutdown_async()

    def _handle(self, method: str) -> DeploymentHandle[Any]:
        """A handle of a method, which routes calls in the loop that they are made in; all share a router.

        Calls go over gRPC, with one answer each; as calls of an actor each would be a stream of two.
        """
        if self._connection is None:
            self._connection = DeploymentHandle(DEPLOYMENT, self.application)
            self._connection._init(_run_router_in_separate_loop=False)
        if method not in self._handles:
            self._handles[method] = self._connection.options(method_name=method, _by_reference=False)
        return self._handles[method]


def deploy(targets: Sequence[serve.RunTarget]) -> None:
    """Deploy applications together, without waiting until they run.

    They are deployed when Serve looks whether its proxies know them. On a busy machine a proxy may take longer than
    Serve waits; it starts none the less, and who needs it waits for its answer.
    """
    with contextlib.suppress(TimeoutError):
        serve.run_many(targets, wait_for_applications_running=False)


def delete(applications: Sequence[str]) -> None:
    """Delete applications together, and return when they are gone; those that are not there are left out."""
    with contextlib.suppress(RayServeException, ray.exceptions.RayError):  # Serve has ended
        for application in applications:
            serve.delete(application, _blocking=False)
        limit = time.monotonic() + DELETE_S
        while set(applications) & serve.status().applications.keys() and time.monotonic() < limit:
            time.sleep(DELETE_S / 300)


def delete_left_over() -> None:
    """Delete the servers of a service that was killed."""
    delete([name for name in serve.status().applications if name.startswith(PREFIX)])


class ApplicationHost:
    """Starts each server as an application of its own, so that one is added or ended without touching the others.

    Serve must run. It places each application by itself, on a node with the server's resources and labels.
    """

    def start(self, spec: FleetSpec, indices: Sequence[int]) -> list[FleetServer]:
        """See :class:`~lad_rllib.fleet.hosts.ServerHost`."""
        if spec.placement.startswith("strict"):
            raise ConfigurationError(
                f"fleet {spec.name}: placement {spec.placement} is not for applications of Ray Serve, which are placed "
                "one by one; pin servers by resources or labels, or take --servers actors"
            )
        wanted = spec.model_copy(update={"servers": tuple(spec.servers[index] for index in indices)})
        release(reserve(wanted, False))  # says what no node offers; Serve would wait for ever
        names = [spec.servers[index].name for index in indices]
        deploy(
            [
                serve.RunTarget(edge_application(spec, index), PREFIX + name, route_prefix=None, logging_config=QUIET)
                for index, name in zip(indices, names, strict=True)
            ]
        )
        return [
            ApplicationClient(name, PREFIX + name, order=make_order(spec.servers[index].order))
            for index, name in zip(indices, names, strict=True)
        ]

    def end(self, servers: Sequence[FleetServer]) -> None:
        """See :class:`~lad_rllib.fleet.hosts.ServerHost`."""
        clients = [server for server in servers if isinstance(server, ApplicationClient)]
        delete([client.application for client in clients])
        for client in clients:
            client.disconnect()

    def close(self) -> None:
        """See :class:`~lad_rllib.fleet.hosts.ServerHost`."""
