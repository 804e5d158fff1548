"""Mistakes in the Dockerfile, the runtime environment and the fleet: each is planted, found and named."""

import shutil

import numpy as np
import pytest

from cluster.checks import runtime_envs
from cluster.checks.findings import read
from cluster.checks.images import path_in_image
from tests.cluster_files.planting import CLUSTER, mistakes, planted


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("rayproject/ray:2.60.0-py311-", "rayproject/ray:2.59.0-py311-", "constraints.txt has ray 2.60.0"),
        ("rayproject/ray:2.60.0-py311-", "rayproject/ray:2.60.0-py310-", "needs Python 3.11 or 3.12"),
        ("FROM rayproject/ray:2.60.0-py311-${DEVICE}", "FROM python:3.11", "must start from rayproject/ray"),
        ("torch==2.13.0", "torch==2.13.1", "torch==2.13.1: constraints.txt has 2.13.0"),
        ("install --no-cache-dir -c constraints.txt", "install --no-cache-dir", "takes whatever version is the newest"),
        ("experiments experiments", "experiment experiments", "there is no experiment to copy"),
    ],
)
def test_a_planted_mistake_in_the_dockerfile_is_found(tmp_path, old, new, text):
    found = mistakes(planted(tmp_path, "Dockerfile", (old, new)))
    assert any(text in what and (where.startswith("line") or where == "FROM") for where, what in found), found


def test_paths_in_the_image_lead_back_to_files_of_the_repository():
    assert path_in_image("/home/ray/lad_rllib/experiments/learning.py") == "experiments/learning.py"
    assert path_in_image("/home/ray/lad_rllib/constraints.txt") == "constraints.txt"
    assert path_in_image("/home/ray/lad_rllib/lad_rllib/__init__.py") == "lad_rllib/__init__.py"
    assert path_in_image("/home/ray/lad_rllib/tests/conftest.py") is None


@pytest.mark.parametrize(
    ("old", "new", "place", "text"),
    [
        ("env_vars:", "env_var:", "env_var", "no field of a runtime environment; did you mean env_vars?"),
        ('"1"', "1", "", "Ray refuses it"),
        ("working_dir: .", "working_dir: nowhere", "working_dir", "there is no folder"),
        ("  - tests\n", "  - lad_rllib\n", "excludes", "lad_rllib/__init__.py would not travel"),
        ("excludes:", "pip: [torch==1.0]\nexcludes:", "pip[0]", "torch==1.0: constraints.txt has 2.13.0"),
    ],
)
def test_a_planted_mistake_in_the_runtime_environment_is_found(tmp_path, old, new, place, text):
    found = mistakes(planted(tmp_path, "runtime_env.yaml", (old, new)))
    assert any(where == place and text in what for where, what in found), found


def test_a_folder_that_is_too_large_to_travel_is_found(tmp_path, monkeypatch):
    from ray._private.runtime_env import packaging

    monkeypatch.setattr(packaging, "GCS_STORAGE_MAX_SIZE", 2 << 20)
    shutil.copy(CLUSTER / "runtime_env.yaml", tmp_path)
    (tmp_path / "large.bin").write_bytes(np.random.default_rng(0).bytes(3 << 20))
    document = read(tmp_path / "runtime_env.yaml", "runtime_env.yaml", root=tmp_path)
    texts = [finding.text for finding in runtime_envs.check(document)]
    assert "3 MiB are too many, Ray sends 2 at most; name what may stay in excludes" in texts


@pytest.mark.parametrize(
    ("old", "new", "place", "text"),
    [
        ("num_gpus: 0.75", "num_gpu: 0.75", "", "num_gpu"),
        ("{group: edge-gpu}", "{group: edge-gpus}", "servers.gpu-0", "has 2 CPU, 0.75 GPU, label group: edge-gpus"),
        ("num_gpus: 0.75", "num_gpus: 2", "servers.gpu-1", "no machine of cluster/gcp-gpu.yaml has 2 CPU, 2 GPU"),
    ],
)
def test_a_fleet_that_finds_no_machine_is_found(tmp_path, old, new, place, text):
    found = mistakes(planted(tmp_path, "fleet-gpu.yaml", (old, new)), CLUSTER / "gcp-gpu.yaml")
    assert any(where == place and text in what for where, what in found), found


@pytest.mark.parametrize("name", ["gcp-gpu.yaml", "azure-gpu.yaml", "kuberay/raycluster-gpu.yaml"])
def test_a_cluster_that_gives_its_gpu_machines_no_label_is_found(tmp_path, name):
    cluster = planted(tmp_path, name, ("labels: {group: edge-gpu}", "labels: {group: other}"))
    found = mistakes(CLUSTER / "fleet-gpu.yaml", cluster)
    assert [where for where, what in found] == ["servers.gpu-0", "servers.gpu-1"]
    assert all(str(cluster) in what for _, what in found)
