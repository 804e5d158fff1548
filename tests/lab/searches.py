"""Hyperparameter searches in the laboratory: clusters for them, what can be seen of them from outside."""

import io
import json
import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pandas as pd

from tests.lab.conftest import until
from tests.lab.laboratory import ADDRESSES, LAPTOP, ROOT

EPISODES = 12
"""Of each trial; the paper's network takes about a second for one."""
FAST_HEALTH_CHECKS = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
"""A lost node is noticed within seconds, not after a minute."""
ENVIRONMENT = FAST_HEALTH_CHECKS | {
    "PYTHONPATH": str(ROOT),
    "OMP_NUM_THREADS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "2",  # how often Tune notes what it has done; 10 s and more else
}


class Folder:
    """A storage that is a folder.

    Args:
        path: The folder, as this machine sees it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> list[str]:
        """Files, relative to it."""
        found = [os.path.join(folder, file) for folder, _, files in os.walk(self._path) for file in files]
        return [os.path.relpath(file, self._path) for file in found]

    def read(self, name: str) -> str:
        """What a file holds."""
        return (self._path / name).read_text()


class Bucket:
    """A storage that is a folder in a bucket of an S3 server on the laptop.

    Args:
        laptop: The machine.
        port: Port of the server.
        name: Name of the bucket.
        folder: What all keys begin with.
    """

    def __init__(self, laptop, port: int, name: str, folder: str) -> None:
        self._laptop, self._url, self._folder = laptop, f"http://{LAPTOP}:{port}/{name}", folder

    def _ask(self, path: str, method: str = "GET") -> str:
        request = f"r.Request({self._url + path!r}, method={method!r})"
        ask = f"import urllib.request as r; print(r.urlopen({request}).read().decode(), end='')"
        return self._laptop.run(f'python -c "{ask}"')

    def create(self) -> None:
        """Make the bucket."""
        self._ask("", "PUT")

    def names(self) -> list[str]:
        """Files, relative to the folder."""
        found = ElementTree.fromstring(self._ask(f"?list-type=2&prefix={self._folder}"))
        assert found.findtext("{*}IsTruncated") == "false"
        keys = [str(key.text) for key in found.iterfind("{*}Contents/{*}Key")]
        return [key.removeprefix(self._folder) for key in keys]

    def read(self, name: str) -> str:
        """What a file holds."""
        return self._ask(f"/{self._folder}{name}")


def start_ray(laboratory, cpus: int) -> None:
    """A head without CPUs, and workers; not 'ray up', so that only what a test is about happens."""
    store = "--object-store-memory=100000000 --disable-usage-stats"
    laboratory.head.run(f"ray start --head --num-cpus=0 --include-dashboard=false {store}")
    for worker in laboratory.workers:
        worker.run(f"ray start --address={ADDRESSES['head']}:6379 --num-cpus={cpus} {store}")


def start_search(laboratory, name: str, storage: str, trials: int):
    """Start a search on the head."""
    return laboratory.head.start(
        f"exec python -m lad_rllib.cli tune --address auto --wait-nodes 3 --setting paper --trials {trials} "
        f"--episodes {EPISODES} --scheduler none --checkpoint-every 2 --parameters actor_lr gamma "
        f"--output runs/{name} --storage-path '{storage}'"
    )


def resume_search(laboratory, name: str, storage: str):
    """Go on with a search whose output folder is lost, from the storage alone."""
    return laboratory.head.start(
        f"rm -r runs/{name}; exec python -m lad_rllib.cli tune --address auto --wait-nodes 3 --resume "
        f"--output runs/{name} --storage-path '{storage}'"
    )


def trials_on(machine) -> set[str]:
    """Names of the trials that run on a machine: the names of the folders that they work in."""
    names = set()
    for pid, command in machine.processes().items():
        if command.startswith("ray::TuningTrial"):
            try:
                names.add(os.path.basename(os.readlink(f"/proc/{pid}/cwd")))
            except OSError:  # it has ended meanwhile
                continue
    return {name for name in names if name.startswith("trial_")}


def noted(storage, search: str) -> dict[str, tuple[str, int]]:
    """Status and last iteration of each trial, as a new driver would find them in the storage; empty if it is early."""
    states = [name for name in storage.names() if name.startswith(f"{search}/experiment_state-")]
    try:
        found = json.loads(storage.read(max(states)))["trial_data"] if states else []
    except json.JSONDecodeError:  # it is being written
        return {}
    trials = {}
    for described, went in found:
        trial, last_result = json.loads(described), json.loads(went)["last_result"]
        trials[f"trial_{trial['trial_id']}"] = (trial["status"], last_result.get("training_iteration", 0))
    return trials


def rows_of(storage, search: str, trial: str) -> pd.DataFrame:
    """All results of a trial, in the order in which the drivers received them."""
    return pd.read_json(io.StringIO(storage.read(f"{search}/{trial}/result.json")), lines=True)


def table_of(storage, search: str) -> pd.DataFrame:
    """What the search says of its trials at its end."""
    return pd.read_csv(io.StringIO(storage.read(f"{search}-results/trials.csv")))


def kill_the_driver_and_resume(laboratory, step, storage, uri: str) -> None:
    """A search whose driver is killed while its third trial runs, and that goes on from the storage.

    Args:
        laboratory: Three machines with Ray on them, one CPU a worker: two trials at a time.
        step: The clock.
        storage: The storage from outside.
        uri: The storage for the search.
    """
    driver = start_search(laboratory, "killed", uri, trials=3)
    last: dict[str, tuple[str, int]] = {}

    def third_trial_is_on_its_way() -> bool:
        nonlocal last
        before, last = last, noted(storage, "killed")
        by_status = dict(last.values())
        on_its_way = 4 <= by_status.get("RUNNING", 0) < EPISODES and by_status.get("TERMINATED") == EPISODES
        return on_its_way and before != last  # just noted: the driver is not killed in the middle of a note

    with step("search until two trials are done and one is on its way"):
        wait_for(driver, third_trial_is_on_its_way)
    driver.kill()
    third = next(name for name, (status, _) in last.items() if status == "RUNNING")

    with step("driver killed, another resumes the search from the storage and ends it"):
        resumed = resume_search(laboratory, "killed", uri)
        assert resumed.wait(240) == 0, resumed.output
    assert "3 trials (3 to the end, 0 stopped early, 0 failed)" in resumed.output
    table = table_of(storage, "killed")
    assert table["status"].tolist() == ["done"] * 3 and set(table["episodes"]) == {EPISODES}
    every = list(range(1, EPISODES + 1))
    for trial in last:
        rows = rows_of(storage, "killed", trial)
        begins = rows[rows["iterations_since_restore"] == 1]["training_iteration"].tolist()
        if trial == third:  # goes on behind its last checkpoint, which is one of every second iteration
            assert len(begins) == 2 and begins[0] == 1 and begins[1] > 2 and begins[1] % 2 == 1
            assert sorted(set(rows["training_iteration"])) == every
        else:  # not done again
            assert begins == [1] and rows["training_iteration"].tolist() == every


def wait_for(driver, condition, limit_s: float = 300.0) -> None:
    """Wait until something holds while a search runs."""

    def holds() -> bool:
        assert driver.is_running, f"the search has ended:\n{driver.output}"
        return condition()

    until(holds, limit_s)
