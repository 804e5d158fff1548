"""The benchmark of training over random fleets: its arithmetic, and that it runs and writes. Nothing is timed here."""

import csv

import pytest

from benchmarks import scaling_worlds
from benchmarks.scaling_points import undisturbed_per_hour
from benchmarks.scaling_worlds import ARRANGEMENTS, BASE, Arrangement, Run, configuration, row_of, write_results


def of(*world_s):
    return [Run(10, 10 * s, driver_s=1.0, learning_s=3.0, playing_s=16.0, ray_s=2.0) for s in world_s]


def test_a_speed_up_is_over_the_base_lines_runs_before_and_after():
    row = row_of(Arrangement("runners", 2), of(0.5, 1.0), of(1.0, 1.0, 3.0))
    assert (row["speed_up"], row["speed_up_min"], row["speed_up_max"]) == (2.0, 2.0, 2.0)
    assert row["worlds_per_hour"] == pytest.approx(3600 / 0.75)


def test_with_a_core_each_playing_and_learning_take_turns_or_the_longer_counts():
    def seconds(**arrangement):  # of each world: 1.6 s of playing, 0.3 s of learning, 0.1 s of the driver
        return 3600 / undisturbed_per_hour(row_of(Arrangement("", **arrangement), of(1.0), of(1.0, 1.0)))

    assert seconds(runners=0) == pytest.approx(2.0)
    assert seconds(runners=2, staleness=0) == pytest.approx(0.8 + 0.4)
    assert seconds(runners=2) == pytest.approx(0.8)
    assert seconds(runners=8) == pytest.approx(0.4)
    assert seconds(runners=16, learners=3) == pytest.approx(0.2)


def test_the_drivers_share_is_of_playing_learning_and_its_own_work():
    row = row_of(BASE, of(1.0), of(1.0, 1.0))
    assert row["driver_share"] == pytest.approx(0.05)
    assert (row["playing_s_per_world"], row["ray_s_per_world"]) == (1.6, 0.2)


def test_rows_of_parts_that_are_measured_again_take_the_place_of_the_old_ones(tmp_path):
    about = dict.fromkeys(("command", "commit", "machine", "versions"), "here")
    for part, world_s in (("runners", 1.0), ("emulated", 1.0), ("runners", 0.5)):
        write_results(tmp_path, [row_of(Arrangement(part, 2), of(world_s), of(1.0, 1.0)) | about])
    with (tmp_path / "scaling_worlds.csv").open(newline="") as file:
        rows = {row["part"]: float(row["speed_up"]) for row in csv.DictReader(file)}
    assert rows == {"emulated": 1.0, "runners": 2.0}
    assert "| runners |" in (tmp_path / "scaling_worlds.md").read_text()


@pytest.mark.parametrize("part", ARRANGEMENTS)
def test_every_arrangement_plays_its_worlds_and_takes_its_batch(part):
    for one in ARRANGEMENTS[part]:
        config = configuration(one, small=False)
        config.validate()
        assert config.total_train_batch_size == one.batch
        assert config.num_envs_per_env_runner * max(one.runners, 1) == one.worlds


@pytest.mark.extended
@pytest.mark.cluster
@pytest.mark.slow
def test_the_smoke_run_measures_real_and_emulated_runners(ray_cluster, tmp_path, capsys):
    assert scaling_worlds.main(["--smoke", "--output", str(tmp_path)]) == 0
    with (tmp_path / "scaling_worlds.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["part"], row["runners"]) for row in rows] == [("runners", "0"), ("runners", "2"), ("emulated", "2")]
    for row in rows:
        assert float(row["worlds_per_hour"]) > 0 and 0 < float(row["driver_share"]) < 1
        assert row["command"] and row["commit"] and row["machine"] and row["versions"]
    assert "driver's share" in (tmp_path / "scaling_worlds.md").read_text()
