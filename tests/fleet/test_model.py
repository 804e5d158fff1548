"""A fleet in the simulator's units: exact where it says so, and the same there and back."""

import numpy as np
import pytest

from lad_rllib.edge import DelayFit
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet import FleetModel, load_fleet
from lad_rllib.simulator import build_setting

FITS = [DelayFit(0.4, 0.2), DelayFit(0.2, 0.1), DelayFit(0.3, 0.05)]


@pytest.fixture
def model():
    servers = [
        {"name": f"s{i}", "kind": "emulated", "profile": "a100", "link_rate_mbit_per_s": rate}
        for i, rate in enumerate((400.0, None, 450.0))
    ]
    spec = load_fleet({"name": "three", "stations": 2, "servers": servers})
    return FleetModel.from_fits(spec, FITS, typical_steps=12)


def test_the_simulator_predicts_what_was_measured_at_the_typical_number_of_steps(model):
    assert [model.predict_s(i, 12) for i in range(3)] == pytest.approx([fit.predict_s(12) for fit in FITS])


def test_servers_of_equal_proportions_are_predicted_at_every_number_of_steps():
    spec = load_fleet({"name": "two", "servers": [{"name": "s", "kind": "emulated", "profile": "a100", "count": 2}]})
    model = FleetModel.from_fits(spec, FITS[:2])
    assert [model.predict_s(0, z) for z in (1, 7, 30)] == pytest.approx([FITS[0].predict_s(z) for z in (1, 7, 30)])


def test_the_setting_of_a_model_has_the_load_asked_for_and_gives_the_model_back(model):
    setting = build_setting(model.spec("calibrated", max_tasks=7, load=0.9))
    assert setting.load == pytest.approx(0.9)
    again = FleetModel.from_setting(setting)
    assert again.work == model.work
    assert again.network.capacity_gcycles_per_s.tolist() == model.network.capacity_gcycles_per_s.tolist()
    assert again.network.home_server.tolist() == [0, 1]


def test_drawn_tasks_have_the_work_that_the_dispatcher_counts(model):
    setting = build_setting(model.spec("calibrated"))
    arrivals = setting.arrivals.draw(np.random.default_rng(0), 3)
    expected = model.work.workload_gcycles(arrivals.denoising_steps[0, 1, 0])
    assert arrivals.workload_gcycles[0, 1, 0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("key", "value", "most"), [("task_mbit", [1.0, 1e12], 80000), ("denoising_steps", [1, 1001], 1000)]
)
def test_a_setting_whose_tasks_no_server_takes_is_refused(model, key, value, most):
    spec = model.spec("calibrated")
    spec["arrivals"][key] = value
    with pytest.raises(ConfigurationError, match=f"setting calibrated has {key} up to .*takes up to {most}"):
        FleetModel.from_setting(build_setting(spec))


def test_a_setting_of_no_fleet_is_refused():
    with pytest.raises(ConfigurationError, match="setting paper is not of a fleet.*calibrate"):
        FleetModel.from_setting(build_setting({"preset": "paper"}))
