"""Runs over in-process servers: the table, its sums, and the page of images."""

import time

import numpy as np
import pytest
from PIL import Image

from lad_rllib.edge import DeviceProfile, EdgeServer, EmulatedEngine
from lad_rllib.errors import ConfigurationError
from lad_rllib.runs.contact_sheet import save_contact_sheet
from lad_rllib.scheduling import make_heuristic
from lad_rllib.service import Dispatcher, image_tasks, read_prompts, serve
from lad_rllib.service.live_run import PARTS
from lad_rllib.simulator.requests import read_log
from tests.service.fleets import WORK, emulated, network


@pytest.fixture
def dispatcher():
    servers = [emulated(f"s{i}", 200 * (i + 1)) for i in range(2)]
    with Dispatcher(servers, network([200, 400]), WORK, make_heuristic("greedy-oracle"), seed=0) as dispatcher:
        yield dispatcher
    for server in servers:
        server.close()


def made_tasks(number, **options):
    return image_tasks(read_prompts(), number, np.random.default_rng(0), num_stations=3, **options)


def test_every_task_has_a_row_whose_parts_add_up_to_its_delay(dispatcher):
    run = serve(dispatcher, [made_tasks(20, denoising_steps=(1, 4))])
    table = run.table()
    assert table["task_id"].tolist() == [f"task-{i}" for i in range(20)]
    assert table[list(PARTS)].sum(axis=1).to_numpy() == pytest.approx(table["service_delay_s"].to_numpy())


def test_what_a_run_was_asked_for_is_traffic_again(dispatcher, tmp_path):
    table = serve(dispatcher, [made_tasks(20, denoising_steps=(1, 4))]).table()
    table.to_csv(tmp_path / "deliveries.csv")
    sent = read_log(tmp_path / "deliveries.csv", "deliveries").sent.requests
    order = table["arrival_s"].argsort(kind="stable")
    assert sent.steps.tolist() == table["steps_asked"][order].tolist()
    assert sent.station.tolist() == table["station"][order].tolist() and sent.arrival_s[0] == 0.0


def test_the_summary_counts_images_per_minute_and_the_time_that_servers_worked(dispatcher):
    run = serve(dispatcher, [made_tasks(20, denoising_steps=(2, 2))])
    summary = run.summary()
    assert summary["images_per_minute"] == pytest.approx(20 * 60 / run.total_s)
    table = run.table()
    done = table[table["server"] == "s0"]
    assert run.utilisation()["s0"] * run.total_s == pytest.approx(done["computing_s"].sum())
    assert (done["computing_s"] >= 0.010 * 0.99).all()
    assert summary["mean_s"] == pytest.approx(run.table()["service_delay_s"].mean())
    assert summary["failed"] == 0


def test_a_task_that_fails_counts_as_failed_and_not_in_the_delays(dispatcher):
    good, bad = made_tasks(4, denoising_steps=(1, 1)), made_tasks(1, deadline_s=1e-6, name="late")
    summary = serve(dispatcher, [good + bad]).summary()
    assert (summary["tasks"], summary["failed"]) == (5, 1)
    assert np.isfinite(summary["mean_s"])


def test_slots_are_handed_in_by_the_clock_and_ends_are_reported_as_they_come(dispatcher):
    slots = [made_tasks(1, denoising_steps=(1, 1), name=f"slot{k}") for k in range(4)]
    reported = []
    run = serve(dispatcher, slots, slot_s=0.1, on_delivery=reported.append)
    assert run.total_s >= 0.3
    assert run.table()["service_delay_s"].max() < 0.1  # nobody waits for another slot's task
    assert [d.task.task_id for d in reported] == [d.task.task_id for d in run.deliveries]


def test_a_run_says_how_late_its_hand_overs_were(dispatcher):
    tasks = made_tasks(2, denoising_steps=(1, 1))
    run = serve(dispatcher, [[task] for task in tasks], starts_s=[0.0, 0.05], on_delivery=lambda _: time.sleep(0.2))
    assert 0.1 < run.late_s < run.total_s  # the first one's report held the second one up


def test_prompts_are_repeated_with_other_seeds():
    tasks = image_tasks(["a", "b"], 4, np.random.default_rng(0), num_stations=1)
    assert [(task.prompt, task.seed) for task in tasks] == [("a", 0), ("b", 1), ("a", 2), ("b", 3)]


def test_a_file_without_prompts_and_a_missing_one_are_named(tmp_path):
    (tmp_path / "empty.txt").write_text("# nothing\n\n")
    with pytest.raises(ConfigurationError, match=r"empty\.txt holds no prompt"):
        read_prompts(tmp_path / "empty.txt")
    with pytest.raises(ConfigurationError, match=r"cannot read prompts from .*none\.txt"):
        read_prompts(tmp_path / "none.txt")


def test_the_contact_sheet_has_a_tile_for_every_task_and_shows_the_image(tmp_path):
    profile = DeviceProfile(
        name="device",
        overhead_s=0.0,
        per_step_s=0.001,
        origin="assumption",
        source="made up for a test",
        width=64,
        height=64,
    )
    with EdgeServer("s0", EmulatedEngine(profile)) as server:
        server.warm_up()
        with Dispatcher([server], network([1000]), WORK, make_heuristic("random")) as dispatcher:
            run = serve(dispatcher, [[*made_tasks(6), *made_tasks(1, deadline_s=1e-6, name="late")]])
    save_contact_sheet(run.deliveries, tmp_path / "sheet.png", columns=5)
    with Image.open(tmp_path / "sheet.png") as page:
        assert page.size == (8 + 5 * 168, 8 + 2 * 234)
        assert len(page.crop((8, 8, 168, 168)).getcolors()) == 8  # the stripes of an emulated server
