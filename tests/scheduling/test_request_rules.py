"""Rules for requests that come one by one: by hand, compiled against called, and with servers that are down."""

from dataclasses import replace

import numpy as np
import pytest

from lad_rllib.scheduling.request_rules.intervals import intervals, place_in_work, work_table
from lad_rllib.scheduling.request_rules.parts import drawn, load, rate_per_s
from lad_rllib.scheduling.request_scheduler import REQUEST_SCHEDULERS, play_requests
from lad_rllib.simulator import make_order
from lad_rllib.simulator.requests import build_request_setting, plain_requests
from lad_rllib.simulator.requests.loop import empty_view
from lad_rllib.simulator.requests.play import play_choices

SETTING = {
    "servers": [1.0, 1.0, 0.5, 0.25],
    "models_in_memory": 2,
    "swap_s": 3.0,
    "order": "aged:service_weight=10",
    "requests": 300,
    "traffic": {"kind": "poisson", "load": 0.9, "mix": {"models": 4, "lora_sets": 2, "lora_share": 0.2}},
}


@pytest.fixture(scope="module")
def drawn_once():
    setting = build_request_setting(SETTING)
    return setting.world, setting.draw(np.random.default_rng(1)), setting.history()


@pytest.mark.parametrize("name", REQUEST_SCHEDULERS)
def test_a_rule_decides_alike_inside_the_loop_and_called_from_python(name, drawn_once):
    world, requests, history = drawn_once
    scheduler = REQUEST_SCHEDULERS[name]()
    compiled = play_requests(scheduler, world, requests, history, np.random.default_rng(2))
    scheduler.begin(world, history)
    rng = np.random.default_rng(2)
    called = play_choices(lambda view: scheduler.choose(view, rng), world, requests)
    np.testing.assert_array_equal(compiled.server, called.server)
    assert len(set(compiled.server.tolist())) > 1


@pytest.mark.parametrize("name", REQUEST_SCHEDULERS)
def test_no_rule_sends_to_a_server_that_is_down(name, drawn_once):
    world, requests, history = drawn_once
    rng, scheduler = np.random.default_rng(3), REQUEST_SCHEDULERS[name]()
    scheduler.begin(world, history)

    def choose(view):
        view.up[:] = rng.random(4) < 0.3
        view.up[rng.integers(4)] = True
        server = scheduler.choose(view, rng)
        assert view.up[server]
        return server

    play_choices(choose, world, requests)


def chosen(name, world, history, **seen):
    """Where a rule sends a request of which this is seen."""
    scheduler = REQUEST_SCHEDULERS[name]()
    scheduler.begin(world, history)
    view = empty_view(world.timing(history[:1]))
    return scheduler.choose(view._replace(**{key: np.array(value) for key, value in seen.items()}), np.random)


@pytest.mark.parametrize(
    ("name", "server"),
    [
        ("join-shortest-queue", 2),  # one request
        ("declared-cost", 3),  # 5
        ("least-work-left", 1),  # 4 s
        ("least-work-left-affinity", 0),  # 5 s; 1 has to load the model
        ("shortest-expected-delay", 0),  # 1 + 5 + 2
        ("resident-first", 0),  # with the model, and within two requests of the least busy
        ("round-robin", 0),
    ],
)
def test_what_each_rule_compares(name, server, drawn_once):
    world, _, history = drawn_once
    seen = {
        "service_s": [2.0, 2.0, 4.0, 8.0],
        "swap_s": [0.0, 3.0, 3.0, 3.0],
        "way_s": [1.0] * 4,
        "work_left_s": [5.0, 4.0, 7.0, 8.0],
        "ahead_s": [5.0, 4.0, 7.0, 8.0],
        "tasks": [3, 2, 1, 4],
        "declared": [30.0, 20.0, 10.0, 5.0],
    }
    assert chosen(name, world, history, **seen) == server


def test_draws_are_in_proportion_and_leave_randomness_for_another():
    shares, up = np.array([1.0, 2.0, 5.0]), np.array([True, True, False])
    uniform = (np.arange(3000) + 0.5) / 3000
    servers, rest = map(np.array, zip(*(drawn(shares, up, -1, u) for u in uniform), strict=True))
    assert np.bincount(servers).tolist() == [1000, 2000]
    assert np.histogram(rest, 10, (0, 1))[0].tolist() == [300] * 10
    assert {drawn(shares, up, 1, u)[0] for u in uniform[::100]} == {0}


def test_intervals_give_every_server_work_in_proportion_to_its_speed():
    setting = build_request_setting(SETTING | {"requests": 20_000})
    world, history = setting.world, setting.history()
    table, speed = work_table(world.service_s(history).mean(axis=1)), world.speed(history)
    rng = np.random.default_rng(0)
    sizes = world.service_s(history).mean(axis=1)
    place = np.array([place_in_work(table, size, rng.random()) for size in sizes])
    for fast_take_small in (True, False):
        begin, end = intervals(world, history, fast_take_small)
        own = np.array([sizes[(place >= b) & (place < e)].sum() for b, e in zip(begin, end, strict=True)]) / sizes.sum()
        own[:2] /= 2  # two are equally fast and share an interval
        np.testing.assert_allclose(own, speed / speed.sum(), atol=0.01)
        assert bool(begin[0] == 0.0) is fast_take_small and begin[0] == begin[1]


def test_rate_and_load_of_the_past_are_those_of_the_setting():
    setting = build_request_setting(SETTING | {"requests": 20_000})
    assert load(setting.world, setting.history()) == pytest.approx(0.9, rel=0.02)
    in_slots = plain_requests(np.repeat(np.arange(5.0), 10))
    assert rate_per_s(in_slots) == pytest.approx(10.0)


def test_asymmetry_and_prices_are_below_the_shortest_queue_where_sizes_differ():
    setting = build_request_setting({"preset": "unequal-8", "requests": 20_000, "traffic": {"load": 0.9}})
    requests, history = setting.draw(np.random.default_rng(0)), setting.history()
    world = replace(setting.world, order=make_order("fifo"))

    def mean_s(name):
        played = play_requests(REQUEST_SCHEDULERS[name](), world, requests, history, np.random.default_rng(0))
        return played.delay_s.mean()

    names = ("first-policy-iteration", "least-work-left", "join-shortest-queue", "capacity-proportional")
    assert sorted(names, key=mean_s) == list(names)
