"""The benchmark of the HTTP API runs. Nothing is timed here."""

import asyncio

from benchmarks.http_api import UNEQUAL, cost, endured, overloaded, service, verdict, watched


def test_every_table_has_its_figures_and_the_goals_are_judged():
    assert [row["path"] for row in cost(3)] == ["dispatcher", "HTTP, dispatcher"]
    kept = endured(8, clients=2)
    assert kept["requests"] == kept["different ids"] == 8
    with service(UNEQUAL, max_wait_s=0.2) as (url, gateway):
        overload = asyncio.run(overloaded(url, 1.0))
        events = asyncio.run(watched(url, gateway, 0.5))
    assert overload["accepted"] + overload["refused"] == overload["requests"] and overload["other answers"] == 0
    assert overload["refused"] > 0 and overload["without Retry-After"] == 0 and 0 < events["received"] <= 200
    slow = {**overload, "refusal ms, p99": 500.0, "delay over predicted, p95": 1.0}
    assert [line.partition(":")[0] for line in verdict(slow, {"ms, p95": 10.0}).splitlines()] == [
        "- MISSED",
        "- reached",
        "- reached",
        "- reached",
    ]
