"""``lad-rllib train --fleet`` on emulated servers in this process: what a run leaves, fine-tuning, mistakes."""

import shutil

import numpy as np
import pandas as pd
import pytest
import yaml

from lad_rllib import names
from lad_rllib.algorithms.common.policy_file import read_policy
from lad_rllib.cli import main
from lad_rllib.fleet import load_fleet
from lad_rllib.service import read_prompts
from tests.algorithms.small import assert_same
from tests.cli.fleet_files import error_of, fleet_file, setting_file, written
from tests.envs.live_fleets import FLEET


@pytest.fixture
def train(tmp_path, ray_cluster):
    """Runs the command on the small fleet's setting; returns its exit status."""

    def run(*arguments):
        return main(["train", "--setting", setting_file(tmp_path), "--quiet", *map(str, arguments)])

    return run


@pytest.fixture
def on_fleet(tmp_path):
    """Arguments that let a run learn from the small fleet."""
    return ["--fleet", fleet_file(tmp_path), "--in-process"]


def progress(run):
    return pd.read_csv(run / "progress.csv")


def configuration(run):
    return yaml.safe_load((run / "config.yaml").read_text())


def weights(run):
    return {key: np.asarray(value) for key, value in read_policy(run / "checkpoint").weights.items()}


@pytest.mark.cluster
def test_a_run_leaves_a_row_of_measured_delays_for_each_episode(trained_on_fleet):
    table = progress(trained_on_fleet)
    assert table["episodes"].tolist() == [1, 2] and table["iteration"].tolist() == [1, 2]
    least_s = FLEET["servers"][1]["profile"]["overhead_s"] + 3 * FLEET["servers"][1]["profile"]["per_step_s"]
    assert (table[names.MEAN_DELAY] > least_s).all()
    np.testing.assert_allclose(table[names.DELAY_OVER_ORACLE], table[names.MEAN_DELAY] / table[names.ORACLE_DELAY])
    slots_s = 4 * configuration(trained_on_fleet)["setting"]["slot_s"] * FLEET["time_scale"]
    assert (table["seconds"] > slots_s).all()  # it ran by the clock
    assert np.isfinite(table["critic_loss"].iloc[-1])
    assert (trained_on_fleet / "learning_curve.png").stat().st_size > 10_000


@pytest.mark.cluster
def test_the_configuration_has_the_whole_fleet(trained_on_fleet):
    live = configuration(trained_on_fleet)["live"]
    spec = load_fleet(trained_on_fleet.parent / "two.yaml")
    assert load_fleet(live["fleet"]) == spec
    assert (live["sharing"], live["in_process"], live["prompts"]) == ("own", True, read_prompts())


@pytest.mark.cluster
def test_its_checkpoint_is_evaluated_in_the_simulator_of_its_setting(trained_on_fleet, tmp_path, capsys):
    arguments = ["--checkpoint", str(trained_on_fleet / "checkpoint"), "--schedulers", "greedy-oracle"]
    assert main(["evaluate", *arguments, "--episodes", "2", "--output", str(tmp_path)]) == 0
    table = pd.read_csv(tmp_path / "evaluation.csv")
    assert table["scheduler"].tolist() == ["LAD-TS", "greedy-oracle"] and (table["mean_s"] > 0).all()


@pytest.mark.cluster
def test_a_resumed_run_goes_on_with_its_fleet_and_its_rows(trained_on_fleet, ray_cluster, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained_on_fleet, run)
    before, fleet = progress(run), configuration(run)["live"]
    assert main(["train", "--resume", "--episodes", "4", "--quiet", "--output", str(run)]) == 0
    after = progress(run)
    assert after["episodes"].tolist() == [1, 2, 3, 4]
    pd.testing.assert_frame_equal(after[:2], before)
    assert configuration(run)["live"] == fleet and configuration(run)["episodes"] == 4
    assert any((weights(run)[key] != value).any() for key, value in weights(trained_on_fleet).items())


@pytest.mark.cluster
def test_fine_tuning_starts_from_the_weights_of_a_run_in_the_simulator(train, on_fleet, tmp_path):
    config = written(tmp_path / "small.yaml", {"learning_starts": 4, "train_batch_size_per_learner": 4})
    no_learning = written(tmp_path / "none.yaml", {"learning_starts": 900})
    simulated, tuned, fresh = (tmp_path / name for name in ("simulated", "tuned", "fresh"))
    assert train("--config", config, "--episodes", 2, "--output", simulated) == 0
    start = ["--init-from", simulated / "checkpoint"]
    once = ["--config", no_learning, "--seed", 5, "--episodes", 1]
    assert train(*on_fleet, *once, *start, "--output", tuned) == 0
    assert train(*on_fleet, *once, "--output", fresh) == 0
    assert_same(weights(tuned), weights(simulated))
    assert any((weights(fresh)[key] != value).any() for key, value in weights(simulated).items())
    assert configuration(tuned)["init_from"] == str(simulated / "checkpoint")
    assert progress(tuned)["episodes"].tolist() == [1]


@pytest.mark.cluster
def test_prompts_of_a_file_are_sent_and_remembered(train, on_fleet, tmp_path):
    (tmp_path / "prompts.txt").write_text("a red seven\na blue two\n")
    arguments = ["--prompts", tmp_path / "prompts.txt", "--episodes", 1, "--output", tmp_path / "run"]
    assert train(*on_fleet, *arguments) == 0
    assert configuration(tmp_path / "run")["live"]["prompts"] == ["a red seven", "a blue two"]


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [("nowhere", "there is no checkpoint"), (__file__, "is not a checkpoint: policy/policy.json is missing")],
)
def test_nothing_to_start_from_is_one_line(checkpoint, message, train, on_fleet, tmp_path, capsys):
    arguments = ["--setting", setting_file(tmp_path), *on_fleet, "--init-from", checkpoint, "--output", tmp_path]
    assert message in error_of(capsys, "train", *arguments)


@pytest.mark.cluster
def test_a_start_from_a_checkpoint_of_another_network_is_one_line(trained_on_fleet, train, tmp_path, capsys):
    earlier = tmp_path / "earlier"
    shutil.copytree(trained_on_fleet, earlier)
    before = {path: path.read_bytes() for path in earlier.rglob("*") if path.is_file()}
    capsys.readouterr()
    arguments = [
        "--setting",
        "small",
        "--init-from",
        trained_on_fleet / "checkpoint",
        "--overwrite",
        "--output",
        earlier,
    ]
    assert "another network size" in error_of(capsys, "train", *arguments)
    assert {path: path.read_bytes() for path in earlier.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("option", [["--prompts", "captions.txt"], ["--shared-fleet"], ["--in-process"]])
def test_options_of_a_fleet_without_a_fleet_are_one_line(option, tmp_path, capsys):
    message = error_of(capsys, "train", *option, "--output", tmp_path)
    assert f"{option[0]} has no effect without --fleet; name a fleet" in message


def test_a_setting_of_another_shape_is_one_line_that_names_both(tmp_path, capsys):
    arguments = ["--fleet", "digits", "--setting", setting_file(tmp_path), "--in-process", "--output", tmp_path]
    message = error_of(capsys, "train", *arguments)
    assert "fleet digits has 5 base stations and 5 edge servers, the setting has 3 and 2" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--setting", "paper"], "setting paper is not of a fleet"),
        (["--shared-fleet"], "contradict each other"),
        (["--num-envs-per-env-runner", 2], "num_envs is 2; use more env runners"),
        (["--prompts", "nowhere.txt"], "cannot read prompts from nowhere.txt"),
        (["--fleet", "nowhere.yaml"], "cannot read fleet file nowhere.yaml"),
    ],
)
def test_a_mistake_is_one_line(arguments, message, on_fleet, tmp_path, capsys):
    where = ["--setting", setting_file(tmp_path), *on_fleet, "--output", tmp_path / "run"]
    line = error_of(capsys, "train", *where, *arguments)
    assert line.startswith("lad-rllib train: ") and message in line


@pytest.mark.cluster
@pytest.mark.parametrize("view", ["none", "all"])
def test_lad_pmd_learns_from_what_a_fleet_recorded(view, train, on_fleet, tmp_path):
    run = tmp_path / "run"
    for_all = ["--algorithm", "lad-pmd", "--in-slot-view", view]
    assert train(*on_fleet, *for_all, "--episodes", "2", "--output", run) == 0
    assert configuration(run)["queue_unit"] == "slots"
    assert len(progress(run)) == 2
    (moved,) = [value for key, value in weights(run).items() if key.endswith("networks.actor.chain.denoiser.weights")]
    assert np.abs(moved[:, -1]).max() > 0  # the last layer starts at zero
