"""Fixtures of the whole test suite."""

import os
import signal
import sys
from collections import Counter

import psutil
import pytest

# Ray's agents measure every process each 5 s and look for events each 2 s, for a dashboard that does not run.
os.environ |= {"REPORTER_UPDATE_INTERVAL_MS": "3600000", "SCAN_EVENT_DIR_INTERVAL_SECONDS": "3600"}

# No test speaks HTTPS: each client of httpx would read the certificates of all authorities, 0.06 s of a core.
os.environ.pop("SSL_CERT_FILE", None)
os.environ["SSL_CERT_DIR"] = os.path.dirname(__file__)

# In the background of a shell, pytest and all that it starts would ignore Ctrl-C, which some tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers():
    """Two test processes for each core, as they often wait, and 2.5 GB for each with its Ray cluster."""
    return max(1, min(2 * os.cpu_count(), int(psutil.virtual_memory().total / 2.5e9)))


def pytest_collection_modifyitems(items):
    """Have several test processes take files with many slow tests first: none begins one when the others are done."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return  # one process: files of a folder that share a fixture stay together
    weight = Counter()
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        if "extended" not in marks:
            weight[item.path] += 5 * ("slow" in marks) + ("cluster" in marks)
    items.sort(key=lambda item: -weight[item.path])


@pytest.fixture(autouse=True)
def signals_as_at_the_start():
    """Every test finds signals as at the start of a program; Ray Tune and interrupted commands leave handlers."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@pytest.fixture(scope="session")
def ray_ends_with_the_session():
    """What runs of Ray when the last test is over ends with it."""
    yield
    if "ray" in sys.modules:
        sys.modules["ray"].shutdown()


@pytest.fixture(scope="module")
def ray_cluster(ray_ends_with_the_session):
    """A small local Ray cluster that pretends to have more CPUs than there are.

    All modules that need one share it. A process has one connection to Ray: tests with a cluster of their own end this
    one, and the next module starts it again.
    """
    import ray

    from tests.lean_ray import LEAN_CONFIG, without_idle_processes

    if ray.is_initialized() and ray.cluster_resources().get("CPU", 0) < 16:
        ray.shutdown()  # one that RLlib has started for a test without this fixture
    if not ray.is_initialized():
        with without_idle_processes():
            ray.init(
                address="local",
                num_cpus=16,  # logical: actors wait for one another otherwise; most are idle
                include_dashboard=False,
                object_store_memory=150_000_000,
                log_to_driver=False,
                configure_logging=False,
                _system_config=LEAN_CONFIG,
            )


@pytest.fixture(scope="module")
def trained_on_fleet(ray_cluster, tmp_path_factory):
    """Folder of a run of two episodes on a small emulated fleet, beside the fleet's file ``two.yaml``."""
    from lad_rllib.cli import main
    from tests.cli.fleet_files import fleet_file, setting_file, written

    folder = tmp_path_factory.mktemp("trained")
    learning = {"learning_starts": 4, "train_batch_size_per_learner": 4, "replay_capacity": 40}
    config = written(folder / "small.yaml", {"training": learning})
    where = ["--fleet", fleet_file(folder), "--setting", setting_file(folder), "--in-process"]
    assert main(["train", *where, "--config", config, "--episodes", "2", "--output", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture
def no_cluster(monkeypatch):
    """Keep RLlib from starting a cluster: with local runners and learners it only puts objects nobody fetches."""
    monkeypatch.setattr("ray.put", lambda value: value)
