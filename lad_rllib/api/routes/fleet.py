"""The fleet behind the service: what it is, and its changes."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from starlette.responses import JSONResponse, Response

from lad_rllib.api.clients import admin_of
from lad_rllib.api.control import Control, Oversight
from lad_rllib.api.errors import unknown
from lad_rllib.api.fleet_view import FleetView
from lad_rllib.api.routes.answers import errors
from lad_rllib.api.shadow import SHOWN
from lad_rllib.api.wire import Changed, Fleet, FleetFile, NewPolicy, NewServer, NewTrial, Policies, Replays

Failures = dict[int | str, dict[str, Any]]
ServerName = Annotated[str, Path(max_length=200)]


def fleet_routes(view: FleetView, control: Control | None) -> APIRouter:
    """The routes of the fleet; without a control there are no changes."""
    router = APIRouter(tags=["fleet"])

    @router.get("/v1/fleet", summary="Servers, policy and load", responses={200: {"model": Fleet}, **errors(401)})
    async def fleet() -> Response:
        figures = view.gateway.statistics.row()
        servers = [asdict(server) for server in await view.servers()]
        return JSONResponse({"policy": view.policy, "in_flight": len(view.gateway.jobs), **figures, "servers": servers})

    @router.get(
        "/v1/fleet/shadow",
        summary="What other schedulers would have done with the latest requests and the same outages",
        dependencies=[Depends(admin_of)],
        responses={200: {"model": Replays}, **errors(401, 403, 422)},
    )
    async def shadow(latest: Annotated[int, Query(ge=1, le=SHOWN)] = SHOWN) -> Response:
        return JSONResponse(await asyncio.to_thread(view.gateway.shadow.report, latest))

    if control is None:
        return router
    changes = APIRouter(tags=["fleet"], dependencies=[Depends(admin_of)])
    failures = errors(400, 401, 403, 408, 413, 422)

    async def check(name: str) -> None:
        if name not in {server.name for server in await control.servers()}:
            raise unknown("server", name)

    def changed(name: str, state: str) -> Response:
        return JSONResponse(Changed(name=name, state=state).model_dump())

    @changes.get(
        "/v1/fleet/file",
        summary="The fleet as in a fleet file",
        responses={200: {"model": FleetFile}, **errors(401, 403)},
    )
    async def fleet_file() -> Response:
        return JSONResponse(await control.fleet_file())

    @changes.post("/v1/fleet/servers", summary="Start a server", responses={200: {"model": Changed}, **failures})
    async def add(server: NewServer) -> Response:
        return changed(await control.add(server.root), "up")

    @changes.post(
        "/v1/fleet/servers/{name}/drain",
        summary="Send a server no more requests; it finishes those that it has",
        responses={200: {"model": Changed}, **failures, **errors(404)},
    )
    async def drain(name: ServerName) -> Response:
        await check(name)
        await control.drain(name)
        return changed(name, "draining")

    @changes.delete(
        "/v1/fleet/servers/{name}",
        summary="End a server; others take over its requests",
        responses={200: {"model": Changed}, **failures, **errors(404)},
    )
    async def remove(name: ServerName) -> Response:
        await check(name)
        await control.remove(name)
        return changed(name, "removed")

    @changes.put(
        "/v1/fleet/policy", summary="Let another policy decide", responses={200: {"model": NewPolicy}, **failures}
    )
    async def swap(policy: NewPolicy) -> Response:
        return JSONResponse(NewPolicy(policy=await control.swap(policy.policy)).model_dump())

    if (oversight := control.oversight) is not None:
        add_policy_routes(changes, oversight, failures)
    router.include_router(changes)
    return router


def add_policy_routes(router: APIRouter, oversight: Oversight, failures: Failures) -> None:
    """The routes of trials of policies."""

    def policies() -> Response:
        return JSONResponse({**oversight.status(), "records": oversight.records})

    @router.get(
        "/v1/fleet/policies",
        summary="Who decides, what is tried, and what became of policies",
        responses={200: {"model": Policies}, **errors(401, 403)},
    )
    async def read() -> Response:
        return policies()

    @router.post(
        "/v1/fleet/trial",
        summary="Try a policy: in shadow, on a share of the requests, then in charge if it is better",
        responses={200: {"model": Policies}, **failures},
    )
    async def begin(trial: NewTrial) -> Response:
        if trial.policy is None:
            await asyncio.to_thread(oversight.note, trial.why)
        else:
            await asyncio.to_thread(oversight.try_policy, trial.policy, trial.why)
        return policies()

    @router.delete(
        "/v1/fleet/trial",
        summary="End the trial; the policy in charge stays",
        responses={200: {"model": Policies}, **errors(400, 401, 403, 422)},
    )
    async def end() -> Response:
        await asyncio.to_thread(oversight.stop_trial)
        return policies()
