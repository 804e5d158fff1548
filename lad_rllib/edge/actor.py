# ruff: noqa: D102  (the actor's methods are described where EdgeServer has them)
"""An edge server as a Ray actor; :mod:`lad_rllib.edge.remote` is the client that makes it look like a local one.

Ray keeps calls in order only within one thread of a threaded actor (asynchronous actors take them as they arrive, and
measurably out of order), and a call that waits for its image needs a thread. So ``serve`` has a pool of threads with
room for a full queue, and a client numbers its calls: those that overtook others wait for their turn. (One call to hand
in and one to wait would do, too, but carried a third fewer tasks.) Questions have threads of their own and are answered
while an image is generated.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import ray

from lad_rllib.edge.engines.engine import Engine, EngineDescription, EngineOutput, StepCallback
from lad_rllib.edge.errors import ModelLoadFailed, one_line
from lad_rllib.edge.fit import DelayFit
from lad_rllib.edge.leases import LEASE_S, Leases
from lad_rllib.edge.record import TaskResult
from lad_rllib.edge.recovery import end_process
from lad_rllib.edge.server import EdgeServer, check_queue_limit
from lad_rllib.edge.status import ServerHealth, ServerStatus, TaskProgress
from lad_rllib.edge.task import ImageTask

TURN_WAIT_S = 1.0
"""Longest wait for a call that was overtaken [wall seconds]; it is here already, or lost: the server restarted."""

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
        raise ModelLoadFailed(self._message)

    def check(self, task: ImageTask) -> None:
        pass

    def generate(self, task: ImageTask, on_step: StepCallback) -> EngineOutput:
        raise ModelLoadFailed(self._message)

    def describe(self) -> EngineDescription:
        return EngineDescription("none", "none", "none", "none", "none", None, None, note=self._message)


class EdgeServerActor:
    """The methods of :class:`~lad_rllib.edge.server.EdgeServer` in threads of a Ray actor; see there."""

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

    def serve(self, client: str, number: int, task: ImageTask) -> TaskResult:
        """Hand in a client's task in the order of its numbers, which begin with 0, and wait for the image.

        The client's name is ``client/order``: a new order begins at 0 again. The task is cancelled if the client is not
        heard of any more (``beat``).
        """
        with self._turn:
            self._turn.wait_for(lambda: self._turns.get(client, 0) >= number, TURN_WAIT_S)
            future = self._server.submit(task)
            self._turns[client] = max(self._turns.get(client, 0), number + 1)
            self._turn.notify_all()
        with self._leases.hold(client.partition("/")[0], task.task_id):
            return future.result()

    def beat(self, client: str) -> None:
        """A client that waits for images is there."""
        self._leases.beat(client)

    def generate(self, task: ImageTask) -> TaskResult:
        """Without an order, for callers who wait for one image at a time."""
        return self._server.generate(task)

    def cancel(self, task_id: str) -> bool:
        return self._server.cancel(task_id)

    def status(self) -> ServerStatus:
        return self._server.status()

    def progress(self, task_id: str) -> TaskProgress:
        return self._server.progress(task_id)

    def health(self) -> ServerHealth:
        return self._server.health()

    def describe(self) -> EngineDescription:
        return self._server.describe()

    def fit(self, size: tuple[int, int] | None = None) -> DelayFit | None:
        return self._server.fit(size)

    def predict_computing_s(self, task: ImageTask) -> float | None:
        return self._server.predict_computing_s(task)

    def warm_up(self, sizes: Sequence[tuple[int, int]] | None = None) -> None:
        self._server.warm_up(sizes)

    def profile(self, *arguments: Any, **named: Any) -> DelayFit:
        return self._server.profile(*arguments, **named)

    def drain(self, timeout_s: float | None = None) -> bool:
        return self._server.drain(timeout_s)

    def close(self) -> None:
        self._server.close()


GROUPS = {
    "generate": ("generate", "serve"),
    "control": ("beat", "cancel", "status", "progress", "health", "describe", "fit", "predict_computing_s"),
    "life": ("warm_up", "profile", "drain", "close"),  # these wait for images
}
"""Concurrency group of each method."""

for _group, _methods in GROUPS.items():
    for _method in _methods:
        ray.method(concurrency_group=_group)(getattr(EdgeServerActor, _method))


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
            ``client_lease_s``: tasks of a client that was not heard of for so long are cancelled (30 s).

    Returns:
        Handle of the actor. Wrap it in :class:`~lad_rllib.edge.remote.RemoteEdgeServer` to get the interface of
        ``EdgeServer``: tasks in order, errors by their names. With the plain handle, ``generate`` calls that are in
        flight together may overtake one another, and errors need :func:`~lad_rllib.edge.remote.edge_error`.
        ``ray.kill`` ends it.

    Raises:
        ConfigurationError: for a queue limit out of range.
    """
    queue_limit = settings.setdefault("queue_limit", 64)
    check_queue_limit(queue_limit)
    groups = {"generate": queue_limit + SPARE_THREADS, "control": 4, "life": 4}
    settings["max_restarts"] = (actor_options or {}).get("max_restarts", 0)
    actor = ray.remote(concurrency_groups=groups)(EdgeServerActor)
    options = {"num_cpus": num_cpus, "num_gpus": num_gpus, **(actor_options or {})}
    return actor.options(**options).remote(name, make_engine, settings)
