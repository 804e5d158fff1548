"""Tables lose nothing: no text is taken for markup, no word is cut, and 80 columns do where words allow."""

import json
from types import SimpleNamespace

import pytest

from lad_rllib.cli import main
from lad_rllib.edge import DelayFit, ServerStatus
from lad_rllib.edge.errors import ServerUnavailable
from lad_rllib.names import SHIPPED_FLEETS
from lad_rllib.runs.tables import print_json, print_table


def lines_of(capsys):
    return capsys.readouterr().out.splitlines()


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def test_brackets_are_text(capsys):
    print_table("delays [bold]", [{"work [s]": "[red]1.5[/red]", "name": ":smile:"}])
    out = capsys.readouterr().out
    assert "delays [bold]" in out and "work [s]" in out and "[red]1.5[/red]" in out and ":smile:" in out


def test_a_table_is_wider_than_the_terminal_rather_than_cut_words(capsys):
    words = {f"column-{index}": "a-long-word-without-space" for index in range(5)}
    print_table("wide", [{"scheduler": "the lower bound"} | words])
    out = capsys.readouterr().out
    assert "the lower bound" in out and out.count("a-long-word-without-space") == 5 and "…" not in out


def test_numbers_are_aligned_to_the_right(capsys):
    print_table("", [{"name": "a", "delay [s]": "1.5"}, {"name": "bc", "delay [s]": "–"}])
    assert "│ a    │       1.5 │" in map(str.strip, lines_of(capsys))


def test_json_is_a_list_of_rows(capsys):
    print_json([{"server": "ä", "work_s": None}])
    assert json.loads(capsys.readouterr().out) == [{"server": "ä", "work_s": None}]


@pytest.mark.parametrize("arguments", [("list",), *(("check", name) for name in SHIPPED_FLEETS)], ids=" ".join)
def test_fleet_tables_fit_eighty_columns_and_have_json(arguments, capsys, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    assert main(["fleet", *arguments]) == 0
    shown = lines_of(capsys)
    assert max(map(len, shown)) <= 80 and "…" not in "".join(shown)
    assert main(["fleet", *arguments, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    names = [row["server" if arguments[0] == "check" else "fleet"] for row in rows]
    assert names and all(name in "\n".join(shown) for name in names)


def silent():
    raise ServerUnavailable("no answer within 5 s")


def test_fleet_status_fits_eighty_columns_and_its_json_is_alone_on_standard_output(capsys, monkeypatch):
    fit = DelayFit(0.1, 0.02)
    status = ServerStatus("digits-20ms", "ready", "", 3, 1000, "fifo", 20, 0.5, "task-7", 3, 8, 12, 1, 0.0, 60.0, fit)
    busy = SimpleNamespace(
        status=lambda: status,
        health=lambda: SimpleNamespace(healthy=True, reason=""),
        describe=lambda: SimpleNamespace(device="cpu", dtype="float32"),
    )
    found = [busy, SimpleNamespace(status=silent), None, None, None]
    monkeypatch.setattr("lad_rllib.runs.cluster.connect", lambda address: None)
    monkeypatch.setattr("lad_rllib.fleet.hosts.find_shared", lambda spec, server: found[spec.servers.index(server)])
    assert main(["fleet", "status", "digits"]) == 1
    shown = "\n".join(lines_of(capsys))
    assert max(map(len, shown.splitlines())) <= 80
    assert "[s]" in shown and "3/8" in shown and "answer" in shown and "running" in shown
    assert main(["fleet", "status", "digits", "--json"]) == 1
    first, second, third, *_ = json.loads(capsys.readouterr().out)
    assert (first["running_task_id"], first["fit"]["per_step_s"], first["healthy"]) == ("task-7", 0.02, True)
    assert first["engine"].endswith("on cpu, float32")
    assert set(first) == set(second) == set(third)
    assert second["tasks_queued"] is None and third["health"] == "not running"


def test_json_is_refused_where_nothing_is_listed(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["fleet", "up", "digits", "--json"])
    assert "fleet up: unknown option --json" in capsys.readouterr().err
