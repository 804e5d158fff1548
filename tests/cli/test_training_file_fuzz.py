"""A damaged file of hyperparameters is refused in one line, or makes a configuration; nothing else comes of it."""

import pytest
import yaml

from lad_rllib.algorithms import CONFIGS
from lad_rllib.cli.run_configuration import algorithm_config, queue_unit, read_training_file
from lad_rllib.names import DEFAULT_ALGORITHM
from lad_rllib.simulator import build_setting, make_penalty
from tests.mutations import check_refused_or_built

SETTING = build_setting({"preset": "small"})
DEFAULTS = CONFIGS[DEFAULT_ALGORITHM]()
VALUES = {key: getattr(DEFAULTS, key) for key in type(DEFAULTS).hyperparameters.model_fields}
FILES = {
    "own delay": VALUES | {"hidden_sizes": [20, 20], "actor_lr": [[0, 1e-4], [100, 1e-5]]},
    "system delay": {
        "training": {
            "objective": "system_delay",
            "latent_start": "learned",
            "in_slot_view": "own",
            "penalty": {"name": "tail", "threshold_s": 2.0, "strength": 3.0},
            "step_size": 3.0,
            "hidden_sizes": [20],
        }
    },
}
OTHERS = {
    "algorithm": DEFAULT_ALGORITHM,
    "setting": SETTING.spec,
    "live": None,
    "seed": 0,
    "num_env_runners": 0,
    "num_envs_per_env_runner": 1,
    "rollout_fragment_length": "auto",
    "num_learners": 0,
    "num_gpus_per_learner": 0,
}


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_training_file_is_refused_in_one_line_or_makes_a_configuration(tmp_path, name):
    file = tmp_path / "training.yaml"

    def build(document):
        file.write_text(yaml.dump(document), encoding="utf-8", errors="surrogatepass")
        training = read_training_file(str(file))
        kernels, unit = training.get("kernels", "auto"), queue_unit("auto", SETTING, training)
        config = algorithm_config({**OTHERS, "training": training, "kernels": kernels, "queue_unit": unit})
        make_penalty(**(config.penalty or {"name": "mean"}))  # as the environment does

    check_refused_or_built(build, FILES[name])
