"""The compiled event loop of requests: against a literal loop, by hand, and in the slotted simulator's case."""

from dataclasses import replace

import numpy as np
import pytest

from lad_rllib.arrays import Doubles, Vector
from lad_rllib.compiling import kernel
from lad_rllib.errors import ConfigurationError
from lad_rllib.scheduling import make_heuristic, play
from lad_rllib.simulator import build_setting, make_order, stack_arrivals
from lad_rllib.simulator.order import FairTags
from lad_rllib.simulator.requests import (
    LinearService,
    RequestServer,
    RequestWorld,
    plain_requests,
    slotted_requests,
    slotted_world,
)
from lad_rllib.simulator.requests.costs import marginal_costs_s
from lad_rllib.simulator.requests.loop import View
from lad_rllib.simulator.requests.play import CompiledRule, RequestSimulation, play_decisions, play_rule

ORDERS = ("fifo", "shortest_first", "aged:service_weight=3", "deadline", "priority", "fair")


def a_server(name, per_step_s, **attributes):
    return RequestServer(name, {"": LinearService(per_step_s=per_step_s)}, **attributes)


def a_world(rng, order, servers=3, models_in_memory=2):
    """Unequal servers, some with few models in memory."""
    return RequestWorld(
        tuple(
            a_server(
                f"server{index}",
                rng.uniform(0.05, 0.2),
                link_rate_mbit_per_s=rng.uniform(1, 5),
                models_in_memory=index % (models_in_memory + 1),
                swap_s={"": 1.5, "b": 4.0},
                lora_swap_s=0.5,
            )
            for index in range(servers)
        ),
        make_order(order),
    )


def some_requests(rng, number=60):
    return plain_requests(
        np.cumsum(rng.exponential(0.7, number) * (rng.random(number) < 0.8)),  # some arrive at one instant
        steps=rng.integers(1, 30, number),
        model=rng.integers(0, 3, number),
        loras=rng.integers(0, 3, number),
        tenant=rng.integers(0, 2, number),
        priority=rng.integers(0, 2, number),
        deadline_s=rng.uniform(1, 30, number),
        upload_mbit=rng.uniform(0, 1, number),
        result_mbit=rng.uniform(0, 1, number),
        actual_over_predicted=rng.lognormal(0, 0.3, number),
        models=("a", "b", "c"),
        lora_sets=("", "x", "y"),
        tenants=("one", "two"),
    )


def literal_starts(world, requests, servers):
    """When each request is begun, by the plainest loop: repeatedly take the least key of those that are there."""
    timing, starts = world.timing(requests), np.zeros(len(requests))
    for index, server in enumerate(world.servers):
        coming = [k for k in range(len(requests)) if servers[k] == index]
        tags, held, loras, clock, keys = FairTags(world.order.shares or {}), [], 0, 0.0, {}
        while coming or keys:
            now = clock if keys else max(clock, requests.arrival_s[coming[0]])
            if not keys and requests.arrival_s[coming[0]] >= clock:
                tags.idle()
            while coming and requests.arrival_s[coming[0]] <= now:
                k = coming.pop(0)
                tenant = requests.tenants[requests.tenant[k]]
                fair = world.order.shares is not None
                keys[k] = tags.join(tenant, timing.predicted_s[k, index]) if fair else timing.key[k, index]
            k = min(keys, key=lambda k: (keys[k], k))
            tags.serve(keys.pop(k))
            starts[k] = now
            model = requests.models[requests.model[k]]
            swap_s = 0.0
            if server.models_in_memory:
                if model not in held:
                    swap_s, loras = server.swap_s.get(model, server.swap_s[""]), 0
                held = [*(one for one in held if one != model), model][-server.models_in_memory :]
            if requests.loras[k] and requests.loras[k] != loras:
                swap_s += server.lora_swap_s
                loras = requests.loras[k]
            clock = now + swap_s + timing.actual_s[k, index]
    return starts


@pytest.mark.parametrize("order", ORDERS)
def test_every_request_begins_when_a_literal_loop_begins_it(order):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        world, requests = a_world(rng, order), some_requests(rng)
        servers = rng.integers(0, 3, len(requests))
        played = play_decisions(servers, world, requests)
        np.testing.assert_allclose(played.start_s, literal_starts(world, requests, servers), atol=1e-9)


def test_fair_tags_forget_tenants_who_were_served():
    tags = FairTags({})
    for number in range(100):
        tags.serve(tags.join(f"tenant {number}", 1.0))
    assert not tags._last and tags.tag("tenant 0", 1.0) == 101.0


def test_the_least_recently_used_model_makes_room():
    world = RequestWorld((a_server("one", 0.1, models_in_memory=2, swap_s={"": 1.0}),))
    a, b, c = range(3)
    requests = plain_requests(np.arange(6) * 10.0, steps=10, model=np.array([a, b, a, c, a, b]), models=("a", "b", "c"))
    played = play_decisions(np.zeros(6, int), world, requests)
    # a and b are loaded; c takes the place of b, not of a, which was used after it.
    assert played.swap_s.tolist() == [1.0, 1.0, 0.0, 1.0, 0.0, 1.0]


def test_a_view_says_which_model_would_make_room():
    world = RequestWorld((a_server("one", 0.1, models_in_memory=2, swap_s={"": 1.0}), a_server("two", 0.1)))
    a, b, c = range(3)
    model, models = np.array([a, b, a, c, a, b, c]), ("a", "b", "c")
    simulation = RequestSimulation(world, plain_requests([0, 10, 20, 30, 31, 32, 33], 10, model=model, models=models))
    found = []
    for view in simulation:
        found.append(view.makes_room.tolist())
        simulation.send(0)
    # There is room for a and b at first. c takes the place of b; a is the next to go, but one waits for it, so that c
    # goes, which is being served. The other server holds all.
    assert [one for one, _ in found] == [-1, -1, -1, b, -1, c, -1] and {other for _, other in found} == {-1}


def test_a_model_that_is_loaded_has_no_loras():
    world = RequestWorld((a_server("one", 0.1, models_in_memory=1, swap_s={"": 1.0}, lora_swap_s=0.5),))
    model, loras = np.array([0, 0, 0, 1, 0]), np.array([1, 0, 1, 0, 1])
    requests = plain_requests(np.arange(5) * 10.0, 10, model=model, models=("a", "b"), loras=loras, lora_sets=("", "x"))
    played = play_decisions(np.zeros(5, int), world, requests)
    assert played.swap_s.tolist() == [1.5, 0.0, 0.0, 1.0, 1.5]
    np.testing.assert_allclose(played.predicted_delay_s, played.delay_s)


def test_more_room_than_there_are_models_changes_nothing():
    requests = some_requests(np.random.default_rng(2))
    worlds = (RequestWorld((a_server("one", 0.1, models_in_memory=room, swap_s={"": 1.0}),)) for room in (3, 10**9))
    few, many = (play_decisions(np.zeros(60, int), world, requests) for world in worlds)
    np.testing.assert_array_equal(few.delay_s, many.delay_s)


@pytest.mark.parametrize("order", ORDERS)
def test_only_differences_of_arrival_times_matter(order):
    rng = np.random.default_rng(5)
    world, requests, servers = a_world(rng, order), some_requests(rng), rng.integers(0, 3, 60)
    before = replace(requests, arrival_s=requests.arrival_s - 1000.0)
    early, late = (play_decisions(servers, world, one) for one in (before, requests))
    np.testing.assert_allclose(early.delay_s, late.delay_s, atol=1e-9)
    early_s, late_s = (marginal_costs_s(world.timing(one), servers) for one in (before, requests))
    np.testing.assert_allclose(early_s, late_s, atol=1e-8)


def test_three_requests_by_hand():
    world = RequestWorld((a_server("one", 0.1),), make_order("shortest_first"))
    requests = plain_requests(np.array([0.0, 1.0, 2.0]), steps=np.array([30.0, 20.0, 10.0]))
    played = play_decisions(np.zeros(3, int), world, requests)
    assert played.start_s.tolist() == [0.0, 4.0, 3.0]  # the third overtakes the second
    assert played.delay_s.tolist() == [3.0, 5.0, 2.0]


@pytest.mark.parametrize("name", ["greedy-oracle", "water-filling", "round-robin", "local-only"])
def test_arrivals_at_slot_starts_are_the_slotted_simulator(name):
    setting = build_setting({"preset": "paper", "slots": 12})
    rng = np.random.default_rng(0)
    episodes = [setting.arrivals.draw(rng, setting.num_slots) for _ in range(2)]
    record = play(make_heuristic(name), setting.network, stack_arrivals(episodes), rng)
    for episode, drawn in enumerate(episodes):
        requests = slotted_requests(setting.network, drawn)
        played = play_decisions(record.action[episode][record.mask[episode]], slotted_world(setting.network), requests)
        np.testing.assert_allclose(played.delay_s, record.delay_s[episode][record.mask[episode]], atol=1e-9)


@pytest.mark.parametrize("order", ORDERS)
def test_relabelling_servers_relabels_nothing_else(order):
    rng = np.random.default_rng(3)
    world, requests = a_world(rng, order), some_requests(rng)
    servers = rng.integers(0, 3, len(requests))
    other = RequestWorld(world.servers[::-1], world.order)
    played, relabelled = (play_decisions(s, w, requests) for s, w in ((servers, world), (2 - servers, other)))
    np.testing.assert_array_equal(played.delay_s, relabelled.delay_s)
    np.testing.assert_array_equal(played.predicted_delay_s, relabelled.predicted_delay_s)


def test_predictions_come_true_first_in_first_out_where_times_are_known():
    rng = np.random.default_rng(4)
    world = RequestWorld(a_world(rng, "fifo", models_in_memory=0).servers, work="known")
    played = play_decisions(rng.integers(0, 3, 60), world, replace(some_requests(rng), loras=np.zeros(60, int)))
    np.testing.assert_allclose(played.predicted_delay_s, played.delay_s, atol=1e-9)


@kernel
def beyond(view: View, numbers: Doubles, weights: Vector, memory: Doubles, notes: Vector, uniform: float) -> int:
    return len(view.up)


def test_a_request_cannot_be_sent_to_a_server_that_is_not_there():
    world, requests = RequestWorld((a_server("one", 0.1),)), plain_requests(np.zeros(1))
    simulation = RequestSimulation(world, requests)
    simulation.look()
    with pytest.raises(IndexError, match="servers are 0..0"):
        simulation.send(1)
    with pytest.raises(IndexError, match="request 0"):
        play_rule(CompiledRule(beyond), world, requests, np.random.default_rng())


@kernel
def least_work(view: View, numbers: Doubles, weights: Vector, memory: Doubles, notes: Vector, uniform: float) -> int:
    """Where least work is left and least is ahead, by turns of the two."""
    memory[0] += 1.0
    return int(np.argmin(view.ahead_s + view.swap_s if memory[0] % 2.0 == 0.0 else view.work_left_s))


@pytest.mark.parametrize("order", ORDERS)
def test_requests_decided_at_once_see_the_queues_of_when_their_instant_began(order):
    rng = np.random.default_rng(0)
    world, requests = a_world(rng, order), some_requests(rng)
    assert (np.diff(requests.arrival_s) == 0).sum() > 5
    rule, nothing = CompiledRule(least_work, memory=1), np.zeros(0, np.float32)
    no_constants = np.zeros(0), nothing
    known = world.timing(requests)
    expected = np.zeros(len(requests), int)
    for instant in np.unique(requests.arrival_s):
        for request in np.flatnonzero(requests.arrival_s == instant):
            # the others of its instant are left out: what it would see alone after all that came before
            before = [*np.flatnonzero(requests.arrival_s < instant), request]
            alone = RequestSimulation(world, requests[before], _of(known, before))
            for earlier in before[:-1]:
                alone.look()
                alone.send(int(expected[earlier]))
            expected[request] = rule.choose(alone.look(), *no_constants, np.array([float(request)]), nothing, 0.0)
    served = play_rule(rule, replace(world, at_once=True), requests, np.random.default_rng(1))
    np.testing.assert_array_equal(served.server, expected)
    np.testing.assert_array_equal(served.start_s, play_decisions(expected, world, requests).start_s)
    assert (play_rule(rule, world, requests, np.random.default_rng(1)).server != expected).any()


def _of(timing, some):
    """The timing of some of the requests."""
    of_requests = {name: getattr(timing, name)[some] for name in PER_REQUEST}
    return timing._replace(**of_requests)


PER_REQUEST = [
    "arrival_s",
    "predicted_s",
    "actual_s",
    "upload_s",
    "download_s",
    "key",
    "tenant",
    "model",
    "loras",
    "facts",
]


def test_requests_decided_at_once_cannot_be_sent_one_after_the_other():
    world = replace(a_world(np.random.default_rng(0), "fifo"), at_once=True)
    with pytest.raises(ConfigurationError, match="play a compiled rule"):
        RequestSimulation(world, plain_requests([0.0], steps=1))
