"""Waiting until every server of a fleet has loaded its model and is warm."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from lad_rllib.edge import EdgeServer, ModelLoadFailed, ServerClient, ServerUnavailable
from lad_rllib.edge.status import ServerStatus

Report = Callable[[str, str], None]
"""Called with a server's name and its new state (``placed``, then the states of a server) whenever that changes."""

ASK_AGAIN_S = 0.1


def wait_until_ready(
    fleet: str, servers: Sequence[EdgeServer | ServerClient], timeout_s: float, report: Report | None = None
) -> None:
    """Return when every server is ready.

    Args:
        fleet: Name of the fleet, for messages.
        servers: Its servers.
        timeout_s: Longest wait [wall seconds].
        report: Called at every change of a server's state.

    Raises:
        ModelLoadFailed: at once, if a server cannot load its model.
        ServerUnavailable: at once, if a server's process is lost for good; or when the time is up, naming who is late.
    """
    limit = time.monotonic() + timeout_s
    states = {server.name: "not started" for server in servers}
    polls = {server.name: _StatusPoll(server) for server in servers}
    while polls:
        for name, poll in list(polls.items()):
            status = poll.answer()
            if status is None:
                continue
            if status.state != states[name]:
                states[name] = status.state
                if report is not None:
                    report(name, status.state)
            if status.state == "failed":
                raise ModelLoadFailed(f"fleet {fleet}, server {name}: {status.reason}", server=name)
            if status.state not in ("starting", "recovering", "ready"):
                raise ServerUnavailable(f"fleet {fleet}, server {name} is {status.state}; start it again", server=name)
            if status.state == "ready":
                del polls[name]
        if polls and time.monotonic() > limit:
            late = ", ".join(f"{name} ({states[name]})" for name in polls)
            raise ServerUnavailable(f"fleet {fleet}: not ready after {timeout_s:g} s: {late}")
        if polls:
            time.sleep(ASK_AGAIN_S)


class _StatusPoll:
    """Asks for a server's status, one call at a time, without waiting: a process that still starts answers late."""

    def __init__(self, server: EdgeServer | ServerClient) -> None:
        self._server = server
        self._pending: Future[ServerStatus] | None = None

    def answer(self) -> ServerStatus | None:
        """The status, or None if it is not known yet; raises if the server is gone for good."""
        if isinstance(self._server, EdgeServer):
            return self._server.status()
        if self._pending is None:
            self._pending = self._server.call("status")
        if not self._pending.done():
            self._server.check_starts()
            return None
        error, pending = self._pending.exception(), self._pending
        self._pending = None
        if error is None:
            return pending.result()
        if self._server.may_answer_later(error):
            return None
        raise self._server.error_of(error)
