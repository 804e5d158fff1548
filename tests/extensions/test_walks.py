"""The walks of docs/how-to/extend.md, run from a package that is installed outside the repository."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from lad_rllib.algorithms import CONFIGS
from lad_rllib.envs import FleetVectorEnv
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet.server_spec import SERVER_KINDS
from lad_rllib.scheduling import HEURISTICS, make_heuristic
from lad_rllib.simulator import ARRIVALS, PENALTIES, build_setting, make_order, make_penalty, setting_schema
from lad_rllib.simulator.order import order_spec
from lad_rllib.simulator.requests import build_request_setting
from tests.algorithms.small import curve

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "extend.md").read_text(encoding="utf-8")
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```', re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Folder into which pip has installed the package that the page's files make up; the files lie beside it."""
    folder = tmp_path_factory.mktemp("extras")
    for _, title, text in BLOCK.findall(PAGE):
        if title:
            path = folder / title
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    (folder / "edge_extras" / "__init__.py").touch()
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-build-isolation", "--no-deps"]
    subprocess.run([*pip, "--target", folder / "site", folder], check=True, capture_output=True)
    return folder / "site"


@pytest.fixture
def installed(site, monkeypatch):
    """The package on the path, also of processes that a test starts; the page's files in the working folder."""
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=":")
    monkeypatch.chdir(site.parent)
    yield
    for name in [name for name in sys.modules if name.startswith("edge_extras")]:
        del sys.modules[name]


def section(title):
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


COMMANDS = """
import json, sys
from lad_rllib.cli import main
for words in json.loads(sys.argv[1]):
    print("COMMAND", words, file=sys.stderr, flush=True)
    if main(words):
        sys.exit("failed")
"""


@pytest.fixture(scope="module")
def commands(site):
    """Run the commands of all walks, in a process that no test has prepared, as a user's is; most of it is imports."""
    lines = [shlex.split(line) for kind, _, text in BLOCK.findall(PAGE) if kind == "bash" for line in text.splitlines()]
    assert {line[0] for line in lines} == {"lad-rllib"}
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    words = json.dumps([line[1:] for line in lines])
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, words],
        cwd=site.parent,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def walked(commands, installed):
    """What the commands left is in the working folder."""


def run(title):
    """Run the Python of a section that is not a file."""
    for language, name, text in BLOCK.findall(section(title)):
        if language == "python" and not name:
            exec(text, {})


def test_a_source_of_arrivals_plays_from_a_file_and_from_the_command_line(walked):
    run("A source of arrivals")
    for folder, setting in (("bursts", "bursts"), ("bursts-of-six", "small-bursts")):
        table = pd.read_csv(f"results/{folder}/evaluation.csv")
        assert set(table["scheduler"]) >= {"greedy-oracle", "random"} and table["tasks"].gt(0).all(), setting
    setting = build_setting({"preset": "paper", "arrivals": {"source": "bursts", "burst_probability": 0.3}})
    work = setting.arrivals.draw(np.random.default_rng(0), 400).workload_gcycles.sum(axis=(1, 2))
    assert abs(setting.arrivals.mean_work_per_slot_gcycles() - work.mean()) < 4 * work.std() / np.sqrt(len(work))
    assert "50 tasks with probability 0.3, else none" in setting.summary()
    sources = [one["properties"]["source"]["const"] for one in setting_schema()["properties"]["arrivals"]["anyOf"]]
    assert sources == ["uniform", "poisson", "trace", "bursts"]


def test_a_kind_of_traffic_has_its_load(walked):
    run("A kind of traffic")
    setting = build_request_setting({"preset": "equal-3", "traffic": {"kind": "office-hours", "day_s": 1000.0}})
    arrival_s = setting.draw(np.random.default_rng(0)).arrival_s
    assert len(arrival_s) / arrival_s[-1] == pytest.approx(setting.rate_per_s, rel=0.05)
    assert setting.load == pytest.approx(0.7) and "in 38% of each day" in setting.summary()


@pytest.mark.cluster
def test_a_penalty_is_learned_from_and_has_the_slope_of_its_value(walked):
    run("A penalty")
    assert len(pd.read_csv("results/squared/progress.csv")) == 2
    penalty, delay_s = make_penalty("squared", scale_s=4.0), np.linspace(0.1, 20, 50)
    difference = (penalty.value(delay_s + 1e-6) - penalty.value(delay_s - 1e-6)) / 2e-6
    np.testing.assert_allclose(penalty.slope(delay_s), difference, rtol=1e-6)


def test_a_heuristic_is_compared_and_serves_a_fleet(walked):
    run("A heuristic")
    means = pd.read_csv("results/choices/evaluation.csv").set_index("scheduler")["mean_s"]
    assert means["two-choices"] < means["random"]
    assert pd.read_csv("results/images/deliveries.csv")["error"].isna().all()
    assert type(make_heuristic("two-choices")).__module__ == "edge_extras.two_choices"


def test_an_order_of_service_serves_a_fleet(walked):
    run("An order of service")
    assert pd.read_csv("results/slack/deliveries.csv")["error"].isna().all()
    order = make_order("least-slack:patience_s=60")
    assert type(order).__module__ == "edge_extras.least_slack" and order_spec(order) == "least-slack:patience_s=60"
    assert order.key([0.0, 1.0], [5.0, 3.0], [np.inf, 20.0]).tolist() == [55.0, 18.0]


def test_a_server_kind_serves_a_fleet_beside_others(walked):
    run("A kind of edge servers")
    deliveries = pd.read_csv("results/dots/deliveries.csv")
    assert deliveries["error"].isna().all()
    assert set(deliveries["server"]) == {"dots-0-0", "dots-0-1", "slow"}
    painted = deliveries[deliveries["server"].str.startswith("dots")]
    image = Image.open(f"results/dots/images/{painted['task_id'].iloc[0]}.png")
    assert image.size == (32, 32)


@pytest.mark.cluster
def test_an_algorithm_trains_with_a_setting_of_its_own_and_its_policy_is_evaluated(walked):
    run("A learned algorithm")
    assert "Quiet start" in pd.read_csv("results/quiet/evaluation/evaluation.csv")["scheduler"].tolist()
    policy = json.loads(Path("results/quiet/checkpoint/policy/policy.json").read_text())
    assert (policy["algorithm"], policy["hyperparameters"]["start_scale"]) == ("quiet-start", 0.1)


@pytest.mark.cluster
def test_an_on_policy_algorithm_trains_goes_on_exactly_and_leaves_a_policy(walked):
    run("A learned algorithm of another kind")
    progress = pd.read_csv("results/reinforce/progress.csv")
    assert len(progress) == 2
    table = pd.read_csv("results/reinforce-evaluated/evaluation.csv").set_index("scheduler")
    assert table["mean_s"]["REINFORCE"] > table["mean_s"]["greedy-oracle"] > 0
    with pytest.raises(ConfigurationError, match="REINFORCE has no setting 'tau'; valid: actor_lr, "):
        CONFIGS["reinforce"]().training(tau=0.1)
    curves = []
    for algo in (built("reinforce", seed) for seed in (1, 1, 2)):
        state = algo.learner_group._learner.module["default_policy"].networks.state_dict()
        before = {key: value.clone() for key, value in state.items()}
        curves.append(curve(algo, 2))
        assert not torch.equal(before["actor.denoiser.weights"], state["actor.denoiser.weights"])
        checkpoint = algo.save_to_path(Path("checkpoint").resolve())
        expected = curve(algo, 2)
        algo.restore_from_path(checkpoint)
        assert curve(algo, 2) == expected
        algo.stop()
    assert curves[0] == curves[1] != curves[2]


def built(name, seed):
    """The algorithm on the small setting."""
    config = CONFIGS[name]().environment(FleetVectorEnv, env_config={"setting": "small"})
    return config.debugging(seed=seed).build_algo()


def test_without_the_package_its_names_are_unknown():
    names = {"bursts", "squared", "two-choices", "dots", "quiet-start", "reinforce"}
    assert not names & {*ARRIVALS, *PENALTIES, *HEURISTICS, *SERVER_KINDS, *CONFIGS}
