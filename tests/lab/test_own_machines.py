"""``cluster/local.yaml`` as it is, from ``ray up`` to ``ray down``, on three made-up machines.

The machines have the addresses, the user and the key that the file has, so nothing in it is replaced. They have no
network beyond themselves; the packages that setup installs are there already, except for this one.
"""

import re
import time
from pathlib import Path

import pandas as pd
import pytest
import ray
import yaml

from tests.lab.conftest import until
from tests.lab.laboratory import ADDRESSES, HOME, ROOT, SHARED

pytestmark = [pytest.mark.lab, pytest.mark.cluster, pytest.mark.slow]

FILE = "cluster/local.yaml"
WORKERS = {address for name, address in ADDRESSES.items() if name != "head"}
SITE_PACKAGES = Path(ray.__file__).parents[1]


def installed():
    """What this machine's environment knows of the package, and since when."""
    return {path: path.stat().st_mtime_ns for path in SITE_PACKAGES.glob("*lad_rllib*")}


@pytest.fixture(scope="module")
def laboratory(build_laboratory, step):
    """Three machines on which ``ray up`` has been called; workers may still be on their way."""
    before = installed()
    # Workers end as soon as they miss their head, not after a minute.
    with build_laboratory({"RAY_gcs_rpc_server_reconnect_timeout_s": "5"}) as laboratory:
        laboratory.from_checkout("python -m compileall -q lad_rllib/errors.py")  # something that git ignores
        with step("ray up"):
            laboratory.from_checkout(f"ray up -y {FILE}")
        yield laboratory
    assert installed() == before


def test_the_head_has_the_sources_and_nothing_that_git_ignores(laboratory):
    assert list((ROOT / "lad_rllib").rglob("*.pyc"))
    assert laboratory.head.run("find lad-rllib -name '*.pyc' -or -name results -path lad-rllib/results") == ""
    assert laboratory.head.run("cat lad-rllib/lad_rllib/errors.py") == (ROOT / "lad_rllib/errors.py").read_text()


def test_setup_that_has_been_done_is_not_done_again(laboratory, step):
    setup = yaml.safe_load((ROOT / FILE).read_text())["setup_commands"]
    begin = time.monotonic()
    with step("setup, second time"):
        for command in setup:
            laboratory.head.run(f"source .bashrc && {command}")
    assert time.monotonic() - begin < 3
    assert laboratory.head.run("grep -c lad-rllib-env .bashrc") == "1\n"


def test_a_submitted_script_trains_with_env_runners_on_the_workers(laboratory, step):
    with step("ray submit: three nodes joined, two episodes with two env runners"):
        output = laboratory.from_checkout(
            f"ray submit {FILE} cluster/run.py train --smoke --address auto --wait-nodes 3 --num-env-runners 2 "
            f"--storage-path {SHARED} --output runs/train",
            timeout_s=240,
        )
    runners = re.search(r"env runners on nodes: (.*)", output)[1].strip().split(", ")
    assert len(runners) == 2 and set(runners) <= WORKERS
    assert pd.read_csv(laboratory.shared / "train/progress.csv")["episodes"].max() == 2
    for machine in (laboratory.head, *laboratory.workers):
        assert machine.run("python -c 'import lad_rllib; print(lad_rllib.__file__)'") == (
            f"{HOME}/lad-rllib/lad_rllib/__init__.py\n"
        )


def test_random_fleets_are_played_on_the_workers_while_the_driver_learns(laboratory, step):
    with step("ray submit: two iterations with two env runners that play on"):
        output = laboratory.from_checkout(
            f"ray submit {FILE} cluster/run.py train --smoke --address auto --wait-nodes 3 --num-env-runners 2 "
            f"--algorithm lad-dispatch --setting any-fleet --max-staleness 1 --episodes 4 "
            f"--storage-path {SHARED} --output runs/worlds",
            timeout_s=240,
        )
    runners = re.search(r"env runners on nodes: (.*)", output)[1].strip().split(", ")
    assert len(runners) == 2 and set(runners) <= WORKERS
    progress = pd.read_csv(laboratory.shared / "worlds/progress.csv")
    assert progress["episodes"].tolist() == [2, 4] and progress["actor_loss"].notna().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "--wait-nodes 3 --storage-path /tmp/alone",
            r"--storage-path /tmp/alone is not usable from node 192\.0\.2\.\d+: it does not see",
        ),
        ("--wait-nodes 4 --wait-timeout 2", r"[1-3] of 4 nodes have joined the cluster after 2 s; see 'ray status'"),
    ],
)
def test_what_the_cluster_cannot_do_is_one_line_and_a_status(laboratory, step, arguments, message):
    with step(f"ray submit {arguments}"):
        output = laboratory.from_checkout(
            f"! ray submit {FILE} cluster/run.py train --smoke --address auto {arguments} --output runs/none"
        )
    assert len(re.findall(f"lad-rllib train: {message}", output)) == 1 and "Traceback" not in output


def test_a_submitted_job_searches_hyperparameters_on_the_workers(laboratory, step):
    tunnel = laboratory.laptop.start(f"cd {ROOT} && exec ray dashboard {FILE}")
    try:
        laboratory.laptop.wait_for_port(8265)
        with step("ray job submit: two trials"):
            output = laboratory.from_checkout(
                "RAY_API_SERVER_ADDRESS=http://127.0.0.1:8265 ray job submit --working-dir . -- "
                f"python -m lad_rllib.cli tune --smoke --trials 2 --wait-nodes 3 --storage-path {SHARED}",
                timeout_s=240,
            )
    finally:
        tunnel.kill()
    assert "succeeded" in output and "2 trials (2 to the end, 0 stopped early, 0 failed)" in output
    assert len(pd.read_csv(laboratory.shared / "tune-results/trials.csv")) == 2
    results = [pd.read_json(file, lines=True) for file in laboratory.shared.glob("tune/trial_*/result.json")]
    assert len(results) == 2 and {address for rows in results for address in rows["node_ip"]} <= WORKERS


def test_ray_down_ends_the_head_and_then_the_workers_and_ray_stop_what_these_leave(laboratory, step):
    machines = (laboratory.head, *laboratory.workers)
    assert all("raylet" in running(machine) for machine in machines)
    with step("ray down"):
        laboratory.from_checkout(f"ray down -y {FILE}")
    with step("the workers miss their head"):
        until(lambda: not any("raylet" in running(machine) for machine in machines))
    with step("ray stop on the workers"):
        for address in sorted(WORKERS):
            ssh = f"ssh -o StrictHostKeyChecking=no ubuntu@{address}"
            laboratory.laptop.run(f"{ssh} 'bash -ic \"ray stop\"'")
    until(lambda: all(set(machine.processes()) == {machine.pid} for machine in machines))


def running(machine):
    """Names of the programs that run on a machine."""
    return {Path(command.split()[0]).name for command in machine.processes().values() if command}
