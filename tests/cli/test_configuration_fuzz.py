"""A damaged file of hyperparameters is refused in one line, or makes a configuration; nothing else comes of it."""

import pytest

from lad_rllib.algorithms import CONFIGS
from lad_rllib.cli.flags import read
from lad_rllib.cli.main import parser
from lad_rllib.runs.configuration import algorithm_config, resolve
from lad_rllib.runs.options import TrainOptions
from lad_rllib.simulator import make_penalty
from tests.mutations import CASES, as_file, check_refused_or_built

SOME = {
    "latent_start": "learned",
    "in_slot_view": "own",
    "penalty": {"name": "tail", "threshold_s": 2.0, "strength": 3.0},
    "actor_lr": [[0, 1e-3], [100, 1e-4]],
}


@pytest.mark.parametrize("algorithm", ["lad-ts", "lad-pmd", "sac-ts", "lad-dispatch"])
def test_a_damaged_file_of_hyperparameters_is_refused_in_one_line_or_works(tmp_path, algorithm):
    config = CONFIGS[algorithm]()
    values = {key: getattr(config, key) for key in sorted(config.hyperparameters.model_fields)}
    values = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    def configure(path):
        arguments = ["train", "--setting", "small", "--algorithm", algorithm, "--config", str(path)]
        config = algorithm_config(resolve(read(TrainOptions, parser().parse_args(arguments))))
        make_penalty(**(getattr(config, "penalty", None) or {"name": "mean"}))  # as the environment does

    build = as_file(tmp_path / "config.yaml", configure)
    build(values)
    if algorithm == "lad-pmd":
        build(SOME)
        check_refused_or_built(build, SOME, cases=CASES // 10)
    check_refused_or_built(build, values, cases=CASES // 4)
    check_refused_or_built(build, {"training": {"actor_lr": 1e-3, "penalty": None, "lr": 1e-3}}, cases=CASES // 10)
