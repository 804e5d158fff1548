"""Mistakes of a user end in one line on standard error that says what is wrong, and exit status 2."""

import signal
from pathlib import Path

import pytest

from lad_rllib.cli import main
from lad_rllib.simulator import sample_trace_path


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must fail; returns its one line of complaint."""
    assert main(arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def setting_file(folder: Path, text: str) -> str:
    path = folder / "setting.yaml"
    path.write_text(text)
    return str(path)


def test_a_negative_capacity_names_the_server_and_its_value(tmp_path, capsys):
    arguments = ["--stations", "3", "--capacity", "10", "-5", "20", "--output", str(tmp_path)]
    message = error_of(capsys, "train", *arguments)
    assert "network.capacity_gcycles_per_s[1]" in message and "-5" in message


def test_zero_servers_are_refused(tmp_path, capsys):
    assert "network.servers must be a whole number of at least 1" in error_of(
        capsys, "train", "--servers", "0", "--output", str(tmp_path)
    )


def test_a_task_without_a_denoising_step_is_refused(tmp_path, capsys):
    path = setting_file(tmp_path, "arrivals: {attributes: per_task, denoising_steps: [0, 14]}")
    message = error_of(capsys, "train", "--setting", path, "--output", str(tmp_path))
    assert "denoising_steps" in message and "at least 1" in message


def test_nan_in_a_trace_is_fatal_where_the_user_wants_it(tmp_path, capsys):
    lines = sample_trace_path().read_text().splitlines()
    log = tmp_path / "log.csv"
    header = lines[0].split(",")
    row = lines[1].split(",")
    row[header.index("exec_time_seconds")] = "nan"
    row[header.index("predict_status")] = "SUCCEED"
    row[header.index("predict_type")] = "TXT_2_IMG"
    log.write_text("\n".join([lines[0], ",".join(row), *lines[2:]]))
    text = f"slots: 20\narrivals: {{source: trace, path: {log}, strict: true}}"
    message = error_of(capsys, "train", "--setting", setting_file(tmp_path, text), "--output", str(tmp_path))
    assert "exec_time_seconds" in message and "row 1" in message


def test_a_trace_without_a_needed_column_is_named(tmp_path, capsys):
    log = tmp_path / "log.csv"
    log.write_text("gmt_create,groupId\n2024-11-15 16:57:50,G0\n")
    message = error_of(capsys, "train", "--arrivals", str(log), "--output", str(tmp_path))
    assert "predict_type" in message and "log.csv" in message


def test_an_unknown_preset_lists_the_known_ones(tmp_path, capsys):
    message = error_of(capsys, "train", "--setting", "papier", "--output", str(tmp_path))
    assert "papier" in message and "paper" in message and "small" in message


def test_an_unwritable_output_folder_is_named(tmp_path, capsys):
    (tmp_path / "file").touch()
    message = error_of(capsys, "train", "--output", str(tmp_path / "file" / "results"))
    assert str(tmp_path / "file" / "results") in message and "--output" in message


def test_a_run_is_not_overwritten_by_accident(tmp_path, capsys):
    (tmp_path / "config.yaml").write_text("episodes: 3\n")
    message = error_of(capsys, "train", "--output", str(tmp_path))
    assert "--resume" in message and "--overwrite" in message


def test_there_must_be_a_run_to_resume(tmp_path, capsys):
    assert "no run to resume" in error_of(capsys, "train", "--resume", "--output", str(tmp_path))


def test_an_unknown_hyperparameter_in_a_config_file_is_named(tmp_path, capsys):
    path = tmp_path / "best.yaml"
    path.write_text("actor_learning_rate: 0.1\n")
    message = error_of(capsys, "train", "--config", str(path), "--output", str(tmp_path / "run"))
    assert "actor_learning_rate" in message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--in-slot-view", "own"], "--in-slot-view has no effect on LAD-TS; leave it out"),
        (["--algorithm", "lad-pmd", "--preset", "paper"], "--preset has no effect on LAD-PMD; leave it out"),
        (["--algorithm", "sac-ts", "--penalty", "mean"], "--penalty has no effect on SAC-TS; leave it out"),
    ],
)
def test_a_hyperparameter_of_another_algorithm_is_named_by_its_flag(words, message, tmp_path, capsys):
    words = ["train", "--setting", "small", *words, "--output", str(tmp_path)]
    assert error_of(capsys, *words) == f"lad-rllib train: {message}"


def test_a_folder_without_a_checkpoint_is_named(tmp_path, capsys):
    assert "is not a checkpoint" in error_of(capsys, "evaluate", "--checkpoint", str(tmp_path))


def test_an_unknown_scheduler_lists_the_known_ones(tmp_path, capsys):
    message = error_of(capsys, "evaluate", "--schedulers", "best", "--output", str(tmp_path))
    assert "'best'" in message and "greedy-oracle" in message


def test_a_negative_seed_is_refused(tmp_path, capsys):
    message = error_of(capsys, "evaluate", "--setting", "small", "--seed", "-1", "--output", str(tmp_path))
    assert "--seed must be a whole number of at least 0 and of at most 4294967295, got -1" in message


@pytest.mark.parametrize(
    ("command", "option", "value", "valid"),
    [
        ("train", "--wait-nodes", "-3", "a whole number of at least 0"),
        ("train", "--wait-timeout", "-1.0", "a number of at least 0"),
        ("tune", "--max-concurrent", "-1", "a whole number of at least 1"),
        ("tune", "--time-budget", "-1.0", "a number above 0"),
    ],
)
def test_a_negative_number_is_refused(command, option, value, valid, tmp_path, capsys):
    message = error_of(capsys, command, "--smoke", option, value, "--output", str(tmp_path))
    assert message == f"lad-rllib {command}: {option} must be {valid}, got {value}"


def test_ctrl_c_is_one_line_and_its_own_exit_status(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("lad_rllib.runs.contest.Contest.play", lambda *arguments: signal.raise_signal(signal.SIGINT))
    assert main(["evaluate", "--setting", "small", "--episodes", "1", "--output", str(tmp_path)]) == 130
    lines = capsys.readouterr().err.strip().splitlines()  # on a slow machine a line of progress comes before it
    assert lines[-1] == "lad-rllib evaluate: interrupted" and "Traceback" not in "".join(lines)


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_help_names_every_option_and_what_is_left_behind(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "--setting" in text and "--arrivals" in text and ".csv" in text and ".png" in text


def test_training_says_the_load_and_what_the_setting_means_before_it_starts(tmp_path, capsys):
    assert main(["train", "--setting", "small", "--gamma", "2", "--output", str(tmp_path)]) == 2
    assert "load 1.397" in (said := capsys.readouterr().out) and "queues grow" in said


def test_a_mistake_leaves_the_run_that_was_to_be_overwritten(tmp_path, capsys):
    earlier = tmp_path / "progress.csv"
    earlier.write_text("episodes\n1\n")
    for mistake in (["--seed", "-1"], ["--gamma", "2"], ["--capacity", "-5"]):
        error_of(capsys, "train", "--overwrite", *mistake, "--output", str(tmp_path))
        assert earlier.exists()


def test_a_home_folder_that_does_not_exist_is_a_missing_file_and_no_traceback(capsys, tmp_path):
    for arguments in (
        ["evaluate", "--checkpoint", "~no-such-user/run"],
        ["train", "--init-from", "~no-such-user/run", "--output", str(tmp_path / "run")],
        ["generate", "--fleet", "~no-such-user/fleet.yaml", "--output", str(tmp_path / "images")],
        [
            "generate",
            "--fleet",
            "emulated",
            "--prompts",
            "~no-such-user/prompts.txt",
            "--output",
            str(tmp_path / "images"),
        ],
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert "~no-such-user" in error and error.count("\n") == 1
