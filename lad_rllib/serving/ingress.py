"""The ingress deployment: the HTTP API with one dispatcher in it."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
from collections.abc import Callable
from typing import Any

import ray
from fastapi import FastAPI
from ray import serve

from lad_rllib.api import ApiSettings, Gateway, make_app
from lad_rllib.api.oversight import Overseer, PolicyHistory
from lad_rllib.declared import Declared, Text
from lad_rllib.edge.client import PROCESS
from lad_rllib.scheduling.request_scheduler import RequestScheduler
from lad_rllib.service import DecisionLog, Delivery, Dispatcher
from lad_rllib.service.guarded import GuardedScheduler
from lad_rllib.service.past import Past
from lad_rllib.serving import log
from lad_rllib.serving.control import FleetControl
from lad_rllib.serving.ingress_watch import RunningIngress
from lad_rllib.serving.keeper import FleetState, asked
from lad_rllib.serving.metrics import Metrics
from lad_rllib.serving.own_address import listen_on_own_address
from lad_rllib.serving.policies import policy_read_elsewhere, practise


class ServiceFiles(Declared):
    """What a service writes, where its ingress runs."""

    log: Text | None = None
    """File that log lines are added to, one JSON object each; null: `serve/lad_rllib.log` among Ray's logs."""
    decisions: Text | None = None
    """Folder of the decision log; null: none is kept."""


LOOK_S = 1.0
"""Time between two looks at the fleet for the metrics [s]."""


@serve.ingress()
class Ingress:
    """Takes requests over HTTP, and has its dispatcher send them to the fleet's servers.

    Serve starts it again if its process is lost; it finds the fleet, and what decides, at the keeper then. What the one
    before had under way is dropped by the servers, which the keeper tells.

    Args:
        keeper: Handle of the :class:`~lad_rllib.serving.keeper.FleetKeeper`.
        settings: Limits and defaults of the API.
        files: What it writes.
    """

    def __init__(self, keeper: Any, settings: ApiSettings, files: ServiceFiles) -> None:
        listen_on_own_address()
        log.write_json_lines(files.log)
        if scheduler := asked(keeper.scheduler_to_practise.remote()):
            practise(pickle.loads(scheduler))
        state: FleetState = asked(keeper.state.remote())
        keeper.watch.remote(_own_name())
        self._metrics = Metrics(settings.slo_s)
        self._dispatcher = make_dispatcher(state, self._metrics)
        past = Past(
            self._dispatcher,
            pickle.loads(state.past) if state.past else (),
            lambda latest: keeper.remember.remote(pickle.dumps(latest)),
        )
        observers: list[Callable[[Delivery], None]] = [self._metrics.delivered, log.delivered, past]
        self._decisions: DecisionLog | None = None
        if files.decisions is not None:
            scale = state.spec.time_scale
            self._decisions = DecisionLog(files.decisions, model=state.requests(), time_scale=scale)
            observers.append(self._decisions)
        self._gateway = Gateway(
            self._dispatcher,
            settings,
            models=state.models(),
            observers=observers,
            on_refusal=self._metrics.refused,
        )
        self._overseer = self._oversee(keeper, state, settings)
        self._control = FleetControl(self._dispatcher, self._gateway, self._overseer, keeper, state)
        self._settings = settings
        self._watch: asyncio.Task[None] | None = None

    def __serve_build_asgi_app__(self) -> FastAPI:
        """The app; Serve calls this once the constructor has returned."""
        self._overseer.start()
        self._watch = asyncio.get_running_loop().create_task(self._look())
        return make_app(self._gateway, self._settings, control=self._control, names_answers=False)

    async def check_health(self) -> None:
        """Serve starts the ingress again if this raises: the dispatcher has stopped."""
        await asyncio.to_thread(lambda: self._dispatcher.queue_s)

    def __del__(self) -> None:
        """Serve ends the ingress."""
        with contextlib.suppress(AttributeError):  # the constructor failed
            self._overseer.close()
            self._gateway.close()
            self._dispatcher.close()
            if self._decisions is not None:
                self._decisions.close()

    def _oversee(self, keeper: Any, state: FleetState, settings: ApiSettings) -> Overseer:
        """What tries policies and watches the one in charge; the keeper knows who that is."""

        def keep(policy: str, scheduler: RequestScheduler) -> None:
            asked(keeper.decide_by.remote(policy, pickle.dumps(scheduler)))

        return Overseer(
            self._gateway,
            state.make_scheduler(),
            PolicyHistory(settings.policies_file, on_record=self._metrics.recorded),
            load=policy_read_elsewhere,
            keep=keep,
            on_decision=self._metrics.decided,
        )

    async def _look(self) -> None:
        while True:
            await asyncio.to_thread(self._metrics.look, self._dispatcher)
            await asyncio.sleep(LOOK_S)


def _own_name() -> RunningIngress:
    """How this process is known."""
    return RunningIngress(ray.get_runtime_context().get_actor_name(), PROCESS)


def make_dispatcher(state: FleetState, metrics: Metrics) -> Dispatcher:
    """The dispatcher of a fleet, whose policy is left for least-work-left if it fails or is too slow."""
    model = state.model()
    dispatcher = Dispatcher(
        [server.client for server in state.servers],
        model.network,
        model.work,
        GuardedScheduler(state.make_scheduler(), state.policy, metrics.decided),
        time_scale=state.spec.time_scale,
        requests=state.requests(),
    )
    for name in state.draining:
        dispatcher.drain(name)
    return dispatcher
