"""A resumed run follows what it was begun with; options that say otherwise are refused."""

from pathlib import Path

import pandas as pd
import pytest

from lad_rllib.cli import main
from lad_rllib.cli.flags import read
from lad_rllib.cli.main import parser
from lad_rllib.errors import ConfigurationError
from lad_rllib.runs.configuration import check_resumed
from lad_rllib.runs.options import TrainOptions


def parsed(*words):
    return read(TrainOptions, parser().parse_args(["train", *words]))


BEGUN = parsed("--gamma", "0.95", "--setting", "small", "--capacity", "30", "20", "--in-process").arguments()
PLACE = Path("results/train")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--gamma", "0.9"], "--gamma 0.9 contradicts what results/train was begun with, 0.95; leave it out"),
        (["--actor-lr", "0.1"], "--actor-lr 0.1 contradicts .* begun with, nothing"),
        (["--seed", "3"], "--seed 3 contradicts .* begun with, 0"),
        (["--algorithm", "sac-ts"], "--algorithm 'sac-ts' contradicts .* begun with, 'lad-ts'"),
        (["--capacity", "30", "40"], r"--capacity \[30.0, 40.0\] contradicts .* begun with, \[30.0, 20.0\]"),
        (["--shared-fleet"], "^--shared-fleet contradicts .* begun with, nothing"),
        (["--overwrite"], "^--overwrite contradicts .* begun with, nothing"),
    ],
)
def test_an_option_that_contradicts_the_run_is_refused_with_both_values(words, message):
    with pytest.raises(ConfigurationError, match=message):
        check_resumed(parsed("--resume", *words), BEGUN, PLACE, "episodes")


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--gamma", "0.95", "--setting", "small", "--in-process"],
        ["--seed", "0"],
        ["--episodes", "500", "--output", "elsewhere", "--quiet", "--storage-path", "s3://there", "--address", "auto"],
    ],
)
def test_options_that_repeat_the_run_or_say_how_far_and_where_are_followed(words):
    check_resumed(parsed("--resume", *words), BEGUN, PLACE, "episodes")


def test_options_are_known_to_be_given_even_with_their_default_value():
    assert parsed("--seed", "0", "--smoke").model_fields_set == {"seed"}
    assert parsed().model_fields_set == set()


def test_a_resumed_training_refuses_other_options_and_keeps_its_own_number_of_episodes(
    no_cluster, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr("lad_rllib.runs.train.start_ray", lambda *_, **__: None)
    train = ["train", "--quiet", "--output", str(tmp_path)]
    assert main([*train, "--smoke", "--seed", "7"]) == 0
    assert main([*train, "--resume", "--seed", "8"]) == 2
    assert f"--seed 8 contradicts what {tmp_path} was begun with, 7" in capsys.readouterr().err
    assert main([*train, "--resume", "--smoke", "--seed", "7"]) == 0
    assert pd.read_csv(tmp_path / "progress.csv")["episodes"].tolist() == [1, 2]
    assert main([*train, "--resume", "--episodes", "3"]) == 0
    assert pd.read_csv(tmp_path / "progress.csv")["episodes"].tolist() == [1, 2, 3]
