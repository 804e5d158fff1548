"""The prototype's comparison on a small emulated fleet in this process."""

import pandas as pd
import pytest
from PIL import Image

from experiments.prototype import QUOTED, TASKS, main, plot
from lad_rllib.service.live_run import PARTS
from tests.cli.fleet_files import fleet_file, interrupted, the_line

SCHEDULERS = ["round-robin", "least-loaded", "greedy-oracle"]


@pytest.fixture
def prototype(tmp_path):
    """Runs the script on the small fleet; returns its exit status."""

    def run(*arguments, **fleet):
        where = ["--fleet", fleet_file(tmp_path, **fleet), "--in-process", "--output", str(tmp_path / "results")]
        return main([*where, "--steps", "3", "5", *map(str, arguments)])

    return run


def results(folder):
    return pd.read_csv(folder / "results" / "prototype.csv")


def test_every_scheduler_serves_the_same_tasks_and_every_part_of_the_delay_is_there(prototype, tmp_path, capsys):
    assert prototype("--tasks", 1, 5, "--schedulers", *SCHEDULERS, "--keep-images") == 0
    table = results(tmp_path)
    assert table[["tasks", "scheduler"]].values.tolist() == [[n, name] for n in (1, 5) for name in SCHEDULERS]
    assert (table["fleet"] == "two").all() and (table["failed"] == 0).all()
    assert (table[list(PARTS)].sum(axis=1) - table["mean_s"]).abs().max() < 1e-9
    assert (table["p50_s"] <= table["max_s"]).all() and (table["max_s"] <= table["total_s"]).all()
    assert table["utilisation"].between(0, 1).all()
    assert (60 * table["tasks"] / table["total_s"] - table["images_per_minute"]).abs().max() < 1e-9

    deliveries = pd.read_csv(tmp_path / "results" / "deliveries.csv")
    runs = deliveries.groupby(["tasks", "scheduler"])
    asked = {name: rows[["prompt", "station", "steps_asked"]].values.tolist() for name, rows in runs}
    assert len(deliveries) == 3 * (1 + 5) and len(asked) == 6
    assert all(asked[5, name] == asked[5, SCHEDULERS[0]] for name in SCHEDULERS)
    assert deliveries["task_id"].is_unique

    images = sorted(str(path.relative_to(tmp_path / "results")) for path in tmp_path.glob("results/images/*/*.png"))
    assert images == sorted(f"images/{row.scheduler}-{row.tasks}/{row.task_id}.png" for row in deliveries.itertuples())
    for name in ("prototype.png", "contact_sheet.png"):
        with Image.open(tmp_path / "results" / name) as picture:
            assert picture.width > 5 * 160
    assert "written: " in capsys.readouterr().out


def test_the_published_delays_stand_beside_ours_marked_as_quoted(prototype, capsys):
    assert prototype("--tasks", 1, 5, "--schedulers", "random") == 0
    lines = capsys.readouterr().out.splitlines()
    ours, *quoted = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")][:3]
    assert ours[0] == "random" and all(float(cell) > 0 for cell in ours[1:])
    first = {name: str(delays[TASKS.index(1)]) for name, delays in QUOTED.items()}
    assert quoted == [[name, delay, ""] for name, delay in first.items()]  # none was published for five
    assert all("(quoted)" in name for name in first)


def test_a_number_of_tasks_that_is_given_twice_is_run_once(prototype, tmp_path):
    assert prototype("--tasks", 2, 2, "--schedulers", "random", "random") == 0
    assert len(results(tmp_path)) == 1


def test_local_only_is_left_out_where_a_station_has_no_server(prototype, tmp_path, capsys):
    assert prototype("--tasks", 1) == 0
    assert "local-only" not in set(results(tmp_path)["scheduler"]) and len(results(tmp_path)) == 5
    told = the_line(capsys.readouterr().err)
    assert told == "left out: local-only needs an edge server at every base station; station 2 has none"
    assert prototype("--tasks", 1, stations=2) == 0
    assert "local-only" in set(results(tmp_path)["scheduler"])


def test_tasks_beyond_the_queues_room_are_held_back_and_none_fails(prototype, tmp_path):
    limits = [{"queue_limit": 1}, {"queue_limit": 1}]
    assert prototype("--tasks", 1, 12, "--schedulers", "random", "greedy-oracle", servers=limits) == 0
    assert (results(tmp_path)["failed"] == 0).all()
    assert (tmp_path / "results" / "prototype.png").exists()


def test_a_scheduler_that_delivered_nothing_is_drawn_as_well(tmp_path):
    none, some = dict.fromkeys(PARTS, float("nan")), dict.fromkeys(PARTS, 0.5)
    for number, parts in enumerate(([none, some], [none, none])):
        rows = [{"scheduler": f"s{i}", "tasks": 3, "total_s": 1.0, **part} for i, part in enumerate(parts)]
        plot(pd.DataFrame(rows), tmp_path / f"{number}.png", "two")
        assert (tmp_path / f"{number}.png").stat().st_size > 10_000


@pytest.mark.extended
def test_ctrl_c_keeps_the_runs_that_are_done_and_is_one_line(tmp_path):
    arguments = ["--fleet", fleet_file(tmp_path, servers=[{"queue_limit": 2000}] * 2), "--in-process"]
    arguments += ["--tasks", 3, 2000, "--schedulers", "random", "round-robin", "--output", tmp_path / "results"]
    runs = tmp_path / "results" / "prototype.csv"
    status, message = interrupted(
        ["-m", "experiments.prototype", *arguments],
        lambda: runs.exists() and len(runs.read_text().splitlines()) == 1 + 2,
    )
    assert (status, message) == (130, "lad-rllib prototype: interrupted")
    assert results(tmp_path)[["scheduler", "tasks"]].values.tolist() == [["random", 3], ["round-robin", 3]]
    assert len(pd.read_csv(tmp_path / "results" / "deliveries.csv")) == 6


def test_a_resumed_comparison_keeps_the_runs_of_before_and_refuses_another_fleets(prototype, tmp_path, capsys):
    assert prototype("--tasks", 2, "--schedulers", "random") == 0
    before = results(tmp_path)
    assert prototype("--tasks", 2, 3, "--schedulers", "random", "--resume") == 0
    after = results(tmp_path)
    assert after["tasks"].tolist() == [2, 3] and after["total_s"].iloc[0] == before["total_s"].iloc[0]
    assert pd.read_csv(tmp_path / "results" / "deliveries.csv").groupby("tasks").size().tolist() == [2, 3]
    assert prototype("--tasks", 2, "--schedulers", "random", "--resume", "--seed", 1) == 2
    assert "has rows of seed 0, not 1" in capsys.readouterr().err


@pytest.mark.cluster
def test_a_trained_policy_is_compared_first(prototype, trained_on_fleet, tmp_path):
    checkpoint = trained_on_fleet / "checkpoint"
    assert prototype("--tasks", 5, "--checkpoint", checkpoint) == 0
    names = results(tmp_path)["scheduler"].tolist()
    assert names[0] == "policy" and "greedy-oracle" in names and (results(tmp_path)["failed"] == 0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", 5, 0], "--tasks[1] must be a whole number of at least 1, got 0"),
        (["--steps", 0, 3], "denoising steps must be a range within 1 to 1000, got 0 to 3"),
        (["--seed", -1], "--seed must be a whole number of at least 0 and of at most 4294967295, got -1"),
        (["--schedulers", "policy"], "scheduler policy needs --checkpoint"),
        (
            ["--schedulers", "local-only"],
            "fleet two: local-only needs an edge server at every base station; station 2 has none",
        ),
        (["--shared-fleet"], "--shared-fleet and --in-process contradict each other"),
        (["--prompts", "nowhere.txt"], "cannot read prompts from nowhere.txt"),
        (["--schedulers", "policy", "--checkpoint", "nowhere"], "there is no checkpoint nowhere"),
    ],
)
def test_a_mistake_is_one_line(arguments, message, prototype, capsys):
    assert prototype("--schedulers", "random", *arguments) == 2
    line = the_line(capsys.readouterr().err)
    assert line.startswith("lad-rllib prototype: ") and message in line
