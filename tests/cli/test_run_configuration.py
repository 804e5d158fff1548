"""What a run depends on, as its arguments and files say."""

import pytest

from lad_rllib.cli.flags import read
from lad_rllib.cli.main import parser
from lad_rllib.runs.configuration import resolve
from lad_rllib.runs.options import TrainOptions
from tests.cli.fleet_files import written


@pytest.mark.parametrize(
    ("of_file", "of_arguments", "expected"),
    [
        (None, [], [0.0, 0.7]),
        ([0.1, 0.5], [], [0.1, 0.5]),
        ([0.1, 0.5], ["--part", "0", "0.4"], [0.0, 0.4]),
    ],
)
def test_training_takes_the_part_of_a_log_that_is_asked_for_or_the_files_or_the_first(
    tmp_path, of_file, of_arguments, expected
):
    part = {} if of_file is None else {"arrivals": {"part": of_file}}
    setting = written(tmp_path / "log.yaml", {"preset": "sample-trace", **part})
    parsed = parser().parse_args(["train", "--setting", str(setting), *of_arguments])
    assert list(resolve(read(TrainOptions, parsed))["setting"]["arrivals"]["part"]) == expected
