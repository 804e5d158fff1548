"""What of a running service can be changed over HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from lad_rllib.api import Gateway, ServerInfo
from lad_rllib.api.oversight import Overseer
from lad_rllib.edge import EdgeError
from lad_rllib.errors import ConfigurationError
from lad_rllib.service import Dispatcher
from lad_rllib.serving.keeper import FleetState, asked
from lad_rllib.simulator.order import order_text

START_TIMEOUT_S = 600.0
"""Longest wait for a server that joins to be warm [s]."""

_LOG = logging.getLogger("lad_rllib.serving")


class FleetControl:
    """Changes of a service's fleet and policy, see :class:`~lad_rllib.api.control.Control`.

    Args:
        dispatcher: Sends requests to the servers.
        gateway: Knows which image models there are.
        oversight: Decides who decides.
        keeper: Handle of the :class:`~lad_rllib.serving.keeper.FleetKeeper`.
        state: The fleet at first.
    """

    def __init__(
        self, dispatcher: Dispatcher, gateway: Gateway, oversight: Overseer, keeper: Any, state: FleetState
    ) -> None:
        self._dispatcher, self._gateway, self.oversight, self._keeper = dispatcher, gateway, oversight, keeper
        self._known = {server.name: server for server in state.servers}
        self._changes = asyncio.Lock()

    @property
    def policy(self) -> str:
        """What decides at present."""
        return self.oversight.in_charge.policy

    async def servers(self) -> list[ServerInfo]:
        """The servers of the fleet."""
        queue_s = dict(zip(self._names(), await asyncio.to_thread(lambda: self._dispatcher.queue_s), strict=False))
        return [
            ServerInfo(
                name=load.name,
                kind=self._known[load.name].engine.kind,
                models=self._known[load.name].engine.models,
                order=order_text(load.backlog.order),
                state=load.state,
                reason=load.reason,
                queue_s=float(queue_s.get(load.name, 0.0)),
                tasks=len(load.backlog),
                over_expected=load.speed.over_expected,
            )
            for load in self._dispatcher.loads
            if load.name in self._known
        ]

    async def fleet_file(self) -> dict[str, Any]:
        """The fleet as in a fleet file."""
        state: FleetState = await asyncio.to_thread(lambda: asked(self._keeper.state.remote()))
        return state.spec.to_dict()

    async def add(self, entry: Mapping[str, Any]) -> str:
        """Start a server, described as in a fleet file, and send it requests; returns its name."""
        async with self._changes:
            return await asyncio.to_thread(self._add, dict(entry))

    async def drain(self, name: str) -> None:
        """Send a server no more requests; it finishes those that it has."""
        await asyncio.to_thread(self._dispatcher.drain, name)
        await asyncio.to_thread(asked, self._keeper.drain.remote(name))
        _LOG.info("server %s drains", name)

    async def remove(self, name: str) -> None:
        """End a server; requests that it has go to others."""
        async with self._changes:
            await asyncio.to_thread(self._remove, name)

    async def swap(self, policy: str) -> str:
        """Let another policy decide: a scheduler's name, or the folder of a checkpoint."""
        async with self._changes:
            return await asyncio.to_thread(self.oversight.swap, policy)

    def _names(self) -> list[str]:
        return [load.name for load in self._dispatcher.loads]

    def _add(self, entry: Mapping[str, Any]) -> str:
        try:
            state: FleetState = asked(self._keeper.add.remote(entry, START_TIMEOUT_S))
        except EdgeError as error:
            raise ConfigurationError(f"the server could not be started: {error}") from None
        new, requests = state.servers[-1], state.requests()
        self._known[new.name] = new
        self._dispatcher.add(new.client, requests.world.servers[-1], requests.offers[-1])
        self._gateway.models = state.models()
        _LOG.info("server %s has joined", new.name)
        return new.name

    def _remove(self, name: str) -> None:
        self._dispatcher.remove(name)
        asked(self._keeper.remove.remote(name))
        self._known.pop(name).client.disconnect()
        self._gateway.models = asked(self._keeper.state.remote()).models()
        _LOG.info("server %s has left", name)
