"""The client of an edge server in another process: it makes that server look like a local one."""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Concatenate, ParamSpec, TypeVar

import ray

from lad_rllib.edge.errors import EdgeError, GenerationFailed, ServerUnavailable, TaskCancelled, one_line
from lad_rllib.edge.failures import named_error
from lad_rllib.edge.hosted import GROUPS
from lad_rllib.edge.leases import Heartbeat
from lad_rllib.edge.record import TaskResult
from lad_rllib.edge.server import EdgeServer
from lad_rllib.edge.status import ServerHealth
from lad_rllib.edge.task import ImageTask
from lad_rllib.simulator.order import Order, make_order

Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")

PROCESS = uuid.uuid4().hex
"""Name of this process at servers; those of its clients begin with it."""

_NUMBERS = itertools.count()
"""Of the clients of this process."""

_HEARTBEAT = Heartbeat()
"""Tells all servers with tasks of this process that it is alive."""


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
        return unanswered(error, server)
    return named_error(error, GenerationFailed, server)


def unanswered(error: BaseException, server: str | None) -> ServerUnavailable:
    """The error for a server that does not answer."""
    message = f"edge server {server or ''} does not answer ({one_line(error)}); send the task to another server"
    return ServerUnavailable(message, server=server)


def _asked(
    method: Callable[Concatenate[EdgeServer, Parameters], Answer],
) -> Callable[Concatenate[ServerClient, Parameters], Answer]:
    """The client's method that calls the server's and waits for its answer; errors are ``EdgeError`` by name."""
    name = method.__name__

    @functools.wraps(method)
    def ask(client: ServerClient, *arguments: Parameters.args, **named: Parameters.kwargs) -> Answer:
        answer: Answer = client.ask(name, *arguments, **named)
        return answer

    return ask


class ServerClient(ABC):
    """A client with the methods of ``EdgeServer``. Errors are ``EdgeError`` by name.

    Tasks stay in the order in which they were submitted, until a call finds no server: it may have restarted then, and
    the order begins anew.

    Args:
        name: Name of the server, for messages.
        control_timeout_s: Longest wait for an answer that needs no image [s]: Ray itself takes up to a minute to notice
            a lost node. Beyond it, ``ServerUnavailable``.
        order: Order of service of the server, if it is known; None: it is asked when that is needed.
    """

    def __init__(self, name: str, control_timeout_s: float = 5.0, order: Order | None = None) -> None:
        self.name = name
        self.control_timeout_s = control_timeout_s
        self._order = threading.Lock()
        self._holder, self._orders = f"{PROCESS}-{next(_NUMBERS)}", itertools.count()
        self._since = 0.0  # start of the server, as it last said
        self._begin_order()
        if order is not None:
            self.order = order

    # How a method of the server's process is called.

    @abstractmethod
    def call(self, method: str, *arguments: Any, **named: Any) -> Future[Any]:
        """Have the server's process call one of its methods; never waits, and the future has errors as they come."""

    @abstractmethod
    def end(self) -> None:
        """End the server's process."""

    @abstractmethod
    def may_answer_later(self, error: BaseException) -> bool:
        """Whether an error of a call says that the server's process starts, or is being started again."""

    def check_starts(self) -> None:  # noqa: B027 (most find out when they are asked)
        """Raise a named ``EdgeError`` if a server that has not answered yet never will."""

    def disconnect(self) -> None:  # noqa: B027 (most hold nothing)
        """Free what the calls need; there are no more."""

    def error_of(self, error: BaseException) -> EdgeError:
        """An error of a call under one of the room's names."""
        return edge_error(error, self.name)

    def ask(self, method: str, *arguments: Any, **named: Any) -> Any:
        """Call a method of the server's process, and wait for its answer; raises a named ``EdgeError``."""
        timeout_s = self.control_timeout_s if method in GROUPS["control"] else None
        try:
            answer = self.call(method, *arguments, **named)
            try:
                return answer.result(timeout_s)
            except TimeoutError:
                if answer.cancel():  # else the server raised it
                    raise TimeoutError(f"no answer in {timeout_s:g} s") from None
                raise
        except Exception as error:
            raise self._named(error) from error

    # The methods of an edge server.

    @functools.cached_property
    def order(self) -> Order:
        """Order of service of the server."""
        return make_order(self.status().order)

    cancel = _asked(EdgeServer.cancel)
    status = _asked(EdgeServer.status)
    progress = _asked(EdgeServer.progress)
    describe = _asked(EdgeServer.describe)
    fit = _asked(EdgeServer.fit)
    predict_computing_s = _asked(EdgeServer.predict_computing_s)
    warm_up = _asked(EdgeServer.warm_up)
    profile = _asked(EdgeServer.profile)
    drain = _asked(EdgeServer.drain)
    _health = _asked(EdgeServer.health)
    _close = _asked(EdgeServer.close)

    def submit(self, task: ImageTask) -> Future[TaskResult]:
        """Submit a task; the future fails with a named ``EdgeError``."""
        result: Future[TaskResult] = Future()
        result.set_running_or_notify_cancel()

        def forward(answer: Future[TaskResult]) -> None:
            _HEARTBEAT.end(self._holder)
            try:
                image = answer.result()
            except BaseException as error:
                result.set_exception(self._named(error))
            else:
                result.set_result(image)

        _HEARTBEAT.begin(self._holder, self._beat)
        try:
            with self._order:
                answer = self.call("serve", self._client, self._number, task, self._since)
                self._number += 1
            answer.add_done_callback(forward)
        except Exception as error:
            _HEARTBEAT.end(self._holder)
            result.set_exception(self._named(error))
        return result

    def generate(self, task: ImageTask) -> TaskResult:
        """Submit a task and wait for its image, however long; raises a named ``EdgeError``."""
        return self.submit(task).result()

    def health(self) -> ServerHealth:
        """As ``EdgeServer.health``; a server that does not answer is not healthy."""
        try:
            health = self._health()
        except ServerUnavailable as error:
            return ServerHealth(False, str(error), 0.0)
        before, self._since = self._since, health.since
        if 0 < before != health.since:
            self._begin_order()
        return health

    def node(self) -> str:
        """Id of the node of the Ray cluster that the server runs on."""
        return str(self.ask("node"))

    def end_leases(self, process: str) -> None:
        """Have the server cancel the tasks of all clients of a process that has ended; never waits.

        Args:
            process: Its :data:`PROCESS`.
        """
        self.call("end_leases", process)

    def close(self) -> None:
        """Close the server and end its process."""
        try:
            self._close()
        finally:
            self.end()

    def _beat(self) -> None:
        """Tell the server that a client waits for its images; a lost server shows otherwise."""
        with contextlib.suppress(Exception):
            self.call("beat", self._holder)

    def _begin_order(self) -> None:
        """Number tasks from 0, under a name that the server has not met."""
        with self._order:
            self._client, self._number = f"{self._holder}/{next(self._orders)}", 0

    def _named(self, error: BaseException) -> EdgeError:
        """The error by its name; one that the server did not raise itself may mean that it has forgotten the order."""
        named = self.error_of(error)
        if isinstance(named, ServerUnavailable) and not isinstance(error, ray.exceptions.RayTaskError):
            self._begin_order()
        return named
