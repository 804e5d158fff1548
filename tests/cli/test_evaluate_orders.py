"""``lad-rllib evaluate`` under orders of service, and on requests that come one by one."""

import json

import numpy as np
import pandas as pd
import pytest

from lad_rllib.cli import main
from lad_rllib.runs.comparison import Measures, table_of_slots
from lad_rllib.runs.contest import contest_of_slots
from lad_rllib.scheduling import make_heuristic, play, schedule_quality
from lad_rllib.simulator import build_setting

SWAPS = {
    "servers": [1.0, 0.5],
    "requests": 400,
    "models_in_memory": 1,
    "swap_s": 2.0,
    "traffic": {
        "kind": "poisson",
        "load": 0.5,
        "deadline_over_solo": 4.0,
        "mix": {"models": 3, "tenants": {"one": 3.0, "other": 1.0}},
    },
}


def rows_of(capsys, *words):
    assert main(["evaluate", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_both_kinds_of_scheduler_have_rows_under_every_order(tmp_path, capsys):
    names, orders = ["greedy-oracle", "card", "random"], ["fifo", "shortest_first"]
    words = ["--setting", "small", "--episodes", "2", "--schedulers", *names, "--order", *orders]
    rows = rows_of(capsys, *words, "--slo", "3", "--bounds", "--output", str(tmp_path))
    assert [(row["order"], row["scheduler"]) for row in rows[:-1]] == [(o, n) for o in orders for n in names]
    for row in rows[:-1]:
        assert row["p50_s"] <= row["p95_s"] <= row["p99_s"] <= row["max_s"] and 0 <= row["slo_attainment"] <= 1
        assert row["over_oracle"] == pytest.approx(row["mean_s"] / rows[0]["mean_s"]) and row["work"] == "known"
        assert row["mean_s"] > rows[-1]["mean_s"]  # the bound, which holds for all orders
    assert rows[3]["mean_s"] < rows[0]["mean_s"]  # short tasks first
    assert "swaps" not in rows[0]
    assert len(pd.read_csv(tmp_path / "evaluation_servers.csv")) == 6 * 4


def test_requests_one_by_one_have_swaps_tenants_and_deadlines_and_leave_slots_out(tmp_path, capsys):
    file = tmp_path / "setting.json"
    file.write_text(json.dumps(SWAPS))
    words = ["--setting", str(file), "--episodes", "2", "--output", str(tmp_path)]
    by_work = {}
    for work in ("predicted", "known"):
        assert main(["evaluate", *words, "--work", work, "--schedulers", "random", "water-filling", "--json"]) == 0
        out, err = capsys.readouterr()
        [row] = json.loads(out)
        assert "left out: water-filling decides for whole slots" in err
        assert row["work"] == work and 0 < row["swaps"] <= 1 and 0 < row["deadline_met"] < 1
        assert {"tenant_one_s", "tenant_other_s", "tenant_fairness", "over_least_work_left"} <= row.keys()
        parts = ("upload_s", "waiting_s", "swap_s", "computing_s", "download_s")
        assert sum(row[part] for part in parts) == pytest.approx(row["mean_s"])
        by_work[work] = row["mean_s"]
    assert by_work["known"] == by_work["predicted"]  # a random choice does not use it
    rows = rows_of(capsys, *words, "--bounds", "--schedulers", "least-work-left", "least-work-left-affinity")
    assert rows[2]["scheduler"] == "lower bound" and rows[2]["mean_s"] < min(row["mean_s"] for row in rows[:2])
    assert rows[0]["over_least_work_left"] == pytest.approx(1.0)
    assert rows[1]["swaps"] < rows[0]["swaps"]  # it is drawn to servers that hold the model


def test_first_in_first_out_is_the_slotted_simulator():
    setting = build_setting({"preset": "small"})
    contest = contest_of_slots(setting, 3, 5, ["fifo"], Measures())
    record = play(make_heuristic("water-filling"), setting.network, contest.slots.arrivals, np.random.default_rng(5), 7)
    [row] = contest.play("water-filling", make_heuristic("water-filling"))
    for column, value in schedule_quality(record).items():
        assert row.row[column] == pytest.approx(value, abs=1e-9)
    np.testing.assert_allclose(row.utilisation, record.utilisation, atol=1e-9)
    table = table_of_slots({"water-filling": record})
    assert table["mean_s"][0] == pytest.approx(record.mean_delay_s) and table["over_oracle"].isna().all()


def test_work_that_is_not_told_is_predicted_and_served_as_it_is():
    setting = build_setting({"preset": "sample-trace", "arrivals": {"work_shown": "mean"}})
    contest = contest_of_slots(setting, 1, 5, ["fifo"], Measures())
    assert contest.work == "predicted"
    [requests] = contest.episodes
    shown = contest.world.service_s(requests)
    assert np.ptp(shown[:, 0]) < 1e-9 * shown[0, 0] and np.ptp(requests.actual_over_predicted) > 0.1
    record = play(make_heuristic("round-robin"), setting.network, contest.slots.arrivals, np.random.default_rng(5), 19)
    [row] = contest.play("round-robin", make_heuristic("round-robin"))
    assert row.row["mean_s"] == pytest.approx(record.mean_delay_s)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--order", "longest_first"], "unknown order of service 'longest_first'"),
        (["--order", "aged:weight=3"], "order.weight"),
        (["--work", "known"], "--work has no effect on setting small"),
        (["--schedulers", "nearest"], "unknown scheduler 'nearest'"),
        (["--slo", "0"], "--slo"),
    ],
)
def test_what_cannot_be_played_is_refused_in_one_line(words, message, tmp_path, capsys):
    assert main(["evaluate", "--setting", "small", "--episodes", "1", *words, "--output", str(tmp_path)]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error and len(error.splitlines()) == 1
