"""The fleet as the service shows it: each server's state and queue, the policy, and the figures."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from lad_rllib.api.control import Control, ServerInfo
from lad_rllib.api.gateway import Gateway
from lad_rllib.simulator.order import order_text

TOLD, TOLD_S = ("swapped", "rejected", "went back", "left", "worse"), 600.0
"""Events of policies that the page tells, and for how long [s]."""


class FleetView:
    """Looks at the fleet through whoever controls it; without, through the dispatcher alone.

    Args:
        gateway: Stands in front of the dispatcher.
        control: What of the service can be changed; None: nothing.
    """

    def __init__(self, gateway: Gateway, control: Control | None) -> None:
        self.gateway, self._control = gateway, control

    @property
    def policy(self) -> str:
        """What decides at present."""
        if self._control is not None:
            return self._control.policy
        return type(self.gateway.dispatcher.scheduler).__name__

    async def servers(self) -> list[ServerInfo]:
        """The servers, in the dispatcher's order."""
        return await self._control.servers() if self._control is not None else await asyncio.to_thread(self._servers)

    async def state(self) -> dict[str, Any]:
        """What the page shows: figures, and each server with its queue [s]."""
        gateway = self.gateway
        running = {load.name: load.backlog.running for load in gateway.dispatcher.loads}
        servers = [
            {
                "name": server.name,
                "state": server.state,
                "reason": server.reason,
                "queue_s": round(server.queue_s, 4),
                "tasks": server.tasks,
                "running": None if (one := running.get(server.name)) is None else one.entry.task.task_id,
                "speed": round(1.0 / server.over_expected, 4),
                "served": gateway.statistics.served[server.name],
            }
            for server in await self.servers()
        ]
        figures = gateway.statistics.row()
        return {
            "t": round(time.time(), 3),
            "policy": self.policy,
            "policy_notice": self._policy_notice(),
            "in_flight": len(gateway.jobs),
            **figures,
            "servers": servers,
        }

    def _policy_notice(self) -> str:
        """What is tried, or what became of policies lately, in a sentence; empty: nothing."""
        oversight = None if self._control is None else self._control.oversight
        if oversight is None:
            return ""
        if (trial := oversight.status()["trial"]) is not None:
            decides = f"decides {trial['share']:.0%} of the requests" if trial["share"] else "decides without effect"
            return f"{trial['policy']} is tried ({trial['stage']}): it {decides}; {trial['why']}."
        told = [record for record in oversight.records[-5:] if record["event"] in TOLD and _is_new(record["time"])]
        return f"{told[-1]['policy']}: {told[-1]['event']}; {told[-1]['why']}." if told else ""

    def _servers(self) -> list[ServerInfo]:
        dispatcher = self.gateway.dispatcher
        queue_s = dispatcher.queue_s.tolist()
        return [
            ServerInfo(
                name=load.name,
                kind="",
                models=(),
                order=order_text(load.backlog.order),
                state=load.state,
                reason=load.reason,
                queue_s=seconds,
                tasks=len(load.backlog),
                over_expected=load.speed.over_expected,
            )
            for load, seconds in zip(dispatcher.loads, queue_s, strict=False)
        ]


def _is_new(moment: str) -> bool:
    return datetime.now(UTC) - datetime.fromisoformat(moment) < timedelta(seconds=TOLD_S)
