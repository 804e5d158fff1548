"""``lad-rllib generate`` with requests that come one by one, by schedulers of requests and trained policies."""

import numpy as np
import pandas as pd
import pytest

from lad_rllib.cli import main
from tests.cli.fleet_files import error_of, fleet_file

QUICK = ["--step-counts", "2", "4", "6", "--held-out", "3", "--repeats", "1", "--steps", "3", "5", "--no-check"]


@pytest.fixture
def where(tmp_path):
    """Options of the small fleet in this process."""
    return ["--fleet", fleet_file(tmp_path, order="shortest_first"), "--in-process"]


def deliveries(folder):
    return pd.read_csv(folder / "deliveries.csv")


def test_tasks_come_at_their_own_times_and_the_simulator_says_what_to_expect(where, tmp_path, capsys):
    run = ["generate", *where, "--scheduler", "least-work-left", "--rate", "4", "--tasks", "40", "--steps", "3", "5"]
    assert main([*run, "--output", str(tmp_path / "images")]) == 0
    table = deliveries(tmp_path / "images")
    gaps_s = np.diff(np.sort(table["arrival_s"]))
    assert table["error"].isna().all() and 0.1 < gaps_s.mean() < 0.5 and gaps_s.max() > gaps_s.mean()
    out = " ".join(capsys.readouterr().out.split())
    assert "40 tasks one by one, load 0.96" in out and "the simulator expected a mean of" in out


def test_a_scheduler_of_requests_takes_tasks_that_are_all_there_at_once(where, tmp_path):
    run = ["generate", *where, "--scheduler", "join-shortest-queue", "--tasks", "8", "--steps", "3", "5"]
    assert main([*run, "--output", str(tmp_path / "images")]) == 0
    assert deliveries(tmp_path / "images")["server"].nunique() == 2


@pytest.mark.slow
def test_a_fleet_is_calibrated_and_serves_by_a_policy_trained_on_its_requests(where, tmp_path):
    calibrated, trained, images = (str(tmp_path / name) for name in ("calibration", "run", "images"))
    assert main(["fleet", "calibrate", *where, "--output", calibrated, *QUICK]) == 0
    setting = ["--setting", f"{calibrated}/requests.yaml"]
    train = ["train", "--algorithm", "lad-dispatch", *setting, "--episodes", "1", "--quiet", "--output", trained]
    assert main(train) == 0
    run = ["generate", *where, *setting, "--checkpoint", f"{trained}/checkpoint", "--tasks", "20", "--output", images]
    assert main(run) == 0
    assert deliveries(tmp_path / "images")["error"].isna().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--load", "0.7", "--rate", "2"], "--load and --rate contradict each other"),
        (["--setting", "unequal-8", "--steps", "3", "5"], "--steps has no effect with --setting"),
        (["--setting", "small"], "setting small has slots; --setting takes one of requests"),
        (["--setting", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_options_that_contradict_each_other_are_one_line(arguments, message, where, capsys):
    assert message in error_of(capsys, "generate", *where, *arguments)
