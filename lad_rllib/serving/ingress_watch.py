"""Which ingress serves, and whether it lives; when its process is lost, servers drop what its clients had asked for.

One that stands by has loaded all that it needs, and serves as soon as the one before is lost.
"""

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
        pid: Id of its process on its node.
    """

    actor: str
    process: str
    pid: int

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
    """Looks at the ingress that serves, from a thread of its own.

    Args:
        clients: The clients of the servers that there are.

    Attributes:
        ingress: The one that serves; None: the last one is lost, or there was none.
        standby: The one that waits to serve; None: there is none, or it still loads what it needs.
    """

    def __init__(self, clients: Callable[[], Sequence[ServerClient]]) -> None:
        self._clients = clients
        self._lock = threading.Lock()
        self.ingress: RunningIngress | None = None
        self.standby: RunningIngress | None = None
        self._asked: RunningIngress | None = None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def lead(self, ingress: RunningIngress, at_once: bool) -> bool:
        """Whether an ingress that has started is to serve.

        Args:
            ingress: The ingress; one that asks again has all that it needs.
            at_once: It is, whether the one before lives or not; else it is as soon as that one is lost.
        """
        with self._lock:
            self._look()
            if at_once or self.ingress is None:
                self.ingress = ingress
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="ingress watch", daemon=True)
                self._thread.start()
            if self.ingress == ingress:
                self.standby = None
                return True
            self.standby, self._asked = ingress if ingress == self._asked else None, ingress
            return False

    def close(self) -> None:
        """End the looking."""
        self._over.set()

    def _work(self) -> None:
        while not self._over.wait(LOOK_S):
            with self._lock:
                self._look()

    def _look(self) -> None:
        """Have the servers drop what the ingress had asked for if it is lost."""
        lost = self.ingress
        if lost is None or lost.lives():
            return
        self.ingress = None
        _LOG.warning("the ingress is lost; the servers drop what it had asked for")
        for client in self._clients():
            with contextlib.suppress(Exception):  # a server that is lost, too, has dropped it
                client.end_leases(lost.process)
