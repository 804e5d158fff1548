"""The policy of the package: any fleet and order, no worse than least work left, and what it hands over."""

import logging
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

import lad_rllib
from lad_rllib import names
from lad_rllib.algorithms.common.policy_file import read_policy
from lad_rllib.algorithms.lad_dispatch import DispatchPolicy, LADDispatchHyperparameters, load_request_scheduler
from lad_rllib.algorithms.lad_dispatch.familiar import SeenRange
from lad_rllib.algorithms.lad_dispatch.features import FEATURES, NUM_FEATURES, position
from lad_rllib.algorithms.lad_dispatch.knowledge import knowledge
from lad_rllib.errors import ConfigurationError
from lad_rllib.scheduling.by_name import make_scheduler
from lad_rllib.scheduling.request_scheduler import play_requests
from lad_rllib.simulator.requests import build_request_setting
from lad_rllib.simulator.requests.play import RequestSimulation

POLICIES = Path(lad_rllib.__file__).parent / "data" / "policies"
COUNT = FEATURES.index("number of servers: log")


def fleet(servers=8, load=0.9, order="fifo", requests=4000, **fields):
    """Unequal servers that training does not draw."""
    speeds = [2.0 ** -(index % 4) for index in range(servers)]
    traffic = {"kind": "poisson", "load": load}
    return build_request_setting(
        {"servers": speeds, "order": order, "requests": requests, "traffic": traffic, **fields}
    )


def delay_s(scheduler, setting, seed=0):
    rng = np.random.default_rng(seed)
    return play_requests(scheduler, setting.world, setting.draw(rng), setting.history(), rng).delay_s


def test_every_policy_of_the_package_is_small_says_what_it_is_and_can_be_named():
    assert {folder.name for folder in POLICIES.iterdir()} == {*names.SHIPPED_POLICIES}
    for folder in POLICIES.iterdir():
        files = {file.name: file.stat().st_size for file in folder.iterdir()}
        assert files.keys() == {"policy.json", "policy.safetensors", "README.md"} and sum(files.values()) < 1e6
        assert isinstance(DispatchPolicy.pretrained(folder.name), DispatchPolicy)
    with pytest.raises(ConfigurationError, match="no policy 'some-fleet'; choose from any-fleet"):
        DispatchPolicy.pretrained("some-fleet")


@pytest.mark.parametrize("order", ["fifo", "shortest_first"])
@pytest.mark.parametrize(("servers", "load"), [(5, 0.3), (8, 0.9), (20, 1.2), (100, 0.7)])
def test_without_training_it_is_no_worse_than_least_work_left_on_fleets_it_never_saw(servers, load, order):
    setting = fleet(servers, load, order)
    ours, rule = DispatchPolicy.pretrained("any-fleet"), make_scheduler("least-work-left", one_by_one=True)
    assert delay_s(ours, setting).mean() < 1.01 * delay_s(rule, setting).mean()


def test_a_cap_on_waits_shortens_the_longest_delays():
    setting, policy = fleet(8, 1.2), DispatchPolicy.pretrained("any-fleet")
    capped_s, free_s = delay_s(policy, setting), delay_s(policy.with_wait_cap(None), setting)
    assert policy.actor.wait_cap == 0.5
    assert np.percentile(capped_s, 99) < 0.8 * np.percentile(free_s, 99)
    np.testing.assert_array_equal(delay_s(policy.with_wait_cap(1e9), setting), free_s)


def test_a_policy_with_the_settings_that_it_learned_by_can_be_capped():
    policy = DispatchPolicy(LADDispatchHyperparameters(hidden_size=16), np.zeros(1, np.float32)).with_wait_cap(0.6)
    assert (policy.actor.wait_cap, policy.actor.hidden_size) == (0.6, 16)


@pytest.mark.parametrize("cap", [0.0, 0.7])
def test_no_request_waits_longer_than_the_cap_lets_it_but_the_one_that_is_served_soonest_there(cap):
    setting, policy = fleet(8, 1.2, requests=500), DispatchPolicy.pretrained("any-fleet").with_wait_cap(cap)
    policy.begin(setting.world, setting.history())
    simulation, rng = RequestSimulation(setting.world, setting.draw(np.random.default_rng(0))), np.random.default_rng(0)
    speed = setting.world.speed(setting.history())
    for view in simulation:
        chosen = policy.choose(view, rng)
        delay = view.way_s + view.ahead_s + view.service_s
        even_s = view.work_left_s @ speed / speed.sum()
        assert view.ahead_s[chosen] <= (delay.min() + cap * even_s) * (1 + 1e-6) or delay[chosen] == delay.min()
        simulation.send(chosen)


def test_it_is_meant_for_several_orders_of_service_and_says_so_of_others(caplog):
    policy = load_request_scheduler("any-fleet")
    with caplog.at_level(logging.WARNING, "lad_rllib"):
        for order in ("fifo", "shortest_first", "aged:service_weight=40", "deadline", "priority"):
            setting = fleet(3, order=order, requests=50)
            policy.rule(setting.world, setting.history())
        assert caplog.text == ""
        setting = fleet(3, order="fair", requests=50)
        policy.rule(setting.world, setting.history())
    assert "is served fair" in caplog.text


def test_what_is_beyond_training_goes_where_least_work_is_left_and_is_counted(caplog):
    ours = DispatchPolicy.pretrained("any-fleet")
    low, high = ours.seen.low.copy(), ours.seen.high.copy()
    high[COUNT] = np.log(4 / 15)  # as if it had seen at most four servers, and two at least
    narrow = DispatchPolicy(ours.actor, ours.weights, seen=SeenRange(low, high))
    rule = make_scheduler("least-work-left", one_by_one=True)
    small, large = fleet(4, requests=300), fleet(30, requests=300)
    np.testing.assert_array_equal(delay_s(narrow, small), delay_s(ours, small))
    np.testing.assert_array_equal(delay_s(narrow, large), delay_s(rule, large))
    assert (delay_s(ours, large) != delay_s(rule, large)).any()

    narrow.begin(large.world, large.history())
    assert narrow.handed_over == 0 and narrow.unfamiliar == {}
    simulation, rng = RequestSimulation(large.world, large.draw(np.random.default_rng(0))), np.random.default_rng(0)
    with caplog.at_level(logging.WARNING, "lad_rllib"):
        for view in simulation:
            simulation.send(narrow.choose(view, rng))
    assert narrow.handed_over == 300 and narrow.unfamiliar[FEATURES[COUNT]] == 300
    said = [record for record in caplog.messages if FEATURES[COUNT] in record]
    assert len(said) == 1 and "hands a request over to least work left" in said[0]


def test_on_worlds_like_those_of_training_it_hands_nothing_over():
    setting = fleet(12, 0.95, requests=2000)
    policy = DispatchPolicy.pretrained("any-fleet")
    policy.begin(setting.world, setting.history())
    simulation, rng = RequestSimulation(setting.world, setting.draw(np.random.default_rng(0))), np.random.default_rng(0)
    for view in simulation:
        simulation.send(policy.choose(view, rng))
    assert policy.handed_over == 0


class Bomb:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def test_a_pickle_in_a_policy_folder_is_never_loaded(tmp_path):
    folder, trace = tmp_path / "from-a-stranger", tmp_path / "trace"
    shutil.copytree(POLICIES / "any-fleet", folder)
    for name in ("algorithm_state.pkl", "class_and_ctor_args.pkl", "policy.pkl", "policy.pt"):
        (folder / name).write_bytes(pickle.dumps(Bomb(trace)))
    assert load_request_scheduler(folder).orders == DispatchPolicy.pretrained("any-fleet").orders
    (folder / "policy.safetensors").write_bytes(pickle.dumps(Bomb(trace)))
    with pytest.raises(ConfigurationError, match="damaged"):
        load_request_scheduler(folder)
    assert not trace.exists()


def test_a_range_of_another_number_of_features_is_refused():
    saved = read_policy("any-fleet")
    arrays = saved.weights | {"seen.low": np.zeros(3, np.float32), "seen.high": np.ones(3, np.float32)}
    with pytest.raises(ValueError, match=rf"seen.low is float32\[3\], float32\[{NUM_FEATURES}\]"):
        type(saved)(saved.description, arrays).check_memory(None)


def test_a_request_a_little_larger_than_those_of_its_kind_has_their_place():
    # A dispatcher predicts with measured speeds: alike requests differ by a per cent.
    setting = build_request_setting({"preset": "unequal-8"})
    known = knowledge(setting.world, setting.history())
    sizes = np.unique(known.size.round(6))
    places = [[position(known, factor * size) for size in sizes] for factor in (1.0, 0.99, 1.01)]
    assert places[0] == places[1] == places[2] and (np.diff(places[0]) > 0).all()
