"""An edge server as an application of Serve, seen from its process: order of calls, cancelling, and its health."""

import asyncio

import pytest

from lad_rllib.edge import ModelLoadFailed, ServerUnavailable
from lad_rllib.serving import edge_application
from lad_rllib.serving.edge_application import EdgeApplication
from tests.edge.engines import SteppedEngine, task


@pytest.fixture
def make(monkeypatch):
    """Makes applications that are closed at the end; this process keeps its ports."""
    monkeypatch.setattr(edge_application, "listen_on_own_address", lambda: None)
    made = []

    def make_one(engine, **settings):
        made.append(EdgeApplication("s1", lambda: engine, settings))
        return made[-1]

    yield make_one
    for application in made:
        application.__del__()


async def until(condition):
    """Wait until something holds, in the event loop."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


def test_calls_that_overtook_others_wait_for_their_turn_but_not_for_lost_ones(make, monkeypatch):
    engine = SteppedEngine()
    application = make(engine)

    async def play():
        first = asyncio.create_task(application.serve("other", 0, task("other")))
        await until(lambda: engine.order == ["other"])
        calls = [asyncio.create_task(application.serve("client", number, task(f"t{number}"))) for number in (3, 1, 2)]
        await asyncio.sleep(0.1)
        assert (await application.status()).tasks_queued == 0
        calls.append(asyncio.create_task(application.serve("client", 0, task("t0"))))
        await asyncio.sleep(0.1)
        assert (await application.status()).tasks_queued == 4
        engine.permit(1000)
        assert all([(await call).png for call in [first, *calls]])
        monkeypatch.setattr(edge_application, "TURN_WAIT_S", 0.01)
        assert (await application.serve("client", 9, task("after lost ones"))).png

    asyncio.run(play())
    assert engine.order == ["other", "t0", "t1", "t2", "t3", "after lost ones"]


def test_a_call_that_is_cancelled_leaves_the_server(make):
    engine = SteppedEngine()
    application = make(engine)

    async def play():
        calls = [asyncio.create_task(application.serve("client", number, task(f"t{number}"))) for number in range(2)]
        await until(lambda: engine.order == ["t0"])
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        engine.permit(1000)
        await until(lambda: all(application._server.progress(f"t{number}").state == "failed" for number in range(2)))
        return await application.status()

    status = asyncio.run(play())
    assert (status.tasks_served, status.tasks_queued, status.running_task_id) == (0, 0, None)


def test_a_call_that_was_meant_for_a_server_before_this_one_is_refused(make):
    application = make(SteppedEngine(free=True))
    since = application._server.since
    assert asyncio.run(application.serve("client", 0, task("meant"), since)).png
    with pytest.raises(ServerUnavailable, match="s1 was started again"):
        asyncio.run(application.serve("client", 1, task("late"), since - 5))


def test_a_server_is_started_again_if_it_is_stuck_but_not_while_it_drains(make):
    engine = SteppedEngine()
    application = make(engine, stall_s=0.05)

    async def play():
        await application.check_health()
        stuck = asyncio.create_task(application.serve("client", 0, task("stuck")))
        await until(lambda: engine.order == ["stuck"])
        await asyncio.sleep(0.1)
        with pytest.raises(RuntimeError, match="did no step"):
            await application.check_health()
        engine.permit(1000)
        assert (await stuck).png
        await application.drain()
        await application.check_health()

    asyncio.run(play())


def test_a_model_that_cannot_be_loaded_ends_the_constructor_by_name(make):
    with pytest.raises(ModelLoadFailed, match="no such folder"):
        make(SteppedEngine(load_error=FileNotFoundError("no such folder")))
