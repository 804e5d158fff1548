"""Who chose a server for a task: its name, and which weights it had."""

from __future__ import annotations

from typing import NamedTuple


class DecidedBy(NamedTuple):
    """Who chose a server.

    Attributes:
        policy: Its name; empty: nobody chose.
        fingerprint: First digits of the SHA-256 of its weights; empty: it has none.
    """

    policy: str = ""
    fingerprint: str = ""


class Decision(NamedTuple):
    """The server of a task, and who chose it.

    Attributes:
        server: Position of the server among the fleet's members.
        by: Who chose it.
    """

    server: int
    by: DecidedBy
