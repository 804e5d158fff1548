"""Where a task is between the hand-over to a dispatcher and its end."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import Literal

from lad_rllib.edge.errors import EdgeError
from lad_rllib.edge.status import TaskProgress
from lad_rllib.service.in_flight import Server

State = Literal["unknown", "waiting", "queued", "running", "sending"]


@dataclass(frozen=True)
class Progress:
    """Where a task is.

    Attributes:
        task_id: The task.
        state: ``waiting`` at the dispatcher, ``queued`` or ``running`` at a server, ``sending`` (its image is on the
            way), or ``unknown``: it has ended, or was never there.
        server: The server that has it; empty if none has.
        position: Tasks that are served before it there.
        step: Denoising steps done.
        of: Denoising steps in all; 0 if unknown.
        start_s: Predicted time until it begins, in the fleet's seconds [s]; None while no server has it.
    """

    task_id: str
    state: State
    server: str = ""
    position: int = 0
    step: int = 0
    of: int = 0
    start_s: float | None = None


def asked(known: Progress, server: Server | None, name: str) -> Progress:
    """What the server that has a task adds to what is known of it.

    Args:
        known: What the dispatcher knows.
        server: The server; it may have a method ``progress``, as an edge server. None: none has the task.
        name: The task's name there.
    """
    ask = getattr(server, "progress", None)
    if ask is None:
        return known
    said: object = None
    with contextlib.suppress(EdgeError):  # it does not answer now
        said = ask(name)
    if not isinstance(said, TaskProgress):
        return known
    if said.state in ("queued", "suspended"):
        return replace(known, state="queued", position=said.tasks_ahead, step=said.step)
    if said.state == "running":
        return replace(known, state="running", position=0, step=said.step, start_s=0.0)
    if said.state in ("sending", "done"):
        return replace(known, state="sending", position=0, step=known.of, start_s=0.0)
    return known  # the task is on its way there, or failed and is sent elsewhere
