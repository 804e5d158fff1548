"""Clusters and storage of the commands: what they wait for, where they write, and what they say if it fails."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from lad_rllib.cli import main
from lad_rllib.errors import ConfigurationError
from lad_rllib.runs import cluster, evaluate, local_ray
from lad_rllib.runs.storage import SharedCopy, Storage
from tests.cli.fleet_files import COMMAND

TRAIN = ["train", "--smoke", "--quiet"]


def files(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def results(folder, text):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "progress.csv").write_text(text)
    unfinished = folder / "checkpoint.unfinished"
    (unfinished / "learner").mkdir(parents=True)
    (unfinished / "learner" / "weights").write_text(text)
    return unfinished


def test_a_copy_on_storage_comes_back_with_the_last_complete_checkpoint(tmp_path):
    here, elsewhere = tmp_path / "run", tmp_path / "other machine" / "run"
    results(here, "first").rename(here / "checkpoint")
    copy = SharedCopy(here, str(tmp_path / "shared"))
    copy.push()
    (here / "checkpoint").rename(here / "checkpoint.previous")
    results(here, "second").rename(here / "checkpoint")
    copy.push()
    results(here, "third")  # a checkpoint that is not finished yet
    copy.push()
    elsewhere.mkdir(parents=True)
    again = SharedCopy(elsewhere, str(tmp_path / "shared"))
    again.fetch()
    assert files(elsewhere) == {"progress.csv": "third", "checkpoint/learner/weights": "second"}
    assert str(tmp_path / "shared" / "run") in again.place


def test_results_that_are_here_are_not_replaced_by_those_on_storage(tmp_path):
    here = tmp_path / "run"
    results(here, "theirs").rename(here / "checkpoint")
    SharedCopy(here, str(tmp_path / "shared")).push()
    (here / "progress.csv").write_text("ours")
    SharedCopy(here, str(tmp_path / "shared")).fetch()
    assert files(here)["progress.csv"] == "ours"


def test_storage_that_fails_on_the_way_is_a_warning_and_nothing_is_lost(tmp_path, capsys):
    here = tmp_path / "run"
    results(here, "kept")
    copy = SharedCopy(here, str(tmp_path / "shared"))
    (tmp_path / "shared").write_text("a file where the folder should be")
    copy.push()
    assert "warning: no copy to" in capsys.readouterr().err
    assert files(here)["progress.csv"] == "kept"


def failing_once(monkeypatch, method, name):
    """Let a method of the storage fail at the first file or folder of this name."""
    real, left = getattr(Storage, method), [True]

    def fail(self, source, target):
        if left and name in f"{source} {target}":
            left.clear()
            raise OSError("the network is down")
        return real(self, source, target)

    monkeypatch.setattr(Storage, method, fail)


@pytest.mark.parametrize("name", ["progress.csv", "checkpoint-"])
def test_a_copy_that_failed_is_tried_again(name, tmp_path, monkeypatch, capsys):
    here, shared = tmp_path / "run", tmp_path / "shared"
    results(here, "kept").rename(here / "checkpoint")
    copy = SharedCopy(here, str(shared))
    failing_once(monkeypatch, "copy_in", name)
    copy.push()
    assert "the network is down" in capsys.readouterr().err
    copy.push()
    copied = files(shared / "run")
    assert copied["progress.csv"] == "kept" and f"{copied['checkpoint.current']}/learner/weights" in copied


def test_what_a_failed_copy_of_a_checkpoint_left_is_deleted_with_the_next(tmp_path):
    here, shared = tmp_path / "run", tmp_path / "shared"
    results(here, "kept").rename(here / "checkpoint")
    (shared / "run" / "checkpoint-0123456789ab").mkdir(parents=True)
    (shared / "run" / "checkpoint-of-mine").mkdir()
    SharedCopy(here, str(shared)).push()
    current = (shared / "run" / "checkpoint.current").read_text()
    assert {path.name for path in (shared / "run").iterdir() if path.is_dir()} == {current, "checkpoint-of-mine"}


@pytest.mark.parametrize("cut_at", ["copying", "progress.csv", "checkpoint"])
def test_a_fetch_that_was_cut_short_is_whole_the_next_time(cut_at, tmp_path, monkeypatch):
    here, elsewhere = tmp_path / "run", tmp_path / "elsewhere" / "run"
    results(here, "kept").rename(here / "checkpoint")
    SharedCopy(here, str(tmp_path / "shared")).push()
    elsewhere.mkdir(parents=True)
    copy = SharedCopy(elsewhere, str(tmp_path / "shared"))
    if cut_at == "copying":
        failing_once(monkeypatch, "copy_out", "run")
        with pytest.raises(ConfigurationError, match="the network is down; repeat the command to try again"):
            copy.fetch()
        assert list(elsewhere.iterdir()) == []
        (elsewhere / ".fetched").mkdir()  # as a kill leaves it
        (elsewhere / ".fetched" / "progress.csv").write_text("ke")
    else:
        real = Path.rename

        def rename(self, target):
            if self.name == cut_at:
                raise KeyboardInterrupt
            return real(self, target)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Path, "rename", rename)
            copy.fetch()
    copy.fetch()
    assert files(elsewhere) == {"progress.csv": "kept", "checkpoint/learner/weights": "kept"}


@pytest.mark.parametrize("pointer", ["../../elsewhere", "", "progress.csv", "checkpoint-0123456789ab", "/etc", "\xff"])
def test_a_pointer_to_anything_but_a_checkpoint_beside_it_is_refused(pointer, tmp_path):
    shared, here = tmp_path / "shared" / "run", tmp_path / "here" / "run"
    results(shared, "theirs")
    (shared / "checkpoint.current").write_text(pointer, encoding="latin-1")
    (tmp_path / "elsewhere").mkdir()
    here.mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="checkpoint.current in .* does not name a checkpoint beside it"):
        SharedCopy(here, str(tmp_path / "shared")).fetch()
    assert list(here.iterdir()) == []


def test_a_pointer_elsewhere_deletes_nothing_there(tmp_path):
    here, shared, elsewhere = tmp_path / "run", tmp_path / "shared" / "run", tmp_path / "elsewhere"
    results(here, "kept").rename(here / "checkpoint")
    shared.mkdir(parents=True)
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("")
    (shared / "checkpoint.current").write_text("../../elsewhere")
    SharedCopy(here, str(tmp_path / "shared")).push()
    assert (elsewhere / "precious").exists()


def test_a_storage_path_that_cannot_be_opened_or_written_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match="--storage-path nothing://x cannot be opened"):
        Storage("nothing://x")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot write to --storage-path .*check the path"):
        Storage(str(tmp_path / "file")).check()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", "no Ray cluster at 127.0.0.1:1: [Errno 111] Connection refused; start one"),
        ("127.0.0.1:8265", "8265 is the port of the dashboard"),
        ("somewhere", "an address is host:port, ray://host:port or auto"),
    ],
)
def test_no_cluster_at_an_address_is_one_line(tmp_path, capsys, monkeypatch, address, message):
    monkeypatch.setattr("ray.is_initialized", lambda: False)  # another test's cluster may be connected
    assert main([*TRAIN, "--address", address, "--output", str(tmp_path / "run")]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in line and "give another --address" in line


@pytest.fixture
def address_elsewhere(ray_cluster, monkeypatch):
    """Address of a cluster that asks for this user's token, in an environment that knows nothing of it."""
    import ray

    address = ray.get_runtime_context().gcs_address
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)  # ray.init has set it to start the cluster
    return address


@pytest.mark.cluster
def test_a_cluster_that_asks_for_a_token_gets_it_and_its_address_is_printed(address_elsewhere):
    arguments = ["fleet", "list", "--address", address_elsewhere]
    done = subprocess.run([sys.executable, *COMMAND, *arguments], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, f"connected to the Ray cluster at {address_elsewhere}\n")
    assert "those that run: " in done.stdout


@pytest.mark.cluster
def test_a_user_without_the_token_of_a_cluster_is_told_where_it_goes(address_elsewhere, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["fleet", "list", "--address", address_elsewhere]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"the Ray cluster at {address_elsewhere} asks for a token and there is none here: copy" in line


def test_a_wrong_token_is_one_line_that_says_where_the_right_one_is(monkeypatch):
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr(cluster, "_knock", lambda address: None)
    monkeypatch.setattr(cluster, "token_answer", lambda address: "wrong token")
    with pytest.raises(
        ConfigurationError, match="^the Ray cluster at head:6379 refuses the token that is here: copy ~/.ray/auth_token"
    ):
        cluster.connect("head:6379")


def test_the_cluster_that_was_found_on_this_machine_is_named(monkeypatch, capsys):
    joined = []
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray._private.services.get_ray_address_from_environment", lambda *_: "192.0.2.10:6379")
    monkeypatch.setattr(cluster, "_knock", lambda address: None)
    monkeypatch.setattr(cluster, "token_answer", lambda address: "open")
    monkeypatch.setattr("ray.init", lambda address, **options: joined.append(address))
    cluster.connect("auto")
    assert joined == ["192.0.2.10:6379"]
    assert capsys.readouterr().err == "connected to the Ray cluster at 192.0.2.10:6379\n"


@pytest.mark.parametrize("address", ["local", "192.0.2.10:6379"])
def test_a_ray_that_does_not_start_in_time_is_one_line(address, monkeypatch):
    def init(**options):
        raise Exception("The current node timed out during startup. This could happen because ...")

    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr(cluster, "_knock", lambda address: None)
    monkeypatch.setattr(cluster, "token_answer", lambda address: "open")
    monkeypatch.setattr("ray.init", init)
    with pytest.raises(ConfigurationError, match="(Ray could not be started|no Ray cluster).*timed out.*;"):
        cluster.connect(address)


LISTENERS = """
import os
import psutil, ray
from lad_rllib.runs import cluster, evaluate, local_ray
cluster.connect("local")
me = psutil.Process()
print("niceness", ray.get(ray.remote(num_cpus=0)(lambda: os.nice(0)).remote()) - me.nice())  # there is a worker
for process in [me, *me.children(recursive=True)]:
    for connection in process.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN:
            print(process.name(), connection.laddr.ip)
local_ray.end()
"""


@pytest.mark.cluster
def test_a_ray_that_a_command_starts_listens_on_this_machine_alone_and_is_as_nice_as_the_command():
    environment = {name: value for name, value in os.environ.items() if name != "RAY_worker_niceness"}
    run = [sys.executable, "-c", LISTENERS]
    done = subprocess.run(run, capture_output=True, text=True, timeout=240, check=True, env=environment)
    niceness, *listeners = [line.split() for line in done.stdout.splitlines()]
    assert niceness == ["niceness", "0"]
    assert {"gcs_server", "raylet"} <= {name for name, _ in listeners}
    assert {address for _, address in listeners} <= {"127.0.0.1", "::ffff:127.0.0.1"}


def test_the_switch_that_keeps_ray_on_this_machine_is_put_back(monkeypatch):
    monkeypatch.delenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", raising=False)
    from ray._private.services import get_node_ip_address

    monkeypatch.setattr("ray._private.worker._global_node", None)
    with local_ray.on_loopback():
        assert os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0" and get_node_ip_address() == "127.0.0.1"
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in os.environ


@pytest.mark.cluster
def test_fewer_nodes_than_waited_for_is_one_line_with_the_count(ray_cluster, tmp_path, capsys):
    arguments = ["--wait-nodes", "2", "--wait-timeout", "0.6", "--output", str(tmp_path / "run")]
    assert main([*TRAIN, *arguments]) == 2
    assert "1 of 2 nodes have joined the cluster after 0.6 s" in capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.cluster
def test_a_run_is_copied_and_resumed_from_storage_on_a_machine_that_has_none_of_it(ray_cluster, tmp_path, capsys):
    storage = ["--storage-path", str(tmp_path / "shared")]
    assert main([*TRAIN, *storage, "--output", str(tmp_path / "a" / "run")]) == 0
    assert {"progress.csv", "config.yaml", "learning_curve.png"} <= set(os.listdir(tmp_path / "shared" / "run"))
    resume = ["train", "--resume", "--episodes", "3", *storage]
    assert main([*resume, "--output", str(tmp_path / "b" / "run")]) == 0
    out = capsys.readouterr().out
    assert "done after 3 episodes" in out
    assert str(tmp_path / "shared" / "run") in out


@pytest.mark.cluster
def test_schedulers_are_evaluated_alike_here_and_as_tasks_of_a_cluster_and_once_only(ray_cluster, tmp_path, capsys):
    evaluation = ["evaluate", "--smoke", "--setting", "small", "--schedulers", "random", "greedy-oracle"]
    assert main([*evaluation, "--output", str(tmp_path / "here")]) == 0
    there = [
        *evaluation,
        "--wait-nodes",
        "1",
        "--storage-path",
        str(tmp_path / "shared"),
        "--output",
        str(tmp_path / "there"),
    ]
    assert main(there) == 0
    here, apart = (
        pd.read_csv(tmp_path / name / "evaluation.csv").drop(columns="command") for name in ("here", "there")
    )
    pd.testing.assert_frame_equal(here, apart)
    assert (tmp_path / "shared" / "there" / "evaluation.csv").exists()
    capsys.readouterr()
    assert main([*there, "--resume"]) == 0
    assert "has the results of this command already" in capsys.readouterr().out


def test_gpus_that_contradict_the_device_or_are_not_there_are_one_line(tmp_path, capsys):
    for arguments, message in (
        (["--device", "cpu", "--num-gpus-per-learner", "1"], "contradicts --device cpu"),
        (["--num-gpus-per-learner", "-1"], "--num-gpus-per-learner -1 contradicts"),
        (["--num-gpus-per-learner", "nan"], "--num-gpus-per-learner must be a number, got nan"),
        (["--num-gpus-per-learner", "0.5"], "torch finds no GPU here"),
    ):
        assert main([*TRAIN, *arguments, "--output", str(tmp_path)]) == 2
        assert message in capsys.readouterr().err.strip().splitlines()[-1]


def test_more_gpus_than_this_machine_has_are_refused_with_both_numbers(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    arguments = ["--num-learners", "3", "--num-gpus-per-learner", "0.5", "--output", str(tmp_path)]
    assert main([*TRAIN, *arguments]) == 2
    assert "torch finds 1 GPU here and the learners take 2; use" in capsys.readouterr().err.splitlines()[-1]


def test_schedulers_are_not_sent_to_a_cluster_whose_nodes_have_no_cpu(monkeypatch):
    head = {"Alive": True, "NodeManagerAddress": "10.0.0.1", "Resources": {}, "Labels": {}}
    monkeypatch.setattr("ray.nodes", lambda: [head])
    monkeypatch.setattr("ray.util.get_current_placement_group", lambda: None)
    monkeypatch.setattr("ray._private.state.state.get_cluster_config", lambda: None)
    with pytest.raises(ConfigurationError, match=r"no room for 1 x \(1 CPU\); its nodes are 10.0.0.1 \(0 CPU\)"):
        evaluate._play_on_cluster({}, contest=None)
