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


class Oversight(Protocol):
    """Trials of policies on live requests; methods may take long, and raise ``ConfigurationError`` as of Control."""

    @property
    def records(self) -> list[dict[str, Any]]:
        """What became of policies, the oldest record first."""
        ...

    def status(self) -> dict[str, Any]:
        """Who decides, what is tried, and the latest look at the policy in charge."""
        ...

    def try_policy(self, policy: str, why: str) -> None:
        """Begin the trial of a policy: in shadow, on a share of the requests, then in charge if it is better."""
        ...

    def stop_trial(self) -> None:
        """End the trial; the policy in charge stays."""
        ...

    def note(self, why: str) -> None:
        """Record that whoever looked for a better policy found none."""
        ...


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

    async def fleet_file(self) -> dict[str, Any]:
        """The fleet as in a fleet file."""
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

    @property
    def oversight(self) -> Oversight | None:
        """Who decides, what is tried, and what became of policies; None: nobody looks."""
        ...
