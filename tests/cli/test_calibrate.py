"""``lad-rllib fleet calibrate``: from a fleet file to a setting that trains, with the figures beside it."""

import io
import json

import pandas as pd
import pytest
import yaml

from lad_rllib.cli import main
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet import Fleet
from tests.envs.live_fleets import FLEET

STEP_COUNTS = ["--step-counts", "2", "4", "6"]
QUICK = ["--in-process", *STEP_COUNTS, "--held-out", "3", "--repeats", "1", "--steps", "3", "5"]


@pytest.fixture
def fleet_file(tmp_path):
    file = tmp_path / "fleet.yaml"
    file.write_text(yaml.safe_dump(FLEET))
    return str(file)


def test_it_leaves_a_setting_that_trains_and_tables_and_a_picture(fleet_file, tmp_path, capsys):
    output = tmp_path / "calibration"
    arguments = ["--fleet", fleet_file, "--output", str(output), "--slots", "4", "--max-tasks", "3", *QUICK]
    assert main(["fleet", "calibrate", *arguments, "--check-slots", "2"]) == 0
    out = capsys.readouterr().out
    assert "median error on held-out images" in out and "round-robin: mean delay live" in out
    assert pd.read_csv(output / "calibration.csv")["server"].tolist() == ["s0", "s1"]
    assert len(pd.read_csv(output / "measurements.csv")) == 2 * 4
    assert pd.read_csv(output / "check.csv")["schedule"].tolist() == ["capacity-proportional", "round-robin"]
    assert (output / "calibration.png").stat().st_size > 10_000
    train = ["--setting", str(output / "setting.yaml"), "--episodes", "1", "--output", str(tmp_path / "run"), "--quiet"]
    assert main(["train", *train]) == 0


def test_images_are_kept_where_no_line_fits_them(fleet_file, tmp_path, monkeypatch, capsys):
    output = tmp_path / "calibration"
    arguments = ["fleet", "calibrate", "--fleet", fleet_file, "--output", str(output), "--no-check", *QUICK]

    def no_fit(*_):
        raise ConfigurationError("no line fits")

    with monkeypatch.context() as patched:
        patched.setattr("lad_rllib.runs.calibrate.calibration_of_images", no_fit)
        assert main(arguments) == 2
    images = (output / "measurements.csv").read_text()
    monkeypatch.setattr("lad_rllib.runs.calibrate.measure_images", None)  # must not be called
    assert main([*arguments, "--resume"]) == 0
    again = pd.read_csv(output / "measurements.csv")
    assert [f"{one:.12g}" for one in again["computing_s"]] == [
        f"{one:.12g}" for one in pd.read_csv(io.StringIO(images))["computing_s"]
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--step-counts", "1", "2"], "at least 3 step counts are needed"),
        (["--step-counts", "0", "2", "4"], "--step-counts[0] must be a whole number of at least 1, got 0"),
        (["--load", "0"], "--load must be a number above 0, got 0.0"),
        (["--slot-seconds", "-1"], "slot_s must be a number above 0"),
        (["--max-tasks", "0"], "arrivals.max_tasks must be a whole number of at least 1"),
        (["--steps", "19", "10"], "denoising_steps"),
        (["--slots", "1"], "an episode needs at least 2 slots"),
        (["--shared-fleet"], "--shared-fleet and --in-process contradict each other"),
        (["--repeats", "0"], "--repeats must be a whole number of at least 1, got 0"),
        (["--load", "1", "--slot-seconds", "2"], "--load and --slot-seconds contradict each other"),
    ],
)
def test_mistakes_are_one_line_before_anything_starts(fleet_file, tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.setattr(Fleet, "start", lambda *_, **__: pytest.fail("a fleet was started"))
    others = [word for word in QUICK if arguments[0] != STEP_COUNTS[0] or word not in STEP_COUNTS]
    assert (
        main(["fleet", "calibrate", "--fleet", fleet_file, "--output", str(tmp_path / "o"), *others, *arguments]) == 2
    )
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error
    assert not (tmp_path / "o").exists()


def test_json_is_a_row_for_each_server_alone_on_standard_output(fleet_file, tmp_path, capsys):
    output = ["--output", str(tmp_path / "calibration"), "--no-check"]
    assert main(["fleet", "calibrate", "--fleet", fleet_file, *QUICK, *output, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["server"] for row in rows] == ["s0", "s1"] and all(row["per_step_s"] > 0 for row in rows)
