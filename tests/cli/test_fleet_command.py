"""``lad-rllib fleet`` without a cluster: what it shows, and one line for each mistake."""

import pytest

from lad_rllib.cli import main


def error_of(capsys, *arguments):
    """Run the command, which must fail; returns its one line of complaint."""
    assert main(["fleet", *arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_a_file_is_checked_and_shown_without_starting_anything(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("ray.init", lambda *arguments, **named: pytest.fail("it connected to a cluster"))
    assert main(["fleet", "check", "gpu-cluster"]) == 0
    out = capsys.readouterr().out
    assert "shared-gpu-1" in out and "1 CPU, 0.5 GPU" in out and "region: eu" in out and "no_t5" in out


def test_the_shipped_fleets_are_listed(capsys, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert main(["fleet", "list"]) == 0
    out = capsys.readouterr().out
    assert "digits" in out and "jetson" in out and "gpu-cluster" in out


def test_mistakes_are_one_line(capsys, tmp_path):
    assert "a FILE is missing" in error_of(capsys, "up")
    assert "'digit'" in error_of(capsys, "check", "digit")
    assert "--timeout" in error_of(capsys, "up", "digits", "--timeout", "0")
    file = tmp_path / "mine.yaml"
    file.write_text("servers: [{name: a, kind: emulated, profil: h100}]")
    message = error_of(capsys, "check", str(file))
    assert "mine.yaml, server a: " in message and "'profil'" in message and "profile" in message


def test_a_cluster_that_is_not_there_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    message = error_of(capsys, "status", "emulated", "--address", "127.0.0.1:1")
    assert "no Ray cluster at 127.0.0.1:1" in message and "ray start --head" in message
