"""The benchmark of scaling: its arithmetic with known figures, and that it runs and writes. Nothing is timed here."""

import contextlib
import csv
from dataclasses import asdict, replace

import pytest

from benchmarks import scaling
from benchmarks.scaling_points import AXES, Point, points_of
from benchmarks.scaling_report import COLUMNS, Run, not_run, reading, row_of, speed_ups, table_row, verdict

BASE = Point()


def of(*episode_s, episodes=2):
    """Runs of two episodes that take so long each; half of it in updates, a tenth in sharing weights."""
    return [
        Run(wall_s=s * episodes, updating_s=s, sharing_s=s / 5, episodes=episodes, slots=118, updates=100)
        for s in episode_s
    ]


def read(folder):
    with (folder / "scaling.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_speed_up_is_over_the_mean_of_the_base_runs_before_and_after():
    assert speed_ups(of(1.0, 2.0), of(1.0, 3.0, 5.0)) == [2.0, 2.0]


def test_a_machine_that_becomes_slower_evenly_changes_no_speed_up():
    assert speed_ups(of(1.5, 3.5, 5.5), of(2.0, 4.0, 6.0, 8.0)) == pytest.approx([2.0, 10 / 7, 14 / 11])
    assert speed_ups(of(1.5, 2.5, 3.5), of(2.0, 4.0, 6.0, 8.0)) == [2.0, 2.0, 2.0]


def test_efficiency_of_workers_is_the_speed_up_over_how_many_times_as_many():
    row = row_of(points_of("envs", BASE)[1], of(0.5, 0.4, 1.0), of(1.0, 1.0, 1.0, 1.0))
    assert (row["label"], row["linear"], row["speed_up"], row["efficiency"]) == ("4", 4.0, 2.0, 0.5)
    assert (row["speed_up_min"], row["speed_up_max"]) == (1.0, 2.5)
    assert (row["episodes_per_s"], row["base_episodes_per_s"]) == (2.0, 1.0)
    assert (row["slots_per_s"], row["updates_per_s"], row["updates_per_episode"]) == (118.0, 100.0, 50.0)
    assert row["updating_share"] == pytest.approx(0.5) and row["sharing_share"] == pytest.approx(0.1)
    assert (row["update_ms"], row["base_update_ms"]) == (5.0, 10.0)


def test_time_over_linear_of_a_size_is_the_time_ratio_over_the_size_ratio():
    row = row_of(points_of("servers", BASE)[2], of(6.0), of(1.0, 1.0))
    assert row["servers"] == 200 and row["stations"] == 20
    assert row["time_over_base"] == pytest.approx(6.0) and row["time_over_linear"] == pytest.approx(0.6)
    assert row["efficiency"] == pytest.approx(1 / 0.6)


def test_two_learners_with_twice_the_transitions_are_compared_by_transitions_per_second():
    shared, own = points_of("learners", BASE)[1:]
    assert (shared.batch, own.batch) == (64, 128)
    assert row_of(shared, of(1.0), of(1.0, 1.0))["efficiency"] == 0.5
    assert row_of(own, of(1.0), of(1.0, 1.0))["efficiency"] == 1.0


@pytest.mark.parametrize("name", AXES)
def test_a_point_differs_from_the_base_line_in_what_its_axis_says_alone(name):
    for point in points_of(name, BASE):
        changed = {key for key, value in asdict(point).items() if value != getattr(BASE, key)}
        allowed = {"batch"} if point.label == "2, 64 each" else set()
        assert changed - {"axis", "label", "workers", "size"} <= {AXES[name].field} | allowed
        config = scaling.configuration(point, slots=60)
        assert config.total_train_batch_size == point.batch
        config.validate()


def test_a_verdict_needs_repeats_that_agree():
    base = {"repeats": 5, "speed_up_min": 1.1, "speed_up_max": 1.3}
    assert verdict(base) == "faster"
    assert verdict(base | {"speed_up_min": 0.7, "speed_up_max": 0.9}) == "slower"
    assert verdict(base | {"speed_up_min": 0.9}) == "no different within the spread"
    assert verdict(base | {"repeats": 2}) == "too few repeats to tell"


def test_the_reading_says_what_the_figures_say():
    even = of(1.0, 1.0, 1.0, 1.0)
    rows = [
        row_of(points_of("env-runners", BASE)[1], of(0.8, 0.8, 0.8), even),
        row_of(points_of("stations", BASE)[2], of(15.0, 15.0, 15.0), even),
        not_run(points_of("device", BASE)[0], "no GPU"),
    ]
    text = reading(rows, cores=2)
    assert "50% of its time in updates" in text and "more than 2.00 times as fast" in text
    assert "with 2, 1.25 times the base line's speed (faster; efficiency 0.62" in text
    assert "15.0 times the time for 10 times as many: up to 1.50 times linear growth" in text
    assert "More processes than cores: environment runners: 2." in text
    assert "device of the learner: GPU (not run: no GPU)" in text
    assert "More processes" not in reading(rows, cores=3)
    assert reading(rows[2:], cores=2) == "Nothing was measured."


def test_a_point_that_was_not_run_says_so_in_the_table():
    row = table_row(not_run(points_of("device", BASE)[0], "no GPU"))
    assert row["changed"] == "device of the learner: GPU" and row["episodes/s"] == "not run: no GPU"


def test_points_that_the_cluster_has_no_room_for_are_left_out(monkeypatch):
    monkeypatch.setattr(scaling, "has_gpu", lambda: False)
    two = replace(BASE, env_runners=2)
    assert scaling.reason_not_to_run(two, {"CPU": 1.0}) == "needs 2 CPUs of the cluster, which has 1"
    assert scaling.reason_not_to_run(two, {"CPU": 2.0}) is None
    assert scaling.reason_not_to_run(replace(BASE, gpu=True), {"CPU": 2.0}) == "no GPU"
    monkeypatch.setattr(scaling, "has_gpu", lambda: True)
    assert scaling.reason_not_to_run(replace(BASE, gpu=True), {"CPU": 2.0}) is None


def test_updates_per_episode_do_not_depend_on_the_environments_in_lockstep(no_cluster):
    small = Point(stations=3, servers=3)
    for envs in (1, 2):
        with scaling.training(replace(small, envs=envs), slots=25) as training:
            run = training.run(1)
        assert (run.episodes, run.slots, run.updates) == (envs, 24 * envs, 24 * envs)
        assert run.sharing_s > 0 and run.updating_s > 0 and run.sharing_s + run.updating_s < run.wall_s


def test_an_interrupted_run_keeps_the_rows_that_it_has(monkeypatch, tmp_path, capsys):
    def measure(base, point, *_):
        if point.label == "4":
            raise KeyboardInterrupt
        return row_of(point, of(0.8), of(1.0, 1.0))

    monkeypatch.setattr(scaling, "measure", measure)
    monkeypatch.setattr(scaling, "training", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr("lad_rllib.runs.cluster.start_ray", lambda *_, **__: None)
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 4.0})
    assert scaling.main(["--axes", "envs", "--output", str(tmp_path)]) == 130
    assert [row["label"] for row in read(tmp_path)] == ["2"]
    assert "environments per runner: 2" in (tmp_path / "scaling.md").read_text()
    assert (tmp_path / "scaling.png").exists()
    assert capsys.readouterr().err == "lad-rllib scaling: interrupted\n"


@pytest.mark.parametrize("option", ["--episodes", "--repeats"])
def test_a_mistake_is_one_line(option, tmp_path, capsys):
    assert scaling.main([option, "0", "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"lad-rllib scaling: {option} must be a whole number of at least 1, got 0\n"


@pytest.mark.extended
@pytest.mark.cluster
@pytest.mark.slow
def test_the_smoke_run_measures_and_writes_all_files(ray_cluster, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(scaling, "has_gpu", lambda: False)
    axes = ["env-runners", "learners", "servers", "device"]
    assert scaling.main(["--smoke", "--axes", *axes, "--output", str(tmp_path)]) == 0
    rows = read(tmp_path)
    assert list(rows[0]) == [*COLUMNS, "command", "commit", "machine", "versions"]
    assert [(row["axis"], row["label"]) for row in rows] == list(zip(axes, ["1", "1", "6", "GPU"], strict=True))
    for row in rows[:3]:
        assert row["status"] == "measured" and float(row["updates_per_episode"]) == 24
        assert float(row["episodes_per_s"]) > 0 and float(row["speed_up"]) > 0
        assert row["command"] and row["commit"] and row["machine"] and row["versions"]
    assert rows[3]["status"] == "not run: no GPU" and rows[3]["speed_up"] == ""
    text = (tmp_path / "scaling.md").read_text()
    assert "ignore its figures" in text and "not run: no GPU" in text and "What is held constant" in text
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")
    assert "scaling.png" in capsys.readouterr().out
