"""What of a running service can be changed over HTTP; whoever runs the service implements it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class ServerInfo:
    """An edge server as the service sees it.

    Attributes:
        name: The server.
        kind: Kind of its engine.
        models: Image models that it has; empty: it does not choose between models.
        order: Order of service.
        state: ``up``, ``down`` or ``draining``.
        reason: Why it is not up, one line.
        queue_s: Predicted time until it is done with what it has [s].
        tasks: Requests that wait for it or run there.
        over_expected: Measured over expected computing delay of its latest images.
    """

    name: str
    kind: str
    models: Sequence[str]
    order: str
    state: str
    reason: str
    queue_s: float
    tasks: int
    over_expected: float


class Control(Protocol):
    """Changes of a running service.

    Each raises ``ConfigurationError`` for what cannot be done, such as a server that does not exist.
    """

    @property
    def policy(self) -> str:
        """What decides at present."""
        ...

    async def servers(self) -> list[ServerInfo]:
        """The servers of the fleet."""
        ...

    async def add(self, entry: Mapping[str, Any]) -> str:
        """Start a server, described as in a fleet file, and send it requests; returns its name."""
        ...

    async def drain(self, name: str) -> None:
        """Send a server no more requests; it finishes those that it has."""
        ...

    async def remove(self, name: str) -> None:
        """End a server; requests that it has go to others."""
        ...

    async def swap(self, policy: str) -> str:
        """Let another policy decide: folder of a checkpoint, name of a shipped policy, or of a scheduler.

        Returns:
            What decides now.
        """
        ...
