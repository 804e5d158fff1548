"""``any-fleet`` wherever a checkpoint is taken, and where it cannot be played."""

import json

import pandas as pd
import yaml

from lad_rllib.cli import main

SETTING = {"servers": [1.0, 0.5, 0.25], "requests": 400, "traffic": {"kind": "poisson", "load": 0.8}}


def setting_file(folder):
    (folder / "own.yaml").write_text(yaml.safe_dump(SETTING))
    return str(folder / "own.yaml")


def test_evaluate_plays_it_under_every_order_without_a_warning(tmp_path, capsys):
    words = ["--setting", setting_file(tmp_path), "--order", "fifo", "aged:service_weight=20", "--greedy-actions"]
    rules = ["--schedulers", "least-work-left", "--episodes", "2", "--json", "--output", str(tmp_path / "out")]
    assert main(["evaluate", "--checkpoint", "any-fleet", *words, *rules]) == 0
    said = capsys.readouterr()
    rows = {(row["scheduler"], row["order"]): row for row in json.loads(said.out)}
    assert "trained for" not in said.err
    assert len(rows) == 4 and all(row["over_least_work_left"] < 1.05 for row in rows.values())


def test_evaluate_asks_for_a_setting_as_it_has_none_of_its_own(tmp_path, capsys):
    assert main(["evaluate", "--checkpoint", "any-fleet", "--output", str(tmp_path)]) == 2
    assert "give a --setting of one" in capsys.readouterr().err
    assert main(["evaluate", "--setting", "any-fleet", "--output", str(tmp_path)]) == 2
    assert "random fleets (any-fleet) are another fleet in each episode" in capsys.readouterr().err


def test_the_benchmark_suite_plays_it_under_all_orders(tmp_path):
    words = ["--workloads", setting_file(tmp_path), "--loads", "0.7", "--schedulers", "least-work-left"]
    orders = ["fifo", "shortest_first", "aged:service_weight=10"]
    output = ["--episodes", "1", "--output", str(tmp_path / "out")]
    assert main(["bench-suite", *words, "--order", *orders, "--checkpoint", "any-fleet", *output]) == 0
    rows = pd.read_csv(tmp_path / "out" / "suite.csv")
    assert sorted(rows[rows["scheduler"] == "any-fleet"]["order"]) == sorted(orders)


def test_generate_serves_images_with_it(tmp_path):
    words = ["--fleet", "emulated", "--in-process", "--tasks", "4", "--load", "0.5"]
    assert main(["generate", "--checkpoint", "any-fleet", *words, "--output", str(tmp_path)]) == 0
    assert len(pd.read_csv(tmp_path / "deliveries.csv")) == 4
