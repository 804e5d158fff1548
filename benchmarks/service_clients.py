"""Clients of a service over HTTP: requests at given times, or so many in flight, and what became of each."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

PATH = "/v1/images/generations"
TIMEOUT_S = 300.0
KEPT_ALIVE_S = 2.0
"""How long clients keep idle connections [s]: shorter than servers, which else close one that is just being used."""

BROKEN = 0
"""Status of a request whose connection broke before its answer was there."""


@dataclass(frozen=True)
class Answer:
    """What became of a request; times are wall-clock times.

    Attributes:
        number: Which request.
        status: HTTP status, or :data:`BROKEN`.
        late_s: How long after it was due it was sent [s].
        delay_s: From when it was due until its answer was there [s].
        served: What the answer says of how it was served; empty without images.
        reason: Why there are none; empty otherwise.
    """

    number: int
    status: int
    late_s: float
    delay_s: float
    served: dict[str, Any] = field(default_factory=dict)
    reason: str = ""


def client(url: str, connections: int | None = None) -> httpx.AsyncClient:
    """A client with any number of connections, or at most so many."""
    limits = httpx.Limits(max_connections=connections, keepalive_expiry=KEPT_ALIVE_S)
    return httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S, limits=limits)


async def send_at(
    url: str,
    bodies: Sequence[dict[str, Any]],
    due_s: Sequence[float],
    on_answer: Callable[[Answer], object] = lambda answer: None,
) -> list[Answer]:
    """Send each request when it is due, whatever has become of those before; returns when all are answered.

    Args:
        url: Where the service listens.
        bodies: The requests.
        due_s: When each is due, from now [s, wall clock], in order.
        on_answer: Called with each answer.
    """
    async with client(url) as http, asyncio.TaskGroup() as group:
        began = time.perf_counter()

        async def ask(number: int, due: float) -> Answer:
            answer = await _ask(http, number, bodies[number], due)
            on_answer(answer)
            return answer

        asking = []
        for number, seconds in enumerate(due_s):
            await asyncio.sleep(max(0.0, began + seconds - time.perf_counter()))
            asking.append(group.create_task(ask(number, began + seconds)))
    return [one.result() for one in asking]


async def keep_in_flight(
    url: str,
    bodies: Sequence[dict[str, Any]],
    in_flight: int,
    on_answer: Callable[[Answer], object] = lambda answer: None,
) -> list[Answer]:
    """Send the requests in turn, so many at a time: one more whenever one is answered."""
    answers: list[Answer] = []
    numbers = itertools.count()
    async with client(url, in_flight) as http, asyncio.TaskGroup() as group:

        async def ask() -> None:
            while (number := next(numbers)) < len(bodies):
                answers.append(await _ask(http, number, bodies[number], time.perf_counter()))
                on_answer(answers[-1])

        for _ in range(in_flight):
            group.create_task(ask())
    return answers


async def _ask(http: httpx.AsyncClient, number: int, body: dict[str, Any], due: float) -> Answer:
    late_s = time.perf_counter() - due
    try:
        answer = await http.post(PATH, json=body)
    except httpx.HTTPError as error:
        return Answer(number, BROKEN, late_s, time.perf_counter() - due, reason=type(error).__name__)
    delay_s = time.perf_counter() - due
    if answer.status_code != 200:
        return Answer(number, answer.status_code, late_s, delay_s, reason=_reason(answer))
    return Answer(number, 200, late_s, delay_s, answer.json()["served"])


def _reason(answer: httpx.Response) -> str:
    """The code of an error in OpenAI's form, or what the answer begins with."""
    try:
        return str(answer.json()["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:60]
