"""A live training whose tasks fail says so, and ends with status 1 if most do."""

import pandas as pd
import pytest

from lad_rllib import names
from lad_rllib.cli import main
from lad_rllib.runs import progress
from lad_rllib.runs.failed_tasks import FailedTasks
from tests.cli.fleet_files import setting_file, written
from tests.envs.live_fleets import FLEET


@pytest.mark.parametrize(
    ("failed", "are_most", "out", "err"),
    [
        (0, False, "tasks:      0 of 160 tasks failed\n", ""),
        (8, False, "tasks:      8 of 160 tasks failed\n", ""),
        (9, False, "", "warning: 9 of 160 tasks failed (6%)"),
        (80, False, "", "warning: 80 of 160 tasks failed (50%)"),
        (105, True, "", "warning: 105 of 160 tasks failed (66%)"),
    ],
)
def test_a_small_share_of_failures_is_a_line_a_larger_one_a_warning_and_most_a_failed_run(
    failed, are_most, out, err, capsys
):
    rows = pd.DataFrame({names.ENDED_TASKS: [100, 60], names.FAILED_TASKS: [0, failed]})
    failures = FailedTasks.of(rows)
    failures.report()
    printed = capsys.readouterr()
    assert (failures.are_most, printed.out) == (are_most, out)
    assert printed.err.startswith(err) and bool(printed.err) == bool(err)


def test_training_in_the_simulator_has_no_failures_to_tell(capsys):
    failures = FailedTasks.of(pd.DataFrame({"episodes": [1]}))
    failures.report()
    assert not failures.are_most and capsys.readouterr() == ("", "")


def test_the_progress_line_counts_failed_tasks(capsys):
    row = {"episodes": 1, names.MEAN_DELAY: 5.0, names.DELAY_OVER_ORACLE: 1.0}
    progress.TrainingDisplay(total=1, done=0).update(row | {names.ENDED_TASKS: 20, names.FAILED_TASKS: 3})
    assert "failed 3/20 tasks" in capsys.readouterr().out


@pytest.mark.cluster
def test_training_on_a_fleet_that_refuses_every_task_counts_them_warns_and_ends_with_status_1(
    ray_cluster, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(progress, "SAY_SLOT_S", 0.0)
    refusing = [server | {"allowed_sizes": [[8, 8]]} for server in FLEET["servers"]]
    fleet = written(tmp_path / "refusing.yaml", FLEET | {"servers": refusing})
    no_learning = written(tmp_path / "none.yaml", {"learning_starts": 900})
    arguments = [
        "--config",
        no_learning,
        "--fleet",
        fleet,
        "--in-process",
        "--setting",
        setting_file(tmp_path),
        "--episodes",
        "1",
    ]
    assert main(["train", *arguments, "--output", str(tmp_path / "run")]) == 1
    table = pd.read_csv(tmp_path / "run" / "progress.csv")
    assert table[names.FAILED_TASKS].tolist() == table[names.ENDED_TASKS].tolist() and table[names.ENDED_TASKS][0] >= 12
    printed = capsys.readouterr()
    assert "warning: " in printed.err
    assert [f"episode    1/1  slot {slot}/4" in printed.out for slot in range(1, 5)] == [True] * 4
