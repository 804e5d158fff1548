"""State, progress and health of an edge server."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from lad_rllib.edge.fit import DelayFit

STATES = ("starting", "ready", "recovering", "draining", "failed", "closed")
"""Life of a server: loading its model; serving; failing, until a probe image succeeds; finishing what is queued; unable
to serve; shut down."""


@dataclass(frozen=True)
class ServerStatus:
    """A server at one moment.

    Attributes:
        name: The server.
        state: One of :data:`STATES`.
        reason: Why it failed or recovers, one line; empty otherwise.
        tasks_queued: Tasks that wait; the running one is not counted.
        queue_limit: Tasks that may wait.
        order: Order of service, as :func:`~lad_rllib.simulator.order.make_order` takes it.
        work_queued_steps: Denoising steps still to do, those left of the running task included.
        work_queued_s: Predicted time until all of these tasks are done [s]; first in, first out, a task submitted now
            would start then. None if nothing is known yet.
        running_task_id: Task that runs, or None.
        running_step: Its denoising steps done.
        running_steps: Its denoising steps in all.
        tasks_served: Images delivered since the start.
        tasks_failed: Tasks that ended otherwise since the start, refused ones not counted.
        since: Start of the server [s since 1970, wall clock].
        time: When this was written [s since 1970, wall clock].
        fit: Computing delay of an image of the default size, or None.
        resident: LoRAs in memory of each model in memory, the one used least recently first.
        foreign_requests: Requests of other clients at its engine, as
            :class:`~lad_rllib.edge.engines.engine.EngineDescription` has them.
    """

    name: str
    state: str
    reason: str
    tasks_queued: int
    queue_limit: int
    order: str | dict[str, Any]
    work_queued_steps: int
    work_queued_s: float | None
    running_task_id: str | None
    running_step: int
    running_steps: int
    tasks_served: int
    tasks_failed: int
    since: float
    time: float
    fit: DelayFit | None
    resident: dict[str, list[str]] = field(default_factory=dict)
    foreign_requests: int | None = None

    def to_dict(self) -> dict[str, object]:
        """The status as plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class TaskProgress:
    """Where a task is.

    Attributes:
        task_id: The task.
        state: ``queued``, ``running``, ``suspended`` (begun, others go first), ``sending`` (image on its way back),
            ``done``, ``failed`` or ``unknown`` (never seen, or forgotten: a server remembers the last thousand).
        tasks_ahead: Waiting and begun tasks before it.
        step: Denoising steps done.
        steps: Denoising steps in all; 0 if unknown.
        error: Name of the error if it failed.
    """

    task_id: str
    state: str
    tasks_ahead: int = 0
    step: int = 0
    steps: int = 0
    error: str = ""


@dataclass(frozen=True)
class ServerHealth:
    """Whether a server should get tasks.

    Attributes:
        healthy: True if it is ready and makes progress.
        reason: Why not, one line; empty if healthy.
        seconds_since_progress: Time since the running task's last step [s]; 0 if nothing runs.
        since: Start of the server [s since 1970, wall clock]; a new one shows that it was started again and has
            lost its tasks. 0 if it does not answer.
    """

    healthy: bool
    reason: str
    seconds_since_progress: float
    since: float = 0.0
