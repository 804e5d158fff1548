"""A policy as it is shared and served: what it holds, that reading it runs no code, and that faults are one line."""

import hashlib
import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lad_rllib import durable
from lad_rllib.algorithms import CONFIGS
from lad_rllib.algorithms.common.policy import FleetPolicy
from lad_rllib.algorithms.common.policy_file import DESCRIPTION, WEIGHTS, read_policy
from lad_rllib.cli import main
from lad_rllib.envs import FleetVectorEnv
from lad_rllib.errors import ConfigurationError
from lad_rllib.runs.run_folder import newest_policy
from tests.algorithms.small import SLOT_ALGORITHMS, assert_same, curve, learner_state, small_config


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setattr("ray.put", lambda value: value)
    algo = small_config().build_algo()
    curve(algo, 3)
    path = algo.save_to_path(tmp_path_factory.mktemp("trained") / "checkpoint")
    algo.stop()
    patch.undo()
    return Path(path)


@pytest.fixture
def copied(checkpoint, tmp_path):
    return Path(shutil.copytree(checkpoint / "policy", tmp_path / "policy"))


class Bomb:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def plant_bombs(folder, trace):
    """Every pickle of a checkpoint becomes a bomb."""
    pickles = list(folder.rglob("*.pkl"))
    assert len(pickles) > 5
    for file in pickles:
        file.write_bytes(pickle.dumps(Bomb(trace)))


def rewrite(folder, change=lambda description: None, arrays=lambda arrays: None):
    """Change a policy's description and arrays, with a right checksum."""
    description, held = json.loads((folder / DESCRIPTION).read_text()), load_file(folder / WEIGHTS)
    arrays(held)
    save_file(held, folder / WEIGHTS)
    data = (folder / WEIGHTS).read_bytes()
    description["weights"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    change(description)
    (folder / DESCRIPTION).write_text(json.dumps(description))


def refusal(path):
    with pytest.raises(ConfigurationError) as error:
        FleetPolicy.from_checkpoint(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 600
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "training"),
    [*((name, {}) for name in SLOT_ALGORITHMS), ("lad-pmd", {"latent_start": "learned"})],
)
def test_it_holds_every_weight_and_the_latent_memory_of_every_algorithm(name, training, no_cluster, tmp_path):
    config = CONFIGS[name]().environment(FleetVectorEnv, env_config={"setting": "small"}).training(**training)
    algo = config.build_algo()
    curve(algo, 1)
    saved = read_policy(algo.save_to_path(tmp_path / "checkpoint"))
    there = {key.removeprefix("weights."): v for key, v in learner_state(algo).items() if key.startswith("weights.")}
    assert_same(dict(saved.weights), there)
    assert_same(saved.latent_state["latents"], algo.rollouts.first_state()["latent_memory"]["latents"])
    assert saved.title == algo.config.title
    algo.stop()


def test_a_policy_alone_without_the_rest_of_the_checkpoint_decides_the_same(checkpoint, copied):
    rng = np.random.default_rng(0)
    tasks, mask, queues = rng.random((1, 4, 6, 2)), np.ones((1, 4, 6), bool), rng.random((1, 4)) * 50
    chosen = [
        FleetPolicy.from_checkpoint(path).servers(tasks, mask, queues, 0, np.random.default_rng(1))
        for path in (checkpoint, copied)
    ]
    np.testing.assert_array_equal(*chosen)


def test_planted_pickles_are_run_by_no_command_that_serves_or_shares(checkpoint, tmp_path, no_cluster):
    planted = Path(shutil.copytree(checkpoint, tmp_path / "checkpoint"))
    plant_bombs(planted, tmp_path / "trace")
    FleetPolicy.from_checkpoint(planted)
    small_config().build_algo().start_from(planted)
    arguments = ["--checkpoint", str(planted), "--episodes", "1", "--schedulers", "greedy-oracle"]
    assert main(["evaluate", *arguments, "--output", str(tmp_path / "evaluated")]) == 0
    assert not (tmp_path / "trace").exists()
    with pytest.raises(FileExistsError):  # the bombs are live: one that goes off twice fails
        for file in planted.rglob("*.pkl"):
            pickle.loads(file.read_bytes())


@pytest.mark.parametrize(
    "command",
    [
        ["evaluate", "--checkpoint"],
        ["generate", "--in-process", "--checkpoint"],
        ["train", "--setting", "small", "--init-from"],
    ],
)
def test_a_folder_with_pickles_alone_is_refused_in_one_line_unread(command, checkpoint, tmp_path, capsys):
    planted = Path(shutil.copytree(checkpoint, tmp_path / "checkpoint", ignore=shutil.ignore_patterns("policy")))
    plant_bombs(planted, tmp_path / "trace")
    assert main([*command, str(planted), "--output", str(tmp_path / "output")]) == 2
    said = capsys.readouterr().err.strip()
    assert "holds RLlib's pickles but no policy/" in said and "--resume" in said and "\n" not in said
    assert not (tmp_path / "trace").exists()


def without(key):
    return lambda values: values.pop(key)


def put(value, *path):
    def change(values):
        for key in path[:-1]:
            values = values[key]
        values[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put(2, "format_version"), "format_version"),
        (put("os.system", "algorithm"), "unknown algorithm 'os.system'; choose from lad-ts"),
        (put("dqn-ts", "algorithm"), "unknown key 'hyperparameters.policy_denoising_steps'"),
        (without("hyperparameters"), "hyperparameters"),
        (put(["a"], "hyperparameters", "hidden_sizes"), "hyperparameters.hidden_sizes[0]"),
        (put([10**6, 10**6], "hyperparameters", "hidden_sizes"), "hyperparameters.hidden_sizes[0]"),
        (put([60_000, 60_000], "hyperparameters", "hidden_sizes"), "weights"),
        (put([20, 21], "hyperparameters", "hidden_sizes"), "is due"),
        (put(10**9, "hyperparameters", "policy_denoising_steps"), "hyperparameters.policy_denoising_steps"),
        (put(True, "hyperparameters", "beta_min"), "hyperparameters.beta_min"),
        (put(10**5, "fleet", "max_tasks"), "is due"),
        (put(10**9, "fleet", "servers"), "fleet.servers"),
        (put([1.0], "fleet", "capacities_gcycles_per_s"), "1 capacities of 4 servers"),
        (put("hours", "queue_unit"), "queue_unit"),
        (put("station_task", "hyperparameters", "latent_index"), "indexed in another way"),
        (put("\x1b[31mLAD", "algorithm"), "algorithm"),
        (put(1, "surprise"), "surprise"),
        (without("weights"), "weights"),
    ],
)
def test_a_description_that_does_not_fit_is_one_line_that_names_the_field(change, message, copied):
    rewrite(copied, change)
    assert message in refusal(copied)


@pytest.mark.parametrize("content", ["", "{", "null", "[]", '{"a": 1}', "[" * 100_000, "\x00\xff", '{"a": NaN}'])
def test_a_description_that_is_none_is_one_line(content, copied):
    (copied / DESCRIPTION).write_text(content)
    assert DESCRIPTION in refusal(copied)


KEY = "networks.actor.denoiser.weights"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put(np.zeros((4, 1043), np.float32), KEY), "float32[4, 1044] is due"),
        (put(np.zeros((4, 1044), np.float64), KEY), "is of float64, weights are float32"),
        (put(np.zeros((4, 1044), np.int64), KEY), "is int64[4, 1044]"),
        (put(np.full((4, 1044), np.nan, np.float32), KEY), "not finite"),
        (put(np.full((4, 1044), np.inf, np.float32), KEY), "not finite"),
        (without(KEY), "is missing in policy.safetensors"),
        (without("networks.critics.weights"), "is missing in policy.safetensors"),
        (put(np.zeros((1, 4, 6, 5), np.float32), "latent.0"), "latent.0 is float32"),
        (put(np.zeros((1, 4, 6, 4), np.float32), "latent.x"), "not a policy that can be used"),
    ],
)
def test_weights_that_do_not_fit_are_one_line_that_names_them(change, message, copied):
    rewrite(copied, arrays=change)
    assert message in refusal(copied)


def test_a_flipped_bit_in_the_weights_is_found(copied):
    data = bytearray((copied / WEIGHTS).read_bytes())
    data[-100] ^= 1
    (copied / WEIGHTS).write_bytes(data)
    assert "is damaged: it is not what policy.json says" in refusal(copied)


@pytest.mark.parametrize("cut", [0, 7, 100, -1])
def test_weights_cut_short_are_found_even_with_a_right_checksum(cut, copied):
    data = (copied / WEIGHTS).read_bytes()[:cut]
    (copied / WEIGHTS).write_bytes(data)
    description = json.loads((copied / DESCRIPTION).read_text())
    description["weights"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (copied / DESCRIPTION).write_text(json.dumps(description))
    assert "is no file of weights" in refusal(copied)
    (copied / WEIGHTS).unlink()
    assert "is missing" in refusal(copied)


def test_an_endless_file_is_not_read_to_its_end(copied):
    (copied / WEIGHTS).unlink()
    (copied / WEIGHTS).symlink_to("/dev/zero")
    assert WEIGHTS in refusal(copied)


def with_a_flipped_bit(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


DAMAGE = {
    "emptied": lambda data: b"",
    "truncated": lambda data: data[:-2],
    "bit flipped": with_a_flipped_bit,
    "garbage": lambda data: b"\x00\xff: [}\n" * 9,
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", [f"policy/{DESCRIPTION}", f"policy/{WEIGHTS}", durable.SEAL])
def test_a_damaged_checkpoint_of_a_run_is_one_line_and_the_one_before_it_is_used(
    damage, name, checkpoint, tmp_path, capsys
):
    newest = tmp_path / "checkpoint"
    shutil.copytree(checkpoint / "policy", newest / "policy")
    durable.seal(newest)
    wanted = read_policy(newest).weights
    (newest / name).write_bytes(DAMAGE[damage]((newest / name).read_bytes()))
    assert "damaged" in refusal(newest) and "take another checkpoint" in refusal(newest)
    shutil.copytree(checkpoint / "policy", tmp_path / "checkpoint.previous" / "policy")
    durable.seal(tmp_path / "checkpoint.previous")
    assert_same(newest_policy(newest).weights, wanted)
    (line,) = capsys.readouterr().err.splitlines()
    assert "damaged" in line and line.endswith(f"the one before it is {tmp_path}/checkpoint.previous; using that one")


@pytest.mark.parametrize("name", [DESCRIPTION, WEIGHTS])
def test_a_missing_file_of_a_checkpoint_is_named(name, checkpoint, tmp_path):
    shutil.copytree(checkpoint / "policy", tmp_path / "policy")
    durable.seal(tmp_path)
    (tmp_path / "policy" / name).unlink()
    assert f"{name} is damaged: No such file" in refusal(tmp_path)
    assert f"{name} is damaged: No such file" in refusal(tmp_path / "policy")


def test_a_kill_between_two_checkpoints_leaves_one_to_evaluate(checkpoint, tmp_path, capsys):
    shutil.copytree(checkpoint / "policy", tmp_path / "checkpoint.previous" / "policy")
    assert newest_policy(tmp_path / "checkpoint").title == "LAD-TS"
    assert "there is no checkpoint" in capsys.readouterr().err
