"""Leases: tasks of a client that fell silent are cancelled, so that they do not delay those of others.

A client sends heartbeats while it waits for images. Ray itself goes on with the calls of a driver that was killed. Who
knows that a process has ended need not wait until it has been silent for long enough.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LEASE_S = 30.0
"""A client that is silent for so long is gone [s, wall clock]."""

BEAT_S = 3.0
"""Time between two heartbeats of a client that waits [s, wall clock]."""


class Leases:
    """The tasks of each client, and when it was last heard of.

    Args:
        cancel: Cancels a task by its name.
        lease_s: See :data:`LEASE_S`.
    """

    def __init__(self, cancel: Callable[[str], object], lease_s: float = LEASE_S) -> None:
        self._cancel, self._lease_s = cancel, lease_s
        self._heard: dict[str, float] = {}
        self._tasks: dict[tuple[str, str], float] = {}
        self._ended: tuple[str, ...] = ()
        self._changed = threading.Condition()
        self._watch: threading.Thread | None = None

    def beat(self, client: str) -> None:
        """A client is alive."""
        with self._changed:
            self._heard[client] = time.monotonic()

    @contextmanager
    def hold(self, client: str, task_id: str) -> Iterator[None]:
        """Hold a task for a client that waits for it inside."""
        now, key = time.monotonic(), (client, task_id)
        with self._changed:
            self._heard.setdefault(client, now)
            self._tasks[key] = now
            if self._watch is None:
                self._watch = threading.Thread(target=self._look, name="client leases", daemon=True)
                self._watch.start()
            is_over = client.startswith(self._ended)  # the call was on its way here when its process ended
        if is_over:
            self._cancel(task_id)
        try:
            yield
        finally:
            with self._changed:
                self._tasks.pop(key, None)
                self._changed.notify_all()

    def end(self, process: str) -> None:
        """Cancel the tasks of a process that has ended, also those that come later.

        Args:
            process: What the names of its clients begin with.
        """
        with self._changed:
            if process not in self._ended:
                self._ended += (process,)
            held = [task_id for client, task_id in self._tasks if client.startswith(process)]
        for task_id in held:
            self._cancel(task_id)

    def _look(self) -> None:
        """Cancel the tasks of clients that are gone, until nothing is held."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self._tasks, self._lease_s / 4)
                if not self._tasks:
                    self._watch = None
                    return
                gone = self._gone()
            for task_id in gone:
                self._cancel(task_id)

    def _gone(self) -> list[str]:
        now = time.monotonic()
        grace_s = min(self._lease_s, 2 * BEAT_S)  # the first heartbeat may come after the first task
        return [
            task_id
            for (client, task_id), since in self._tasks.items()
            if now - self._heard[client] > self._lease_s and now - since > grace_s
        ]


class Heartbeat:
    """Sends heartbeats while clients wait for images; one thread for all clients of a process."""

    def __init__(self) -> None:
        self._waiting: dict[object, tuple[int, Callable[[], object]]] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def begin(self, client: object, beat: Callable[[], object]) -> None:
        """A client waits for one more image; ``beat`` tells the server, without waiting."""
        with self._changed:
            number = self._waiting.get(client, (0, beat))[0]
            self._waiting[client] = number + 1, beat
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="client heartbeat", daemon=True)
                self._thread.start()
        if number == 0:
            beat()

    def end(self, client: object) -> None:
        """A client waits for one image fewer."""
        with self._changed:
            number, beat = self._waiting.pop(client)
            if number > 1:
                self._waiting[client] = number - 1, beat
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self._waiting, BEAT_S)
                if not self._waiting:
                    self._thread = None
                    return
                beats = [beat for _, beat in self._waiting.values()]
            for beat in beats:
                beat()
