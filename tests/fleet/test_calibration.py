"""A fleet measured and turned into a simulator of it, in which the same schedule takes the same time."""

import pytest

from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet import Fleet, FleetModel, calibrate, compare_schedules
from lad_rllib.simulator import build_setting
from tests.envs.live_fleets import FLEET, PER_STEP_S, setting

pytestmark = pytest.mark.serial  # compares times on the wall clock


@pytest.fixture(scope="module")
def fleet():
    linked = [server | {"link_rate_mbit_per_s": 400.0} for server in FLEET["servers"]]
    with Fleet.start(FLEET | {"servers": linked, "time_scale": 0.5}, in_process=True) as running:
        yield running


@pytest.fixture(scope="module")
def calibration(fleet):
    return calibrate(fleet, step_counts=(2, 8, 14), held_out=(5, 11), repeats=2, typical_steps=8)


def test_held_out_images_take_what_the_line_and_the_simulator_say(calibration):
    assert calibration.median_error() < 0.1
    assert calibration.median_error("simulated_s") < 0.1
    images = calibration.images
    assert len(images) == 2 * 5 * 2 and images["held_out"].sum() == 2 * 2 * 2
    assert set(images[images["held_out"]]["denoising_steps"]) == {5, 11}
    for fit, per_step_s in zip(calibration.fits, PER_STEP_S, strict=True):
        assert fit.num_points == 6 and fit.step_counts == (2, 8, 14)
        assert fit.per_step_s == pytest.approx(per_step_s, rel=0.1)


def test_the_table_has_a_row_for_each_server_with_line_residuals_errors_and_capacity(calibration):
    table = calibration.table().set_index("server")
    assert table.index.tolist() == ["s0", "s1"]
    assert (table["residual_sd_s"] > 0).all() and (table["max_residual_s"] >= table["residual_sd_s"]).all()
    held_out = calibration.images[calibration.images["held_out"]]
    for column, told in (("predicted_s", "median_error"), ("simulated_s", "median_error_simulator")):
        error = (held_out[column] / held_out["computing_s"] - 1.0).abs().groupby(held_out["server"]).median()
        assert table[told].to_dict() == pytest.approx(error.to_dict())
    assert (table["held_out_images"] == 4).all()
    assert table["capacity_gcycles_per_s"]["s1"] > table["capacity_gcycles_per_s"]["s0"]


def test_the_size_of_an_image_is_what_its_way_over_the_link_says(calibration):
    result_mbit = calibration.images["download_s"].median() * 400.0
    assert calibration.model.work.result_mbit == pytest.approx(result_mbit)


def test_the_setting_is_read_back_as_the_same_model(calibration):
    spec = calibration.model.spec("two", slots=5, max_tasks=3, denoising_steps=(6, 10))
    again = FleetModel.from_setting(build_setting(spec))
    assert again.work == calibration.model.work
    assert again.predict_s(1, 8) == pytest.approx(calibration.fits[1].predict_s(8))


def test_a_schedule_takes_as_long_live_as_in_the_simulator(fleet):
    came, rows = [], []
    for _ in range(3):  # a machine that stalls only ever makes a live run longer
        compared = compare_schedules(
            fleet, build_setting(setting(slots=8)), ("round-robin",), report=lambda *progress: came.append(progress)
        )
        rows.append(compared.to_dict("records")[0])
        assert (rows[-1]["failed"], rows[-1]["elsewhere"]) == (0, 0)
        assert rows[-1]["live_over_simulated"] > 0.85
        if rows[-1]["live_over_simulated"] < 1.15:
            break
    row = rows[-1]
    assert row["live_over_simulated"] == pytest.approx(1.0, abs=0.15)
    assert came[-1] == ("round-robin", row["tasks"], row["tasks"]) and len(came) == len(rows) * row["tasks"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"step_counts": (1, 4)}, "at least 3 step counts are needed, got \\[1, 4\\]"),
        ({"step_counts": (1, 4, 8), "held_out": (4,)}, "step counts \\[4\\] are both to fit to and held out"),
    ],
)
def test_step_counts_that_cannot_be_fitted_are_refused(fleet, arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        calibrate(fleet, **arguments)
