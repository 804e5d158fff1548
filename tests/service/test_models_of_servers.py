"""Servers that have different image models: every scheduler's requests go to those that have theirs."""

import contextlib
from collections import Counter
from dataclasses import replace

import pytest

from lad_rllib.edge import DeviceProfile, EdgeServer, EmulatedEngine, EngineDescription, InvalidRequest
from lad_rllib.edge.engines.residency import Residency
from lad_rllib.fleet.requests import offer_of
from lad_rllib.scheduling import HEURISTICS
from lad_rllib.scheduling.request_rules.loaded import LeastWorkLeft
from lad_rllib.scheduling.request_scheduler import REQUEST_SCHEDULERS, RequestScheduler
from lad_rllib.service import Dispatcher, Offer, RequestModel
from tests.service.fleets import WORK, Fixed, Wrapped, network, running_at, tasks, until
from tests.service.test_elastic import profile
from tests.service.test_one_by_one import Actor, model_of

HAVE = {"s0": ("sdxl",), "s1": ("flux", "sdxl"), "s2": ("flux",), "s3": ("sana",)}
SPEED = 2000.0


class Heedless(RequestScheduler):
    """A foreign scheduler that heeds nothing of what it is told."""

    def __init__(self):
        self.turn = 0

    def choose(self, view, rng):
        """See the base."""
        self.turn += 1
        return self.turn % len(view.up)


def with_models(name, models, **settings):
    """A server that refuses models other than its own."""
    times = {"overhead_s": 0.0, "per_step_s": 1 / SPEED, "swap_s": 0.0}
    device = DeviceProfile(name=name, origin="assumption", source="made up for a test", **times)
    engine = EmulatedEngine(device, make_png=False, models=models, models_in_memory=len(models))
    return EdgeServer(name, engine, **settings)


@contextlib.contextmanager
def unlike(scheduler, have=HAVE, **settings):
    """A dispatcher over servers that have these models, and the servers by name."""
    speeds = [SPEED] * len(have)
    known = model_of(speeds)
    requests = RequestModel(known.world, known.history, [Offer(models=models) for models in have.values()])
    with contextlib.ExitStack() as stack:
        servers = [Wrapped(stack.enter_context(with_models(*server, **settings))) for server in have.items()]
        dispatcher = Dispatcher(servers, network(speeds), WORK, scheduler, seed=1, requests=requests, patience_s=0.5)
        yield stack.enter_context(dispatcher), dict(zip(have, servers, strict=True))


def asking(number, *models, **more):
    """Tasks that name models in turn."""
    return [replace(task, model=models[i % len(models)]) for i, task in enumerate(tasks(number, **more))]


def schedulers():
    """A scheduler of every kind, by name."""
    yield from ((f"requests: {name}", REQUEST_SCHEDULERS[name]) for name in REQUEST_SCHEDULERS)
    yield from ((f"slots: {name}", HEURISTICS[name]) for name in HEURISTICS)
    yield from (("LAD-Dispatch", Actor), ("foreign", Heedless), ("foreign, of slots", lambda: Fixed(3)))


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in schedulers()])
def test_every_scheduler_has_requests_sent_to_servers_that_have_their_model(make):
    with unlike(make()) as (dispatcher, _):
        deliveries = dispatcher.run(asking(24, "sdxl", "flux", "sana", None), timeout_s=60)
    for delivery in deliveries:
        assert delivery.error is None and delivery.attempts == 1
        assert delivery.task.model is None or delivery.task.model in HAVE[delivery.server]
        assert delivery.record.model in HAVE[delivery.server]


def test_a_model_that_no_server_has_ends_at_once_and_says_which_there_are():
    with unlike(LeastWorkLeft()) as (dispatcher, _):
        [delivery] = dispatcher.run(asking(1, "sdxx"), timeout_s=10)
    assert isinstance(delivery.error, InvalidRequest) and delivery.attempts == 0
    assert "no server has model 'sdxx'; did you mean 'sdxl'?" in str(delivery.error)


def test_a_request_is_seen_to_have_no_choice_but_the_servers_with_its_model():
    with unlike(LeastWorkLeft()) as (dispatcher, _):
        seen = {model: dispatcher.view(asking(1, model)[0]).up.tolist() for model in ("sdxl", "sana", None)}
        assert seen == {"sdxl": [True, True, False, False], "sana": [False] * 3 + [True], None: [True] * 4}
        dispatcher.drain("s1")
        assert dispatcher.view(asking(1, "sdxl")[0]).up.tolist() == [True, False, False, False]


def test_what_a_lost_server_had_goes_to_another_with_its_model_and_waits_if_that_is_the_only_one():
    with unlike(LeastWorkLeft()) as (dispatcher, servers):
        futures = dispatcher.submit(asking(12, "sdxl", steps=200))
        until(lambda: running_at(servers["s0"].inner) is not None)
        servers["s0"].dead = True
        assert {future.result(30).server for future in futures} <= {"s0", "s1"}
        servers["s3"].dead = True
        [lost] = dispatcher.run(asking(1, "sana"), timeout_s=30)
    assert lost.error.name == "server_unavailable"


def test_a_server_that_idles_takes_over_only_what_it_can_draw():
    have = {"s0": ("sdxl",), "s1": ("flux",), "s2": ("sdxl",)}
    with unlike(Fixed(0), have, queue_limit=1) as (dispatcher, _):
        deliveries = dispatcher.run(asking(12, "sdxl", steps=20), timeout_s=60)
    assert Counter(delivery.server for delivery in deliveries).keys() == {"s0", "s2"}


def test_a_server_that_joins_brings_its_models():
    with unlike(LeastWorkLeft()) as (dispatcher, _), with_models("s4", ("sd3",)) as new:
        dispatcher.add(new, profile("s4", SPEED), Offer(models=("sd3",)))
        [served] = dispatcher.run(asking(1, "sd3"), timeout_s=30)
        assert served.server == "s4"
        dispatcher.remove("s4")
        [refused] = dispatcher.run(asking(1, "sd3"), timeout_s=30)
    assert refused.error.name == "invalid_request"


def test_a_server_with_a_single_model_is_asked_for_it_without_the_name():
    told = []

    class Single(Wrapped):
        def submit(self, task):
            told.append(task.model)
            return super().submit(task)

    with with_models("s0", ("own",)) as inner:
        offers = [Offer(models=("sdxl",), chooses=False)]
        known = RequestModel(model_of([SPEED]).world, model_of([SPEED]).history, offers)
        with Dispatcher([Single(inner)], network([SPEED]), WORK, LeastWorkLeft(), requests=known) as dispatcher:
            [delivery] = dispatcher.run(asking(1, "sdxl"), timeout_s=30)
    assert delivery.error is None and delivery.task.model == "sdxl" and told == [None]


def test_engines_say_what_servers_can_be_asked_for():
    def described(models, residency=None):
        return EngineDescription(
            "kind", "own", "cpu", "float32", "full", None, None, models=models, residency=residency
        )

    assert offer_of(described(("sdxl", "flux"))) == Offer(models=("sdxl", "flux"))
    assert offer_of(described((), Residency())) == Offer()  # an emulated one takes any name
    assert offer_of(described(())) == Offer(models=("own",), chooses=False)
