"""``lad-rllib generate`` on servers in this process: images, failures, who decides, and one line for each mistake."""

import json
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lad_rllib.algorithms.common.policy import FleetPolicy
from lad_rllib.cli import main
from lad_rllib.fleet import FleetModel, load_fleet
from lad_rllib.runs.contact_sheet import MARGIN, TEXT_HEIGHT, TILE
from lad_rllib.scheduling import make_heuristic
from lad_rllib.service import image_tasks, read_prompts
from lad_rllib.service.slots import rounds_of, slot_tasks
from lad_rllib.simulator import build_setting
from tests.cli.fleet_files import COMMAND, error_of, fleet_file, interrupted, the_line, written
from tests.envs.live_fleets import setting


@pytest.fixture
def generate(tmp_path):
    """Runs the command on the small fleet, or on another; returns its exit status."""

    def run(*arguments, fleet=None):
        where = ["--fleet", fleet or fleet_file(tmp_path), "--in-process", "--output", str(tmp_path / "images")]
        return main(["generate", *where, "--steps", "3", "5", *map(str, arguments)])

    return run


def images(folder):
    return {path.stem for path in (folder / "images" / "images").glob("*.png")}


def deliveries(folder):
    return pd.read_csv(folder / "images" / "deliveries.csv", keep_default_na=False, na_values=[""])


def contact_sheet_size(folder):
    with Image.open(folder / "images" / "contact_sheet.png") as page:
        return page.size


def test_every_prompt_becomes_an_image_a_row_and_a_tile(generate, tmp_path, capsys):
    before = threading.active_count()
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("# of a test\na red seven\n\na blue two\nZürich at night\n")
    assert generate("--prompts", prompts) == 0
    assert images(tmp_path) == {"task-0", "task-1", "task-2"}
    table = deliveries(tmp_path)
    assert table["prompt"].tolist() == ["a red seven", "a blue two", "Zürich at night"]
    assert table["steps_asked"].between(3, 5).all() and table["error"].isna().all()
    parts = table[["upload_s", "waiting_s", "computing_s", "download_s", "dispatch_s"]].sum(axis=1)
    np.testing.assert_allclose(parts, table["service_delay_s"])
    assert contact_sheet_size(tmp_path) == (MARGIN + 3 * (TILE + MARGIN), MARGIN + TILE + TEXT_HEIGHT + MARGIN)
    out = capsys.readouterr().out
    assert "two, greedy-oracle: 3 tasks" in out and "3 images in" in out and str(tmp_path / "images") in out
    assert threading.active_count() == before


def test_prompts_are_repeated_for_more_tasks_than_prompts_and_cut_off_for_fewer(generate, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("one\ntwo\n")
    assert generate("--prompts", prompts, "--tasks", 5) == 0
    assert deliveries(tmp_path)["prompt"].tolist() == ["one", "two", "one", "two", "one"]
    assert generate("--prompts", prompts, "--tasks", 1, "--overwrite") == 0
    assert deliveries(tmp_path)["prompt"].tolist() == ["one"]


def test_a_second_run_replaces_what_the_first_wrote_if_asked_to_and_a_mistake_leaves_it(generate, tmp_path, capsys):
    assert generate("--tasks", 4) == 0
    first = contact_sheet_size(tmp_path)
    for mine in ("mine", "task-9"):
        (tmp_path / "images" / "images" / f"{mine}.png").touch()
    capsys.readouterr()
    assert generate("--tasks", 2) == 2
    assert "deliveries.csv is there already; give --overwrite" in the_line(capsys.readouterr().err)
    assert generate("--tasks", 2, "--seed", 1, "--overwrite") == 0
    assert images(tmp_path) == {"task-0", "task-1", "mine", "task-9"} and len(deliveries(tmp_path)) == 2
    assert contact_sheet_size(tmp_path) != first
    capsys.readouterr()
    assert generate("--tasks", 4, "--deadline", -1, "--overwrite") == 2
    assert "deadline_s must be a positive number" in the_line(capsys.readouterr().err)
    assert images(tmp_path) == {"task-0", "task-1", "mine", "task-9"} and len(deliveries(tmp_path)) == 2


@pytest.mark.parametrize("mine", ["images/task-1.png", "deliveries.csv", "contact_sheet.png"])
def test_a_file_of_the_users_own_is_neither_deleted_nor_written_over(mine, generate, tmp_path, capsys):
    file = tmp_path / "images" / mine
    file.parent.mkdir(parents=True)
    file.write_text("task_id,mine\n../../secret,1\n")
    assert generate("--tasks", 2) == 2
    assert f"{file} is there already" in the_line(capsys.readouterr().err)
    assert file.read_text() == "task_id,mine\n../../secret,1\n"


def test_json_is_a_row_for_each_task_alone_on_standard_output(generate, tmp_path, capsys):
    assert generate("--tasks", 3, "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["task_id"] for row in rows] == deliveries(tmp_path)["task_id"].tolist()
    assert [row["service_delay_s"] for row in rows] == pytest.approx(deliveries(tmp_path)["service_delay_s"])


def test_the_same_seed_sends_the_same_tasks(generate, tmp_path):
    columns = ["prompt", "station", "steps_asked"]
    asked = []
    for seed in (0, 0, 1):
        assert generate("--tasks", 6, "--seed", seed, "--overwrite") == 0
        asked.append(deliveries(tmp_path)[columns].to_numpy().tolist())
    assert asked[0] == asked[1] != asked[2]


def test_the_size_that_is_asked_for_is_the_images(generate, tmp_path):
    assert generate("--tasks", 2, "--size", 64, 32) == 0
    with Image.open(tmp_path / "images" / "images" / "task-1.png") as image:
        assert image.size == (64, 32)


def test_tasks_that_miss_their_deadline_are_one_line_each_and_the_others_are_kept(generate, tmp_path, capsys):
    assert generate("--tasks", 12, "--scheduler", "round-robin", "--deadline", 1.5) == 1
    table = deliveries(tmp_path).set_index("task_id")
    late = set(table.index[table["error"] == "deadline_exceeded"])
    assert 0 < len(late) < 12
    assert images(tmp_path) == set(table.index) - late
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert {line.split(":")[0] for line in lines} == late and len(lines) == len(late)
    assert all(": deadline_exceeded: " in line for line in lines)
    assert f"{12 - len(late)} images in" in captured.out


def test_tasks_that_a_server_refuses_are_one_line_each_that_says_what_it_serves(generate, tmp_path, capsys):
    fleet = fleet_file(tmp_path, servers=[{"allowed_sizes": [[512, 512]]}, {}])
    assert generate("--tasks", 6, "--scheduler", "round-robin", "--size", 64, 64, fleet=fleet) == 1
    table = deliveries(tmp_path).set_index("task_id")
    refused = set(table.index[table["server"] == "s0"])
    assert 0 < len(refused) < 6 and images(tmp_path) == set(table.index) - refused
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == len(refused)
    assert all("invalid_request: s0 does not serve size 64x64; ask for one of 512x512" in line for line in lines)


def test_without_a_single_image_there_is_no_delay_to_tell(generate, tmp_path, capsys):
    assert generate("--tasks", 3, "--deadline", 0.001) == 1
    assert images(tmp_path) == set() and deliveries(tmp_path)["error"].tolist() == ["deadline_exceeded"] * 3
    assert contact_sheet_size(tmp_path)[0] > 0
    captured = capsys.readouterr()
    assert "0 images in" in captured.out and "nan" not in captured.out
    assert len(captured.err.strip().splitlines()) == 3


def test_ctrl_c_keeps_the_images_that_are_there(tmp_path):
    fleet = fleet_file(tmp_path, servers=[{"queue_limit": 2000}] * 2)
    arguments = ["--fleet", fleet, "--in-process", "--tasks", 1500, "--output", tmp_path / "images"]
    status, message = interrupted([*COMMAND, "generate", *arguments], lambda: len(images(tmp_path)) >= 3)
    assert (status, message) == (130, "lad-rllib generate: interrupted; the images that were there are kept")
    table = deliveries(tmp_path)
    assert 3 <= len(table) < 1500 and set(table["task_id"]) == images(tmp_path)
    assert contact_sheet_size(tmp_path)[0] > 0


@pytest.mark.slow
def test_the_shipped_fleet_draws_what_it_is_asked_for_on_five_real_pipelines(tmp_path):
    arguments = ["--in-process", "--scheduler", "local-only", "--tasks", "12", "--steps", "2", "3"]
    assert main(["generate", *arguments, "--output", str(tmp_path / "images")]) == 0
    table = deliveries(tmp_path)
    names = [server.name for server in load_fleet("digits").servers]
    assert table["server"].tolist() == [names[station] for station in table["station"]]
    assert set(table["server"]) == set(names)
    assert table["prompt"].tolist() == read_prompts()[:12]
    for name in images(tmp_path):
        with Image.open(tmp_path / "images" / "images" / f"{name}.png") as image:
            assert image.size == (32, 32) and np.asarray(image).std() > 10
    assert len(images(tmp_path)) == 12


def choices(policy, seed, number=5):
    """Servers (as their names) that a scheduler by itself chooses for the command's tasks on an idle fleet."""
    model = FleetModel.from_setting(build_setting(setting()))
    rng = np.random.default_rng(seed)
    tasks = image_tasks(read_prompts(), number, rng, num_stations=3, denoising_steps=(3, 5))
    places, *more = rounds_of(tasks, 3, 3)
    policy.reset(1)
    observed = slot_tasks(tasks, places, 0, model.network, model.work, np.zeros(2))
    chosen = policy.decide(observed, np.random.default_rng(seed))[0]
    return None if more else [f"s{chosen[station, index]}" for _, station, index in places]


@pytest.mark.cluster
def test_with_a_checkpoint_the_learned_policy_decides(generate, trained_on_fleet, tmp_path, capsys):
    checkpoint = trained_on_fleet / "checkpoint"
    policy, oracle = FleetPolicy.from_checkpoint(checkpoint, explore=False), make_heuristic("greedy-oracle")
    seed = next(seed for seed in range(100) if choices(policy, seed) not in (None, choices(oracle, seed)))
    assert generate("--checkpoint", checkpoint, "--greedy-actions", "--tasks", 5, "--seed", seed) == 0
    assert deliveries(tmp_path)["server"].tolist() == choices(policy, seed)
    assert "two, LAD-TS: 5 tasks" in capsys.readouterr().out


@pytest.mark.cluster
def test_a_checkpoint_serves_more_tasks_than_a_slot_had_in_training(generate, trained_on_fleet, tmp_path):
    assert generate("--checkpoint", trained_on_fleet / "checkpoint", "--tasks", 20) == 0
    assert len(images(tmp_path)) == 20 and deliveries(tmp_path)["slot"].nunique() > 1


@pytest.mark.cluster
def test_a_checkpoint_of_another_fleet_is_one_line_that_names_both(trained_on_fleet, tmp_path, capsys):
    capsys.readouterr()
    arguments = ["--in-process", "--checkpoint", trained_on_fleet / "checkpoint", "--output", tmp_path]
    message = error_of(capsys, "generate", *arguments)
    assert "fleet digits has 5 base stations and 5 edge servers, the setting has 3 and 2" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scheduler", "policy"], "scheduler policy needs --checkpoint"),
        (
            ["--scheduler", "local-only"],
            "fleet two: local-only needs an edge server at every base station; station 2 has none",
        ),
        (["--scheduler", "random", "--checkpoint", "DIR"], "--checkpoint has no effect on scheduler random"),
        (["--greedy-actions"], "--greedy-actions has no effect on scheduler greedy-oracle"),
        (["--shared-fleet"], "--shared-fleet and --in-process contradict each other"),
        (["--checkpoint", "nowhere"], "there is no checkpoint nowhere"),
        (["--checkpoint", __file__], "is not a checkpoint: policy/policy.json is missing"),
        (["--prompts", "nowhere.txt"], "cannot read prompts from nowhere.txt"),
        (["--tasks", 0], "--tasks must be a whole number of at least 1, got 0"),
        (["--steps", 0, 3], "denoising steps must be a range within 1 to 1000, got 0 to 3"),
        (["--steps", 5, 3], "denoising steps must be a range within 1 to 1000, got 5 to 3"),
        (["--steps", 1001, 1001], "within 1 to 1000, got 1001 to 1001"),
        (["--size", 33, 32], "width must be a multiple of 8 pixels up to 16384, got 33"),
        (["--deadline", "nan"], "--deadline must be a number, got nan"),
        (["--seed", -1], "--seed must be a whole number of at least 0 and of at most 4294967295, got -1"),
        (["--fleet", "digit"], "no fleet 'digit'; choose from digits"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_image(arguments, message, generate, tmp_path, capsys):
    assert generate(*arguments) == 2
    line = the_line(capsys.readouterr().err)
    assert line.startswith("lad-rllib generate: ") and message in line
    assert not (tmp_path / "images" / "images").exists()


def test_a_file_without_a_prompt_is_one_line(generate, tmp_path, capsys):
    (tmp_path / "prompts.txt").write_text("# later\n\n")
    assert generate("--prompts", tmp_path / "prompts.txt") == 2
    assert "prompts.txt holds no prompt; write one per line" in the_line(capsys.readouterr().err)


def test_a_pipeline_that_is_not_there_is_one_line_that_names_its_server(generate, tmp_path, capsys):
    servers = [{"name": "here", "kind": "diffusers", "device": "cpu", "model": "./nowhere"}]
    assert generate(fleet=written(tmp_path / "own.yaml", {"servers": servers})) == 2
    message = the_line(capsys.readouterr().err)
    assert "server here" in message and f"{tmp_path / 'nowhere'} or {Path('nowhere').absolute()}" in message


def test_an_unknown_scheduler_lists_the_known_ones(generate, capsys):
    with pytest.raises(SystemExit, match="2"):
        generate("--scheduler", "best")
    message = capsys.readouterr().err
    assert "'best'" in message and "'policy'" in message and "'greedy-oracle'" in message
