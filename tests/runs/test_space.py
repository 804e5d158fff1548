"""Search spaces: files to domains, grids and mutations, and what is refused."""

import pytest
import yaml

from lad_rllib.algorithms import CONFIGS
from lad_rllib.algorithms.lad_ts import LADTSConfig
from lad_rllib.errors import ConfigurationError
from lad_rllib.runs.search_space import MUTABLE, read_space


def space_of(tmp_path, **content):
    file = tmp_path / "space.yaml"
    file.write_text(yaml.safe_dump(content))
    return read_space(file)


@pytest.mark.parametrize("algorithm", ["lad-ts", "lad-pmd", "lad-dispatch"])
def test_every_value_of_a_default_space_is_one_that_the_algorithm_takes(algorithm):
    config, space = CONFIGS[algorithm], read_space(algorithm=algorithm)
    assert set(space.ranges) <= set(config.hyperparameters.model_fields) and len(space.ranges) >= 5
    drawn = [(name, domain.sample()) for name, domain in space.domains().items() for _ in range(20)]
    ends = [(name, point) for name, grid in space.grid(2).items() for point in grid["grid_search"]]
    for name, value in drawn + ends:
        config().training(**{name: value}).validate()
    defaults = config()
    for name, (kind, values) in space.ranges.items():  # the default is within reach
        default = getattr(defaults, name)
        assert default in values if kind == "choice" else values[0] <= default <= values[1]


def test_every_kind_of_range_is_sampled_within_its_ends(tmp_path):
    space = space_of(
        tmp_path,
        actor_lr={"loguniform": [1e-4, 1e-2]},
        gamma={"uniform": [0.5, 0.9]},
        policy_denoising_steps={"randint": [2, 3]},
        preset={"choice": ["paper", "published_code"]},
        tau=0.01,
    )
    domains = space.domains()
    assert domains.pop("tau") == 0.01
    drawn = {name: [domain.sample() for _ in range(200)] for name, domain in domains.items()}
    assert 1e-4 <= min(drawn["actor_lr"]) < 3e-4 and 3e-3 < max(drawn["actor_lr"]) <= 1e-2
    assert min(drawn["gamma"]) >= 0.5 and max(drawn["gamma"]) <= 0.9
    assert set(drawn["policy_denoising_steps"]) == {2, 3}
    assert set(drawn["preset"]) == {"paper", "published_code"}


def test_a_grid_has_the_ends_of_every_range(tmp_path):
    space = space_of(tmp_path, actor_lr={"loguniform": [1e-4, 1e-2]}, x={"randint": [1, 4]}, y={"choice": ["a", "b"]})
    grid = {name: value["grid_search"] for name, value in space.grid(3).items()}
    assert grid["actor_lr"] == pytest.approx([1e-4, 1e-3, 1e-2])
    assert grid["x"] == [1, 2, 4] and grid["y"] == ["a", "b"]


def test_population_based_training_changes_only_what_a_checkpoint_can_bear():
    for space in (read_space(), read_space(algorithm="lad-pmd")):
        fixed = {"initial_alpha", "policy_denoising_steps", "prior_queue_weight"}  # built into the networks
        assert set(space.mutations()) == set(space.ranges) - fixed
        assert set(space.mutations()) <= set(MUTABLE)
    with pytest.raises(ConfigurationError, match="the search space has none of them"):
        read_space().only(["policy_denoising_steps"]).mutations()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"uniform": [1]}, "actor_lr.uniform must be a list of 2, each a number"),
        ({"gauss": [0, 1]}, "unknown key 'actor_lr.gauss'; valid: choice, loguniform, randint, uniform"),
        ({"unifrom": [0, 1]}, "unknown key 'actor_lr.unifrom'; did you mean 'uniform'?"),
        ({"uniform": [2, 1]}, "actor_lr must be a range uniform: [low, high] with low below high, got [2, 1]"),
        ({"loguniform": [0, 1]}, "actor_lr.loguniform[0] must be a number above 0"),
        ({"uniform": ["low", "high"]}, "actor_lr.uniform[0] must be a number"),
        ({"uniform": [0, float("inf")]}, "actor_lr.uniform[1] must be a number"),
        ({"randint": [1, 2.5]}, "actor_lr.randint[1] must be a whole number"),
        ({"choice": []}, "actor_lr.choice must be a list of at least 1"),
        ({"uniform": [1, 2], "choice": [1]}, "actor_lr must be one of {uniform: [low, high]}"),
        ({}, "actor_lr must be one of {uniform: [low, high]}"),
    ],
)
def test_a_range_that_is_none_is_named(tmp_path, value, message):
    with pytest.raises(ConfigurationError) as refused:
        space_of(tmp_path, actor_lr=value)
    assert f"space.yaml: {message}" in str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"gama": {"uniform": [0, 1]}}, "search space: unknown key 'gama'; did you mean 'gamma'?"),
        (
            {"gamma": {"uniform": [0.5, 1.5]}},
            "search space: gamma must be a number .* at most 1, got 1.5",
        ),
        ({"draws": {"choice": ["stratified", "even"]}}, "search space: draws must be one of .*, got 'even'"),
        (
            {"gamma": {"uniform": [0, 1]}, "tau": "0.1"},
            "search space: tau must be a number above 0 .*leave the quotes out",
        ),
    ],
)
def test_a_space_of_what_the_algorithm_cannot_have_is_refused_before_the_search(tmp_path, content, message):
    with pytest.raises(ConfigurationError, match=message):
        space_of(tmp_path, **content).check(LADTSConfig.hyperparameters)


def test_a_space_without_ranges_or_file_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="no range; write one"):
        space_of(tmp_path, actor_lr=1e-4)
    with pytest.raises(ConfigurationError, match="cannot read search space .*nowhere.yaml"):
        read_space(tmp_path / "nowhere.yaml")
    with pytest.raises(ConfigurationError, match="has no hidden_size; it has actor_lr"):
        read_space().only(["hidden_size"])
    with pytest.raises(ConfigurationError, match="nothing to search"):
        read_space().only(["gamma"]).without(["gamma"])
