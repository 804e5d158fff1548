"""The state of the service, told twice a second while somebody watches."""

from __future__ import annotations

import asyncio
import logging

from lad_rllib.api.feed import Watch, event
from lad_rllib.api.fleet_view import FleetView

BEAT_S = 0.5
"""Time between two events ``state`` [s]."""

_LOG = logging.getLogger("lad_rllib.api")


class Pulse:
    """Publishes ``state`` at every beat, and ``server`` when a server's state has changed.

    Args:
        view: Looks at the fleet.
    """

    def __init__(self, view: FleetView) -> None:
        self._view, self._feed = view, view.gateway.feed
        self._states: dict[str, str] = {}
        self._beating: asyncio.Task[None] | None = None

    async def watch(self) -> Watch:
        """Events from now on, the state first.

        Raises:
            ApiError: if there are too many who watch.
        """
        state = await self._view.state()
        watch = self._feed.watch()
        watch.put(event("state", state))
        if self._beating is None or self._beating.done():
            self._beating = asyncio.create_task(self._beat())
        return watch

    async def _beat(self) -> None:
        self._states = {}
        while self._feed.is_watched:
            try:
                await self._tell()
            except Exception:  # whoever controls the service may be out of reach for a while
                _LOG.exception("the state of the service could not be told")
            await asyncio.sleep(BEAT_S)

    async def _tell(self) -> None:
        state = await self._view.state()
        for server in state["servers"]:
            told = {key: server[key] for key in ("name", "state", "reason")}
            if self._states.get(told["name"], told["state"]) != told["state"]:
                self._feed.publish("server", told)
            self._states[told["name"]] = told["state"]
        self._feed.publish("state", state)
