"""An edge server as a Ray actor, and the client that makes it look like a local one.

Ray keeps calls in order only within one thread of a threaded actor (asynchronous actors take them as they arrive, and
measurably out of order), and a call that waits for its image needs a thread. So ``serve`` has a pool of threads with
room for a full queue, and a client numbers its calls: those that overtook others wait for their turn. (One call to hand
in and one to wait would do, too, but carried a third fewer tasks.) All other calls have threads of their own and are
answered while an image is generated.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import ray

from lad_rllib.edge.client import ServerClient
from lad_rllib.edge.engines.engine import Engine, EngineDescription, EngineOutput, StepCallback
from lad_rllib.edge.errors import ModelLoadFailed, one_line
from lad_rllib.edge.hosted import GROUPS, OWN_CONTROL, TURN_WAIT_S, HostedServer
from lad_rllib.edge.leases import LEASE_S
from lad_rllib.edge.record import TaskResult
from lad_rllib.edge.recovery import end_process
from lad_rllib.edge.settings import ServerSettings
from lad_rllib.edge.task import ImageTask
from lad_rllib.simulator.order import Order

SPARE_THREADS = 32
"""Threads that wait for images, beside one for each place in the queue: for the running task and for downloads."""


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


class EdgeServerActor(HostedServer):
    """An edge server in threads of a Ray actor.

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
        super().__init__(
            name, engine, lease_s, make_engine=make_engine, restart=restart, probe_at_start=again, **settings
        )
        self._turn = threading.Condition()

    @ray.method(concurrency_group="generate")
    def serve(self, client: str, number: int, task: ImageTask, since: float = 0.0) -> TaskResult:
        """Queue a client's task in the order of its numbers, which begin with 0, and wait for the image.

        The client's name is ``client/order``: a new order begins at 0 again. The task is cancelled if the client falls
        silent (``beat``), and refused if another start of the server is meant.
        """
        self.check_meant(since)
        with self._turn:
            self._turn.wait_for(lambda: self.is_turn(client, number), TURN_WAIT_S)
            future = self._server.submit(task)
            self.end_turn(client, number)
            self._turn.notify_all()
        with self._leases.hold(client.partition("/")[0], task.task_id):
            return future.result()

    @ray.method(concurrency_group="generate")
    def generate(self, task: ImageTask) -> TaskResult:
        """Make an image out of order, for callers who wait for one at a time."""
        return self._server.generate(task)


def _run_in_group(name: str, group: str) -> None:
    """Have the actor run a method in threads of a group."""

    @functools.wraps(getattr(HostedServer, name))
    def method(actor: EdgeServerActor, *arguments: Any, **named: Any) -> Any:
        return getattr(HostedServer, name)(actor, *arguments, **named)

    setattr(EdgeServerActor, name, ray.method(concurrency_group=group)(method))


for _group, _names in {**GROUPS, "control": (*GROUPS["control"], *OWN_CONTROL)}.items():
    for _name in _names:
        _run_in_group(_name, _group)


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


class RemoteEdgeServer(ServerClient):
    """The client of an edge server that is a Ray actor, on any node; see :class:`~lad_rllib.edge.client.ServerClient`.

    Args:
        name: Name of the server, for messages.
        actor: Handle from :func:`edge_server_actor`.
        control_timeout_s: See ``ServerClient``.
        order: See ``ServerClient``.
    """

    def __init__(self, name: str, actor: Any, control_timeout_s: float = 5.0, order: Order | None = None) -> None:
        self.actor = actor
        super().__init__(name, control_timeout_s, order)

    def __reduce__(self) -> tuple[Any, ...]:  # a copy has an order of its own in which it submits
        return RemoteEdgeServer, (self.name, self.actor, self.control_timeout_s, self.__dict__.get("order"))

    def call(self, method: str, *arguments: Any, **named: Any) -> Future[Any]:
        """See ``ServerClient``."""
        answer: Future[Any] = getattr(self.actor, method).remote(*arguments, **named).future()
        return answer

    def end(self) -> None:
        """Kill the actor."""
        ray.kill(self.actor)

    def may_answer_later(self, error: BaseException) -> bool:
        """Whether Ray starts the actor again."""
        return isinstance(error, ray.exceptions.ActorUnavailableError)
