"""Looks whether the ingress lives; when its process is lost, the servers drop what its clients had asked for."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import ray
from ray.serve._private.constants import SERVE_NAMESPACE

from lad_rllib.edge import ServerClient

LOOK_S = 0.25
"""Time between two looks [s]."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunningIngress:
    """An ingress that has started.

    Attributes:
        actor: Name of its actor, in Serve's namespace.
        process: Its :data:`~lad_rllib.edge.client.PROCESS`, by which servers know what it asked for.
    """

    actor: str
    process: str

    def lives(self) -> bool:
        """Whether its process is there; one that cannot be found out about lives."""
        try:
            ray.get_actor(self.actor, namespace=SERVE_NAMESPACE)
        except ValueError:  # there is none of this name
            return False
        except ray.exceptions.RayError:
            return True
        return True


class IngressWatch:
    """Looks at the ingress that started last, from a thread of its own.

    Args:
        clients: The clients of the servers that there are.
    """

    def __init__(self, clients: Callable[[], Sequence[ServerClient]]) -> None:
        self._clients = clients
        self._lock = threading.Lock()
        self._ingress: RunningIngress | None = None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, ingress: RunningIngress) -> None:
        """An ingress has started; if the one before is lost, and nobody has seen that, it is seen to now."""
        with self._lock:
            self._look()
            self._ingress = ingress
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="ingress watch", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """End the looking."""
        self._over.set()

    def _work(self) -> None:
        while not self._over.wait(LOOK_S):
            with self._lock:
                self._look()

    def _look(self) -> None:
        """Have the servers drop what the ingress had asked for if it is lost."""
        lost = self._ingress
        if lost is None or lost.lives():
            return
        self._ingress = None
        _LOG.warning("the ingress is lost; the servers drop what it had asked for")
        for client in self._clients():
            with contextlib.suppress(Exception):  # a server that is lost, too, has dropped it
                client.end_leases(lost.process)
