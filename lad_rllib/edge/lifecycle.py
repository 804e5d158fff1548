"""Whether a server serves: it starts, it recovers from failures, it has given up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from lad_rllib.edge.errors import EdgeError, ModelLoadFailed, ServerUnavailable, one_line
from lad_rllib.edge.failures import named_error
from lad_rllib.edge.queue import QueuedTask, TaskQueue
from lad_rllib.edge.recovery import FailureCount, ManagedEngine, waits_s


class Lifecycle:
    """State of a server, and the ways from one to another. All but ``check_serving`` are called by its thread.

    Args:
        name: Name of the server.
        engine: Makes the images.
        queue: Tasks that wait; they are sent away where the server cannot serve them.
        changed: The condition whose lock guards the server.
        send_away: Ends tasks that were taken out of the queue with an error.
        load_at_start: As for ``EdgeServer``, and so are the others.

    Attributes:
        state: One of :data:`~lad_rllib.edge.status.STATES`.
        reason: Why it is in that, one line.
        since: Start of the server [s since 1970, wall clock].
    """

    def __init__(
        self,
        name: str,
        engine: ManagedEngine,
        queue: TaskQueue,
        changed: threading.Condition,
        send_away: Callable[[Sequence[QueuedTask], EdgeError], None],
        *,
        load_at_start: bool,
        max_failures_in_row: int,
        restart: Callable[[], None] | None,
        probe_at_start: bool,
    ) -> None:
        self.state, self.reason, self.since = "starting" if load_at_start else "ready", "", time.time()
        self._name, self._engine, self._queue = name, engine, queue
        self._changed, self._send_away = changed, send_away
        self._load_at_start, self._restart, self._probe_at_start = load_at_start, restart, probe_at_start
        self._failures, self._to_recover = FailureCount(max_failures_in_row), ("", False)

    def check_serving(self) -> None:
        """Raise ``ModelLoadFailed`` or ``ServerUnavailable`` if new tasks are not taken."""
        if self.state == "failed":
            raise ModelLoadFailed(f"{self._name} has no model: {self.reason}")
        if self.state not in ("starting", "ready"):
            why = f" ({self.reason})" if self.reason else ""
            raise ServerUnavailable(f"edge server {self._name} is {self.state}{why}; send the task to another server")

    def start(self) -> None:
        """Load the model, and make a probe image if that is wanted, if the server is to do so before its first task."""
        if not self._load_at_start:
            return
        try:
            self._engine.prepare()
            if self._probe_at_start:
                self._engine.probe()
        except BaseException as error:
            if self._probe_at_start:
                return self._recover(f"it was started again and fails: {one_line(error)}")
            return self.give_up(error)
        self._become_ready("starting")

    def give_up(self, error: BaseException) -> None:
        """The model cannot be loaded: serve nothing, and tell everyone who waits."""
        named = named_error(error, ModelLoadFailed, self._name)
        with self._changed:
            if self.state != "closed":
                self.state, self.reason = "failed", str(named)
            waiting = self._queue.clear()
            self._changed.notify_all()
        self._send_away(waiting, named)

    def served(self) -> None:
        """An image was made."""
        self._failures.served()

    def failed(self, error: EdgeError) -> None:
        """A task failed; the server is due to recover if that says that it is at fault."""
        if reason := self._failures.reason_to_recover(error):
            self._to_recover = reason, error.needs_restart

    def recover_if_due(self) -> None:
        """Recover if a failure says so."""
        (reason, restart), self._to_recover = self._to_recover, ("", False)
        if reason:
            self._recover(reason, restart)

    def _become_ready(self, before: str) -> None:
        with self._changed:
            if self.state == before:
                self.state, self.reason = "ready", ""
            self._changed.notify_all()

    def _recover(self, reason: str, restart: bool = False) -> None:
        """Serve nothing, send away who waits, and go on once a probe image succeeds."""
        with self._changed:
            if self.state not in ("starting", "ready"):
                return
            self.state, self.reason = "recovering", reason
            waiting = self._queue.clear()
            self._changed.notify_all()
        message = f"edge server {self._name} recovers: {reason}; send the task to another server"
        self._send_away(waiting, ServerUnavailable(message))
        if restart and self._restart is not None:
            return self._restart()
        rebuild = restart or not self._failures.served_since_recovery
        for wait_s in waits_s():
            if self._probe_succeeds(rebuild):
                break
            rebuild = True
            with self._changed:
                if self._changed.wait_for(lambda: self.state != "recovering", wait_s):
                    return
        self._failures.recovered()
        self._become_ready("recovering")

    def _probe_succeeds(self, rebuild: bool) -> bool:
        """Whether a probe image succeeds, with a new engine if wanted."""
        try:
            if rebuild:
                self._engine.rebuild()
            self._engine.prepare()
            self._engine.probe()
        except BaseException as error:
            with self._changed:
                self.reason = f"its probe image fails: {one_line(error)}"
            return False
        return True
