"""A dispatcher with a scheduler of requests decides each task when it comes, as the simulator does."""

import numpy as np
import pytest

from lad_rllib.algorithms.lad_dispatch.actor_settings import ActorSettings
from lad_rllib.algorithms.lad_dispatch.knowledge import knowledge
from lad_rllib.algorithms.lad_dispatch.networks import ScoringActor
from lad_rllib.edge import ImageTask
from lad_rllib.errors import ConfigurationError
from lad_rllib.scheduling.request_rules.loaded import JoinShortestQueue, LeastWorkLeft, ShortestExpectedDelay
from lad_rllib.scheduling.request_scheduler import RequestScheduler, RuleScheduler, play_requests
from lad_rllib.service import Offer, RequestModel, tasks_of_requests
from lad_rllib.simulator.order import make_order
from lad_rllib.simulator.requests import (
    LinearService,
    RequestServer,
    RequestWorld,
    build_request_setting,
    plain_requests,
)
from tests.service.fleets import Fixed, dispatched, tasks, until
from tests.service.virtual_fleet import VirtualFleet

SETTING = {
    "servers": [1.0, 0.5, {"speed": 0.25, "service": {"kind": "linear", "per_step_s": 0.1, "pixel_exponent": 1.3}}],
    "service": {"kind": "linear", "overhead_s": 0.3, "per_step_s": 0.1, "spread": 0.2},
    "requests": 400,
    "traffic": {
        "kind": "poisson",
        "load": 0.8,
        "mix": {"tenants": {"a": 1.0, "b": 1.0}, "priorities": [1.0, 1.0], "stations": 8},
    },
}
SWAPS = {"models_in_memory": 2, "swap_s": 8.5, "lora_swap_s": 4.4}
MODELS = {"models": {"sdxl": 3.0, "flux": 2.0, "sana": 1.0}, "lora_sets": 3, "lora_share": 0.3}


class Actor(RuleScheduler):
    """An actor of LAD-Dispatch with random weights that takes what it scores highest."""

    def rule(self, world, history):
        """See the class."""
        networks = ScoringActor(ActorSettings(), seed=3)
        weights = np.random.default_rng(6).normal(0.0, 0.3, networks.packed().shape).astype(np.float32)
        return ActorSettings().rule(knowledge(world, history), weights, 0.0)


class Watched(RequestScheduler):
    """A scheduler whose views are kept."""

    def __init__(self, inner):
        self.inner, self.views = inner, []

    def begin(self, world, history):
        """See :class:`RequestScheduler`."""
        self.views.clear()
        self.inner.begin(world, history)

    def choose(self, view, rng):
        """See :class:`RequestScheduler`."""
        self.views.append({name: np.copy(value) for name, value in view._asdict().items()})
        return self.inner.choose(view, rng)


def both(spec, scheduler, order):
    """What the simulator and a dispatcher's loop do with the same requests."""
    setting = build_request_setting({**spec, "order": order})
    requests, history = setting.draw(np.random.default_rng(1)), setting.history()
    simulated, live = Watched(scheduler()), Watched(scheduler())
    served = play_requests(simulated, setting.world, requests, history, np.random.default_rng(0))
    fleet = VirtualFleet(RequestModel(setting.world, history), live, requests.actual_over_predicted)
    servers, ended_s = fleet.serve(tasks_of_requests(requests, ["a cat"]), requests.arrival_s)
    return served, servers, ended_s, simulated.views, live.views


@pytest.mark.parametrize("order", ["fifo", "shortest_first", "aged:service_weight=3", "priority", "fair"])
@pytest.mark.parametrize("scheduler", [LeastWorkLeft, JoinShortestQueue, ShortestExpectedDelay, Actor])
def test_the_dispatcher_sees_and_decides_what_the_simulator_does(scheduler, order):
    served, servers, ended_s, simulated, live = both(SETTING, scheduler, order)
    assert servers.tolist() == served.server.tolist() and len(set(servers.tolist())) == 3
    np.testing.assert_allclose(ended_s, served.finish_s, rtol=1e-9)
    for one, other in zip(simulated, live, strict=True):
        for name, values in one.items():
            np.testing.assert_allclose(other[name], values, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("order", ["fifo", "shortest_first"])
@pytest.mark.parametrize("scheduler", [ShortestExpectedDelay, Actor])
def test_the_dispatcher_predicts_the_loading_of_models_and_loras_as_the_simulator_does(scheduler, order):
    spec = {**SETTING, **SWAPS, "traffic": {"kind": "poisson", "load": 0.5, "mix": MODELS}}
    served, servers, ended_s, simulated, live = both(spec, scheduler, order)
    assert servers.tolist() == served.server.tolist() and served.swap_s.any()
    np.testing.assert_allclose(ended_s, served.finish_s, rtol=1e-9)
    for one, other in zip(simulated, live, strict=True):
        np.testing.assert_allclose(other["swap_s"], one["swap_s"])
        np.testing.assert_array_equal(other["makes_room"], one["makes_room"])
        np.testing.assert_allclose(other["ahead_s"], one["ahead_s"], atol=1e-6)
    assert {-1, 0, 1, 2} == {int(number) for view in live for number in view["makes_room"]}


def test_a_task_that_says_no_size_takes_what_each_server_draws():
    service = {"": LinearService(per_step_s=0.1)}
    world = RequestWorld((RequestServer("a", service), RequestServer("b", service)))
    model = RequestModel(world, offers=[Offer(512, 512, guided=False), Offer(1024, 1024)])
    assert model.service_s(ImageTask("t", "x", 10)).tolist() == [1.0, 8.0]
    assert model.service_s(ImageTask("t", "x", 10, 256, 512, guidance=0.0)).tolist() == [0.5, 0.5]
    assert model.service_s(ImageTask("t", "x", 10, images=3)).tolist() == [3.0, 24.0]


def model_of(speeds):
    """Servers with these speeds in steps a second."""
    service = [LinearService(per_step_s=1 / speed, guidance_factor=1.0) for speed in speeds]
    servers = tuple(RequestServer(f"s{i}", {"": one}) for i, one in enumerate(service))
    return RequestModel(RequestWorld(servers, make_order("fifo")), plain_requests(np.arange(9.0), 4.0))


def test_tasks_of_a_server_that_dies_are_lost_by_no_scheduler_of_requests():
    speeds = [200, 100]
    with dispatched(speeds, JoinShortestQueue(), requests=model_of(speeds)) as (dispatcher, (victim, _)):
        futures = dispatcher.submit(tasks(8, steps=20))
        until(lambda: victim.inner.status().running_step > 0)
        victim.dead = True
        deliveries = [future.result(60) for future in futures]
        later = dispatcher.run([ImageTask("late", "x", 1)], timeout_s=60)[0]
    assert all(d.error is None and d.server == "s1" for d in deliveries if d.attempts == 2)
    assert {d.attempts for d in deliveries} == {1, 2} and all(d.error is None for d in deliveries)
    assert (later.server, later.attempts, later.error) == ("s1", 1, None)  # it sees which servers are up


def test_a_scheduler_of_requests_that_fails_ends_its_task_with_its_error():
    class Broken(RequestScheduler):
        def choose(self, view, rng):
            return 7 if view.facts[0] > 15 else 0

    with dispatched([500], Broken(), requests=model_of([500])) as (dispatcher, _):
        good, bad = dispatcher.run([ImageTask("a", "x", 4), ImageTask("b", "x", 16)], timeout_s=60)
    assert good.error is None
    assert str(bad.error) == "the scheduler failed: ValueError: it chose server 7; the fleet has servers 0 to 0"


def test_a_scheduler_of_requests_needs_a_past():
    problem = "LeastWorkLeft decides request by request, .* give the dispatcher"
    with pytest.raises(ConfigurationError, match=problem), dispatched([500], LeastWorkLeft()):
        pass


def test_a_scheduler_of_slots_predicts_by_sizes_where_they_are_known():
    with dispatched([500], Fixed(0), requests=model_of([500])) as (dispatcher, _):
        assert dispatcher.view(ImageTask("a", "x", 50, 1024, 512)).service_s.tolist() == [0.2]
