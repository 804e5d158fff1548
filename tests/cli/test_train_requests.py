"""``lad-rllib train --algorithm lad-dispatch``: settings of requests and of slots, an order, and going on."""

import pandas as pd
import pytest
import yaml

from lad_rllib.algorithms.lad_dispatch import load_request_scheduler
from lad_rllib.cli import main
from tests.docs.pages import ROOT
from tests.docs.test_commands import command_lines

LEARNING = {"hidden_size": 8, "sampled_requests": 50, "updates_per_iteration": 2, "train_batch_size_per_learner": 16}
SETTING = {"servers": [1.0, 0.5], "requests": 120, "traffic": {"kind": "poisson", "load": 0.8}}


def train(tmp_path, *arguments, setting=None, episodes=2):
    """Train on a setting of a file, or of a name; the exit status."""
    (tmp_path / "learning.yaml").write_text(yaml.safe_dump({"training": LEARNING}))
    if setting is None:
        setting = str(tmp_path / "requests.yaml")
        (tmp_path / "requests.yaml").write_text(yaml.safe_dump(SETTING))
    given = ["--setting", setting, "--config", str(tmp_path / "learning.yaml"), "--episodes", str(episodes), "--quiet"]
    return main(["train", "--algorithm", "lad-dispatch", *given, *arguments, "--output", str(tmp_path / "run")])


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("setting", "arguments", "orders"),
    [
        (None, ["--load", "0.6"], ("fifo",)),
        ("small", ["--order", "aged:service_weight=3"], ("aged:service_weight=3",)),
        ("any-fleet", [], ("fifo", "shortest_first", "aged", "deadline", "priority")),
    ],
)
def test_a_run_on_requests_or_slots_goes_on_and_leaves_a_policy_that_knows_its_order(
    setting, arguments, orders, ray_cluster, tmp_path
):
    assert train(tmp_path, *arguments, setting=setting) == 0
    assert main(["train", "--resume", "--episodes", "3", "--quiet", "--output", str(tmp_path / "run")]) == 0
    progress = pd.read_csv(tmp_path / "run" / "progress.csv")
    assert progress["episodes"].tolist() == [1, 2, 3]
    assert (progress["p99_service_delay_s"] > progress["mean_service_delay_s"]).all()
    ratio = progress["mean_service_delay_s"] / progress["greedy_oracle_delay_s"]
    assert progress["delay_over_oracle"].tolist() == pytest.approx(ratio.tolist())
    assert (progress["least_work_left_delay_s"] > 0).all() and (progress["entropy_mean"] > 0).all()
    assert (tmp_path / "run" / "learning_curve.png").exists()
    policy = load_request_scheduler(tmp_path / "run" / "checkpoint")
    assert policy.orders == orders
    configuration = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert configuration["setting"]["name"] == (setting or "requests")


@pytest.mark.cluster
def test_a_run_from_the_policy_of_the_package_says_which_of_the_two_it_keeps(ray_cluster, tmp_path, capsys):
    (tmp_path / "learning.yaml").write_text(yaml.safe_dump({"sampled_requests": 50, "updates_per_iteration": 2}))
    (tmp_path / "requests.yaml").write_text(yaml.safe_dump(SETTING))
    files = ["--setting", str(tmp_path / "requests.yaml"), "--config", str(tmp_path / "learning.yaml")]
    words = ["--algorithm", "lad-dispatch", "--init-from", "any-fleet", "--episodes", "1"]
    assert main(["train", *words, *files, "--output", str(tmp_path / "run")]) == 0
    assert "one is kept" in capsys.readouterr().out
    trained = load_request_scheduler(tmp_path / "run" / "checkpoint")
    assert trained.orders == ("fifo",) and trained.actor.wait_cap == 0.5


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--algorithm", "lad-pmd", "--setting", "small", "--order", "fifo"], "--order has no effect on lad-pmd"),
        (["--algorithm", "lad-pmd", "--setting", "unequal-8"], "setting unequal-8 has requests that come one by one"),
        (["--algorithm", "lad-dispatch", "--fleet", "digits"], "--fleet digits has no effect on lad-dispatch"),
        (["--algorithm", "lad-dispatch", "--queue-unit", "slots"], "--queue-unit slots has no effect on lad-dispatch"),
        (["--algorithm", "lad-dispatch", "--order", "lifo"], "unknown order of service 'lifo'"),
        (["--algorithm", "lad-pmd", "--setting", "any-fleet"], "random fleets (any-fleet) are another fleet"),
        (["--algorithm", "lad-dispatch", "--setting", "any-fleet", "--load", "0.5"], "traffic"),
        (["--algorithm", "lad-dispatch", "--setting", "any-fleet", "--servers", "5"], "--servers has no effect"),
        (["--algorithm", "lad-dispatch", "--in-slot-view", "all"], "--in-slot-view has no effect on LAD-Dispatch"),
    ],
)
def test_options_that_mean_another_kind_of_algorithm_are_refused_in_one_line(arguments, told, tmp_path, capsys):
    assert main(["train", *arguments, "--output", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err.strip()
    assert told in said and "\n" not in said


@pytest.mark.cluster
@pytest.mark.extended
def test_what_the_page_on_scaling_tells_to_type_runs_to_the_end_with_fewer_runners(ray_cluster, tmp_path):
    page = (ROOT / "docs" / "explanation" / "scaling.md").read_text(encoding="utf-8")
    [words] = [words for words in command_lines(page) if "experiments/many_worlds.yaml" in words]
    assert words[words.index("--max-staleness") + 1] == "1"
    (tmp_path / "fleets.yaml").write_text(
        yaml.safe_dump({"preset": "any-fleet", "fleets": {"servers": [2, 4], "requests": [100, 100]}})
    )
    instead = {
        "--setting": str(tmp_path / "fleets.yaml"),
        "--config": str(ROOT / "experiments" / "many_worlds.yaml"),
        "--num-env-runners": "2",
        "--num-learners": "0",
        "--episodes": "12",
        "--output": str(tmp_path / "run"),
    }
    for flag, value in instead.items():
        words[words.index(flag) + 1] = value
    assert main([*words[1:], "--quiet"]) == 0
    progress = pd.read_csv(tmp_path / "run" / "progress.csv")
    assert progress["episodes"].tolist() == [4, 8, 12] and progress["actor_loss"].notna().all()
    assert progress["staleness"].max() == 1
    assert load_request_scheduler(tmp_path / "run" / "checkpoint").orders
