"""An edge server as a Ray actor, and the client that makes it look like a local one.

Ray keeps calls in order only within one thread of a threaded actor (asynchronous actors take them as they arrive, and
measurably out of order), and a call that waits for its image needs a thread. So ``serve`` has a pool of threads with
room for a full queue, and a client numbers its calls: those that overtook others wait for their turn. (One call to hand
in and one to wait would do, too, but carried a third fewer tasks.) All other calls have threads of their own and are
answered while an image is generated.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Concatenate, ParamSpec, TypeVar

import ray

from lad_rllib.edge.engines.engine import Engine, EngineDescription, EngineOutput, StepCallback
from lad_rllib.edge.errors import (
    EdgeError,
    GenerationFailed,
    ModelLoadFailed,
    ServerUnavailable,
    TaskCancelled,
    one_line,
)
from lad_rllib.edge.failures import named_error
from lad_rllib.edge.leases import LEASE_S, Heartbeat, Leases
from lad_rllib.edge.record import TaskResult
from lad_rllib.edge.recovery import end_process
from lad_rllib.edge.server import EdgeServer
from lad_rllib.edge.settings import ServerSettings
from lad_rllib.edge.status import ServerHealth
from lad_rllib.edge.task import ImageTask
from lad_rllib.simulator.order import Order, make_order

Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")

TURN_WAIT_S = 1.0
"""Longest wait for a call that was overtaken [wall seconds]; it is here already, or lost: the server restarted."""

SPARE_THREADS = 32
"""Threads that wait for images, beside one for each place in the queue: for the running task and for downloads."""

GROUPS = {
    "control": ("cancel", "status", "progress", "health", "describe", "fit", "predict_computing_s"),
    "life": ("warm_up", "profile", "drain", "close"),  # these wait for images
}
"""Methods of :class:`~lad_rllib.edge.server.EdgeServer` of the actor and the client, by the threads they run in."""


class _NoEngine:
    """Stands in for an engine that could not be built, so that the actor lives to say why."""

    time_scale = 1.0

    def __init__(self, error: Exception) -> None:
        self._message = one_line(error)

    def load(self) -> None:
        raise ModelLoadFailed(self._message)

    def warm_up(self, sizes: Sequence[tuple[int, int]] | None = None) -> None:
        self.load()

    def check(self, task: ImageTask) -> None:
        pass

    def generate(self, task: ImageTask, on_step: StepCallback) -> EngineOutput:
        raise ModelLoadFailed(self._message)

    def describe(self, model: str | None = None) -> EngineDescription:
        return EngineDescription("none", "none", "none", "none", "none", None, None, note=self._message)


class EdgeServerActor:
    """The methods of :class:`~lad_rllib.edge.server.EdgeServer` in threads of a Ray actor: those in :data:`GROUPS`.

    Args:
        name: Name of the server.
        make_engine: Builds the engine.
        settings: See :func:`edge_server_actor`.
    """

    def __init__(self, name: str, make_engine: Callable[[], Engine], settings: dict[str, Any]) -> None:
        try:
            engine = make_engine()
        except Exception as error:
            engine = _NoEngine(error)
        lease_s = settings.pop("client_lease_s", LEASE_S)
        max_restarts = settings.pop("max_restarts", None)  # None outside of Ray
        again = max_restarts is not None and ray.get_runtime_context().was_current_actor_reconstructed
        max_restarts = max_restarts or 0
        restart = end_process if max_restarts < 0 or max_restarts > again else None
        self._server = EdgeServer(
            name, engine, make_engine=make_engine, restart=restart, probe_at_start=again, **settings
        )
        self._leases = Leases(self._server.cancel, lease_s)
        self._turns: dict[str, int] = {}  # number of the call that each client has next
        self._turn = threading.Condition()

    @ray.method(concurrency_group="generate")
    def serve(self, client: str, number: int, task: ImageTask) -> TaskResult:
        """Queue a client's task in the order of its numbers, which begin with 0, and wait for the image.

        The client's name is ``client/order``: a new order begins at 0 again. The task is cancelled if the client falls
        silent (``beat``).
        """
        with self._turn:
            self._turn.wait_for(lambda: self._turns.get(client, 0) >= number, TURN_WAIT_S)
            future = self._server.submit(task)
            self._turns[client] = max(self._turns.get(client, 0), number + 1)
            self._turn.notify_all()
        with self._leases.hold(client.partition("/")[0], task.task_id):
            return future.result()

    @ray.method(concurrency_group="generate")
    def generate(self, task: ImageTask) -> TaskResult:
        """Make an image out of order, for callers who wait for one at a time."""
        return self._server.generate(task)

    @ray.method(concurrency_group="control")
    def beat(self, client: str) -> None:
        """A client that waits for images is alive."""
        self._leases.beat(client)

    @ray.method(concurrency_group="control")
    def end_leases(self) -> None:
        """Cancel the tasks that clients wait for, whoever they are."""
        self._leases.end_all()


def _forward_to_server(name: str, group: str) -> None:
    """Give the actor a method of the server."""

    @functools.wraps(getattr(EdgeServer, name))
    def method(actor: EdgeServerActor, *arguments: Any, **named: Any) -> Any:
        return getattr(actor._server, name)(*arguments, **named)

    setattr(EdgeServerActor, name, ray.method(concurrency_group=group)(method))


for _group, _names in GROUPS.items():
    for _name in _names:
        _forward_to_server(_name, _group)


def edge_server_actor(
    name: str,
    make_engine: Callable[[], Engine],
    *,
    num_cpus: float = 1,
    num_gpus: float = 0,
    actor_options: dict[str, Any] | None = None,
    **settings: Any,
) -> Any:
    """Start an edge server as a Ray actor.

    Args:
        name: Name of the server.
        make_engine: Builds the engine, in the actor's process: a class with arguments
            (``functools.partial(DiffusersEngine, path)``) or a function. If it fails, the actor lives in state
            ``failed`` and every task gets ``ModelLoadFailed`` with the reason.
        num_cpus: CPUs that Ray reserves.
        num_gpus: GPUs that Ray reserves. A fraction limits nothing: the engine may use all memory of the device.
        actor_options: Further options of the actor (``max_restarts``, ``resources``, ``scheduling_strategy``, ...).
            A restarted actor has lost its queue and what it learned.
        **settings: Arguments of :class:`~lad_rllib.edge.server.EdgeServer` besides name and engine, and
            ``client_lease_s``: tasks of a client that has been silent for so long are cancelled (30 s).

    Returns:
        Handle of the actor. Wrap it in :class:`RemoteEdgeServer` to get the interface of ``EdgeServer``: tasks in
        order, errors by their names. With the plain handle, ``generate`` calls that are in flight together may overtake
        one another, and errors need :func:`edge_error`. ``ray.kill`` ends it.

    Raises:
        ConfigurationError: for a setting out of range.
    """
    known = {name: value for name, value in settings.items() if name in ServerSettings.model_fields}
    groups = {"generate": ServerSettings(**known).queue_limit + SPARE_THREADS} | dict.fromkeys(GROUPS, 4)
    settings["max_restarts"] = (actor_options or {}).get("max_restarts", 0)
    usual = {"num_cpus": num_cpus, "num_gpus": num_gpus, "enable_task_events": False}  # Ray keeps 4 KB for each call
    options = {**usual, **(actor_options or {})}
    actor = ray.remote(concurrency_groups=groups)(EdgeServerActor)
    return actor.options(**options).remote(name, make_engine, settings)


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
        message = f"edge server {server or ''} does not answer ({one_line(error)}); send the task to another server"
        return ServerUnavailable(message, server=server)
    return named_error(error, GenerationFailed, server)


def _asked(
    method: Callable[Concatenate[EdgeServer, Parameters], Answer],
) -> Callable[Concatenate[RemoteEdgeServer, Parameters], Answer]:
    """The client's method that calls the actor's and waits for its answer; errors are ``EdgeError`` by name."""
    name = method.__name__

    @functools.wraps(method)
    def ask(client: RemoteEdgeServer, *arguments: Parameters.args, **named: Parameters.kwargs) -> Answer:
        timeout_s = client.control_timeout_s if name in GROUPS["control"] else None
        try:
            answer: Answer = ray.get(getattr(client.actor, name).remote(*arguments, **named), timeout=timeout_s)
        except Exception as error:
            raise client._named(error) from error
        return answer

    return ask


class RemoteEdgeServer:
    """A client with the methods of ``EdgeServer``, for an actor on any node. Errors are ``EdgeError`` by name.

    Tasks stay in the order in which they were submitted, until a call finds no server: it may have restarted then, and
    the order begins anew.

    Args:
        name: Name of the server, for messages.
        actor: Handle from :func:`edge_server_actor`.
        control_timeout_s: Longest wait for an answer that needs no image [s]: Ray itself takes up to a minute to notice
            a lost node. Beyond it, ``ServerUnavailable``.
        order: Order of service of the actor, if it is known; None: it is asked when that is needed.
    """

    def __init__(self, name: str, actor: Any, control_timeout_s: float = 5.0, order: Order | None = None) -> None:
        self.name = name
        self.actor = actor
        self.control_timeout_s = control_timeout_s
        self._order = threading.Lock()
        self._holder, self._orders = uuid.uuid4().hex, itertools.count()
        self._begin_order()
        if order is not None:
            self.order = order

    def __reduce__(self) -> tuple[Any, ...]:  # a copy has an order of its own in which it submits
        return RemoteEdgeServer, (self.name, self.actor, self.control_timeout_s, self.__dict__.get("order"))

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

    def generate(self, task: ImageTask) -> TaskResult:
        """Submit a task and wait for its image, however long; raises a named ``EdgeError``."""
        return self.submit(task).result()

    def health(self) -> ServerHealth:
        """As ``EdgeServer.health``; a server that does not answer is not healthy."""
        try:
            return self._health()
        except ServerUnavailable as error:
            return ServerHealth(False, str(error), 0.0)

    def end_leases(self) -> None:
        """Have the server cancel the tasks of all clients, such as one before this that was lost; never waits."""
        self.actor.end_leases.remote()

    def close(self) -> None:
        """Close the server and end its process."""
        try:
            self._close()
        finally:
            ray.kill(self.actor)

    def _beat(self) -> None:
        """Tell the server that a client waits for its images; a lost server shows otherwise."""
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
