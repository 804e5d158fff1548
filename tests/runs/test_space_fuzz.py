"""A damaged search space is refused in one line, or can be searched; nothing else comes of it."""

from lad_rllib.algorithms.lad_ts import LADTSConfig
from lad_rllib.runs.search_space import read_space
from tests.mutations import as_file, check_refused_or_built

SPACE = {
    "actor_lr": {"loguniform": [1e-4, 1e-2]},
    "gamma": {"uniform": [0.5, 0.9]},
    "policy_denoising_steps": {"randint": [2, 8]},
    "draws": {"choice": ["independent", "stratified"]},
    "tau": 0.01,
    "hidden_sizes": [20, 20],
}


def test_a_damaged_space_is_refused_in_one_line_or_can_be_searched(tmp_path):
    def search(file):
        space = read_space(file)
        space.check(LADTSConfig.hyperparameters)
        space.grid(3)
        for domain in space.domains().values():
            if hasattr(domain, "sample"):
                domain.sample()

    check_refused_or_built(as_file(tmp_path / "space.yaml", search), SPACE)
