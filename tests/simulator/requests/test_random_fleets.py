"""Random fleets: every episode has another world, all of what is declared is drawn, and held-out worlds are others."""

import json

import jsonschema
import numpy as np
import pytest

from lad_rllib.errors import ConfigurationError
from lad_rllib.reference import fields_of
from lad_rllib.simulator.requests import (
    RANDOM_FLEETS,
    build_random_fleets,
    held_out,
    random_fleet_groups,
    random_fleets_schema,
    refuse_random_fleets,
    request_setting,
)
from lad_rllib.simulator.requests.random_fleets import SIZES, SPEEDS, TAU_S, draw_sizes, draw_speeds
from tests.mutations import check_refused_or_built

ANY = build_random_fleets({"preset": "any-fleet"})


def worlds(fleets, number=12):
    return [fleets.of_episode(np.random.default_rng(index)) for index in range(number)]


def test_every_episode_has_another_fleet_within_the_declared_ranges():
    drawn = worlds(ANY)
    fields = ANY.fields.fleets
    assert len({one.world.num_servers for one in drawn}) > 6
    for one in drawn:
        assert fields.servers[0] <= one.world.num_servers <= ANY.most_servers
        assert 0.75 * fields.load[0] <= one.load <= fields.load[1]
        assert fields.requests[0] <= one.num_requests <= ANY.num_requests
        assert one.world.speed(one.history()).mean() == pytest.approx(1.0)


def test_the_mean_request_takes_the_same_time_whatever_is_drawn():
    for one in worlds(ANY, 6):
        assert one.reference.service_s(one.history()).mean() == pytest.approx(TAU_S, rel=0.2)


def test_the_same_randomness_draws_the_same_fleet_and_held_out_ones_are_others():
    first, again = (ANY.draw_spec(np.random.default_rng(5)) for _ in range(2))
    assert first == again != ANY.draw_spec(np.random.default_rng(6))
    assert held_out(ANY, 0).spec == held_out(ANY, 0).spec != held_out(ANY, 1).spec


@pytest.mark.parametrize("kind", SPEEDS)
def test_speeds_have_mean_one(kind):
    speeds = draw_speeds(np.random.default_rng(0), kind, 50)
    assert np.mean(speeds) == pytest.approx(1.0) and min(speeds) > 0
    assert (len(set(speeds)) == 1) == (kind == "equal")


@pytest.mark.parametrize("kind", SIZES)
def test_every_mix_of_sizes_can_be_played(kind):
    images = draw_sizes(np.random.default_rng(0), kind)
    spec = {"servers": [1.0], "requests": 500, "traffic": {"kind": "poisson", "load": 0.5, "mix": {"images": images}}}
    setting = request_setting(spec)
    times = setting.reference.service_s(setting.history())
    assert (times.min() < 0.9 * times.max()) == (kind != "one")


def test_shares_say_what_is_drawn():
    only = {"fleets": {"servers": [3, 3], "speeds": {"equal": 1}, "orders": {"aged": 1}, "models_share": 1.0}}
    for one in worlds(build_random_fleets(only), 4):
        assert one.world.num_servers == 3 and len(set(one.world.speed(one.history()))) == 1
        assert one.spec["order"].startswith("aged:service_weight=") and one.spec["models_in_memory"] >= 1


def test_arrivals_are_poisson_bursty_or_slotted_by_their_shares():
    def kinds(fleets):  # of what an episode is built from
        return {fleets.draw_spec(np.random.default_rng(index))["traffic"]["kind"] for index in range(24)}

    mixed = build_random_fleets({"fleets": {"bursty_share": 0.3, "slotted_share": 0.3}})
    assert kinds(ANY) == {"poisson", "bursty"} and kinds(mixed) == {"poisson", "bursty", "slotted"}
    slotted = build_random_fleets({"fleets": {"bursty_share": 0.0, "slotted_share": 1.0}})
    for one in worlds(slotted, 4):
        traffic = one.spec["traffic"]
        assert traffic["kind"] == "slotted" and 3 * TAU_S <= traffic["slot_s"] <= 40 * TAU_S


def test_one_order_for_all_takes_the_place_of_the_drawn_ones():
    fleets = request_setting({"preset": "any-fleet"}, "aged:service_weight=7")
    assert fleets.orders == ["aged:service_weight=7"]
    assert {one.spec["order"] for one in worlds(fleets, 3)} == {"aged:service_weight=7"}
    assert ANY.orders == ["fifo", "shortest_first", "aged", "deadline", "priority"]


def test_what_describes_it_builds_it_again():
    again = build_random_fleets(ANY.spec)
    assert again.spec == ANY.spec == request_setting(json.loads(json.dumps(ANY.spec))).spec
    check_refused_or_built(build_random_fleets, ANY.spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"fleets": {"speeds": {"fast": 1}}}, "fleets.speeds: unknown name 'fast'; choose from equal"),
        ({"fleets": {"sizes": {"one": 0}}}, "fleets.sizes has no share above 0"),
        ({"fleets": {"servers": [9, 2]}}, "fleets.servers must be a range"),
        ({"preset": "unequal-8", "fleets": {}}, "has no random fleets; choose from any-fleet"),
        ({"fleets": {}, "traffic": {}}, "traffic"),
    ],
)
def test_what_cannot_be_drawn_is_refused(spec, message):
    with pytest.raises(ConfigurationError, match=message):
        build_random_fleets(spec)


def test_where_one_fleet_is_played_they_are_refused():
    with pytest.raises(ConfigurationError, match="another fleet in each episode"):
        refuse_random_fleets(RANDOM_FLEETS["any-fleet"])
    refuse_random_fleets({"preset": "unequal-8"})


def test_the_schema_takes_what_builds_and_every_field_says_what_it_means():
    schema = random_fleets_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for spec in (*RANDOM_FLEETS.values(), json.loads(json.dumps(ANY.spec))):
        jsonschema.validate(spec, schema)
    groups = random_fleet_groups().values()
    assert [(group.__name__, field.name) for group in groups for field in fields_of(group) if not field.help] == []
