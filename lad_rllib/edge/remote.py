"""A client that talks to an edge server on another node as if it were a local one, and finds the names of errors."""

from __future__ import annotations

import contextlib
import itertools
import threading
import uuid
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import ray

from lad_rllib.edge.actor import GROUPS
from lad_rllib.edge.engines.engine import EngineDescription
from lad_rllib.edge.errors import EdgeError, GenerationFailed, ServerUnavailable, TaskCancelled, one_line
from lad_rllib.edge.failures import failure_kind
from lad_rllib.edge.fit import DelayFit
from lad_rllib.edge.leases import Heartbeat
from lad_rllib.edge.record import TaskResult
from lad_rllib.edge.status import ServerHealth, ServerStatus, TaskProgress
from lad_rllib.edge.task import ImageTask

_HEARTBEAT = Heartbeat()
"""Says to all servers with tasks of this process that it is there."""


def edge_error(error: BaseException, server: str | None = None) -> EdgeError:
    """Any error of a call to an edge server under one of the room's names.

    Errors that the server raised keep their name; a lost process or node, a timeout of ``ray.get`` and a closed
    connection are ``ServerUnavailable`` (retryable: the task may or may not have been executed).
    """
    if isinstance(error, ray.exceptions.RayTaskError):
        error = error.cause if isinstance(error.cause, Exception) else error
    if isinstance(error, EdgeError):
        return error
    if isinstance(error, ray.exceptions.TaskCancelledError):
        return TaskCancelled("the call to the server was cancelled", server=server)
    lost = (ray.exceptions.RayError, ConnectionError, TimeoutError)
    if isinstance(error, lost) and not isinstance(error, ray.exceptions.RayTaskError):
        message = f"edge server {server or ''} does not answer ({one_line(error)}); send the task to another server"
        return ServerUnavailable(message, server=server)
    return (failure_kind(error) or GenerationFailed)(one_line(error), server=server)


class RemoteEdgeServer:
    """A client with the methods of ``EdgeServer``, for an actor on any node. Errors are ``EdgeError`` by name.

    Tasks stay in the order in which they were handed in, until a call finds no server: it may have restarted then, and
    the order begins anew.

    Args:
        name: Name of the server, for messages.
        actor: Handle from :func:`~lad_rllib.edge.actor.edge_server_actor`.
        control_timeout_s: Longest wait for an answer to a question [s]: Ray itself takes up to a minute to notice a
            lost node. Beyond it, ``ServerUnavailable``.
    """

    def __init__(self, name: str, actor: Any, control_timeout_s: float = 5.0) -> None:
        self.name = name
        self.actor = actor
        self.control_timeout_s = control_timeout_s
        self._order = threading.Lock()
        self._holder, self._orders = uuid.uuid4().hex, itertools.count()
        self._begin_order()

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteEdgeServer, (self.name, self.actor, self.control_timeout_s)  # a copy has an order of its own

    def submit(self, task: ImageTask) -> Future[TaskResult]:
        """Hand in a task; the future fails with a named ``EdgeError``."""
        result: Future[TaskResult] = Future()
        result.set_running_or_notify_cancel()

        def forward(answer: Future[TaskResult]) -> None:
            _HEARTBEAT.end(self._holder)
            error = answer.exception()
            if error is None:
                result.set_result(answer.result())
            else:
                result.set_exception(self._named(error))

        _HEARTBEAT.begin(self._holder, self._beat)
        try:
            with self._order:
                answer = self.actor.serve.remote(self._client, self._number, task)
                self._number += 1
            answer.future().add_done_callback(forward)
        except Exception as error:
            _HEARTBEAT.end(self._holder)
            result.set_exception(self._named(error))
        return result

    def _beat(self) -> None:
        """Tell the server that somebody waits for its images; one that is lost is found out otherwise."""
        with contextlib.suppress(Exception):
            self.actor.beat.remote(self._holder)

    def _begin_order(self) -> None:
        """Number tasks from 0, under a name that the server has not met."""
        with self._order:
            self._client, self._number = f"{self._holder}/{next(self._orders)}", 0

    def _named(self, error: BaseException) -> EdgeError:
        """The error by its name; one that the server did not raise itself may mean that it has forgotten the order."""
        named = edge_error(error, self.name)
        if isinstance(named, ServerUnavailable) and not isinstance(error, ray.exceptions.RayTaskError):
            self._begin_order()
        return named

    def generate(self, task: ImageTask) -> TaskResult:
        """Hand in a task and wait for its image, however long; raises a named ``EdgeError``."""
        return self.submit(task).result()

    def cancel(self, task_id: str) -> bool:
        """As ``EdgeServer.cancel``."""
        return self._ask("cancel", task_id)

    def status(self) -> ServerStatus:
        """As ``EdgeServer.status``."""
        return self._ask("status")

    def progress(self, task_id: str) -> TaskProgress:
        """As ``EdgeServer.progress``."""
        return self._ask("progress", task_id)

    def health(self) -> ServerHealth:
        """As ``EdgeServer.health``; a server that does not answer is not healthy."""
        try:
            return self._ask("health")
        except ServerUnavailable as error:
            return ServerHealth(False, str(error), 0.0)

    def describe(self) -> EngineDescription:
        """As ``EdgeServer.describe``."""
        return self._ask("describe")

    def fit(self, size: tuple[int, int] | None = None) -> DelayFit | None:
        """As ``EdgeServer.fit``."""
        return self._ask("fit", size)

    def predict_computing_s(self, task: ImageTask) -> float | None:
        """As ``EdgeServer.predict_computing_s``."""
        return self._ask("predict_computing_s", task)

    def warm_up(self, sizes: Sequence[tuple[int, int]] | None = None) -> None:
        """As ``EdgeServer.warm_up``."""
        self._ask("warm_up", sizes)

    def profile(self, *arguments: Any, **named: Any) -> DelayFit:
        """As ``EdgeServer.profile``."""
        return self._ask("profile", *arguments, **named)

    def drain(self, timeout_s: float | None = None) -> bool:
        """As ``EdgeServer.drain``."""
        return self._ask("drain", timeout_s)

    def close(self) -> None:
        """Close the server and end its process."""
        try:
            self._ask("close")
        finally:
            ray.kill(self.actor)

    def _ask(self, method: str, *arguments: Any, **named: Any) -> Any:
        timeout_s = None if method in GROUPS["life"] else self.control_timeout_s
        try:
            return ray.get(getattr(self.actor, method).remote(*arguments, **named), timeout=timeout_s)
        except Exception as error:
            raise self._named(error) from error
