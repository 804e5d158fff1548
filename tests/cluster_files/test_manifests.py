"""Mistakes in KubeRay manifests: each is planted, found and named."""

import pytest

from cluster.check import check
from cluster.checks import manifests
from cluster.checks.findings import read
from tests.cluster_files.planting import CLUSTER, mistakes, planted

JOB = "spec.rayClusterSpec"


@pytest.mark.parametrize(
    ("old", "new", "place", "text"),
    [
        ("apiVersion: ray.io/v1", "apiVersion: ray.io/v1alpha1", "apiVersion", "ray.io/v1alpha1 is not ray.io/v1"),
        ("rayClusterSpec:", "rayCluster:", JOB, "is missing"),
        ("rayVersion: 2.60.0", "rayVersion: 2.59.0", f"{JOB}.rayVersion", "2.59.0: constraints.txt has 2.60.0"),
        (
            "enableInTreeAutoscaling: true",
            "suspend: false",
            f"{JOB}.enableInTreeAutoscaling",
            "no worker is ever added",
        ),
        ("version: v2", "version: v1", f"{JOB}.autoscalerOptions.version", "write v2"),
        ('num-cpus: "0"', 'num-cpus: "2"', f"{JOB}.headGroupSpec.rayStartParams.num-cpus", 'write "0"'),
        ('num-cpus: "0"', "num-cpus: none", JOB, "Ray's autoscaler refuses it: ValueError"),
        ("{group: edge-gpu}", "{group: edge/g/pu}", JOB, "Ray's autoscaler refuses it: ValueError"),
        ("        maxReplicas: 2\n", "", f"{JOB}.workerGroupSpecs[1].maxReplicas", "is missing"),
        (":ray2.60.0-gpu", ":latest", f"{JOB}.workerGroupSpecs[1].template.spec.containers[0].image", "must name"),
        (
            ":ray2.60.0-gpu",
            ":ray2.60.0-gpu\n                imagePolicy: Always",
            "template.spec.containers[0]",
            "imagePolicy",
        ),
        ("runAsUser: 1000", "runAsUser: ray", "securityContext.runAsUser", "'ray' is not of type 'integer'"),
        ('              limits: {cpu: "15"', '              limits: {cpu: "16"', "containers[0].resources", "the same"),
        ("key: nvidia.com/gpu,", "key: gpu,", f"{JOB}.workerGroupSpecs[1].template.spec.tolerations", "turn away pods"),
        ("- name: shared\n", "- name: share\n", "containers[0].volumeMounts", "there is no volume shared"),
        (
            "groupName: edge-gpu",
            "groupName: 7",
            f"{JOB}.workerGroupSpecs[1].groupName",
            "a text, got 7; put it in quotes",
        ),
        ('num-cpus: "0"', "num-cpus: 0", f"{JOB}.headGroupSpec.rayStartParams.num-cpus", "a text, got 0; put it in"),
        ("{group: edge-gpu}", "{group: 1}", f"{JOB}.workerGroupSpecs[1].labels.group", "must be a text, got 1"),
        ("rayVersion: 2.60.0", "rayVersion: 2.6", f"{JOB}.rayVersion", "must be a text, got 2.6; put it in quotes"),
        ("maxReplicas: 2", 'maxReplicas: "2"', f"{JOB}.workerGroupSpecs[1].maxReplicas", "a whole number, got '2'"),
        ("backoffLimit: 0", "backoffLimit: none", "spec.backoffLimit", "must be a whole number, got 'none'"),
        (
            "        minReplicas: 0\n        maxReplicas: 2",
            "        minReplicas: 3\n        maxReplicas: 2",
            f"{JOB}.workerGroupSpecs[1].minReplicas",
            "3 is more than maxReplicas, 2",
        ),
        ("minReplicas: 0", "minReplicas: -1", f"{JOB}.workerGroupSpecs[0].minReplicas", "must be at least 0, got -1"),
        ("  shutdownAfterJobFinishes: true\n", "", "spec.shutdownAfterJobFinishes", "is paid for"),
        ("  ttlSecondsAfterFinished: 3600\n", "", "spec.ttlSecondsAfterFinished", "is missing"),
    ],
)
def test_a_planted_mistake_is_found(tmp_path, old, new, place, text):
    found = mistakes(planted(tmp_path, "kuberay/rayjob-train.yaml", (old, new)))
    assert any(where.endswith(place) and text in what for where, what in found), found


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("lad-rllib train", "bash train", "must be 'lad-rllib' and a command, or 'python' and a script of the image"),
        ("lad-rllib train", "lad-rllib trian", "lad-rllib has no command 'trian'; did you mean 'train'?"),
        (
            "lad-rllib train",
            "python /home/ray/lad_rllib/cluster/check",
            "puts nothing at /home/ray/lad_rllib/cluster/c",
        ),
        ("lad-rllib train", "python /root/cluster/run.py", "cluster/Dockerfile puts nothing at /root/cluster/run.py"),
        ("--num-learners", "--num-learner", "lad-rllib train: unrecognized arguments: --num-learner 1"),
        ("--device cuda", "--device gpu", "lad-rllib train: argument --device: invalid choice: 'gpu'"),
        ("--address auto", "--address auto --wait-nodes 3", "--wait-nodes 3, but only 1 is sure to come"),
        ("--num-learners 1", "--num-learners 3", "ask for 3 GPU, but the groups bring at most 2; lower it"),
        (
            "--storage-path /mnt/shared",
            "--storage-path /mnt/nfs",
            "mounts nothing at /mnt/nfs, the job's --storage-path",
        ),
    ],
)
def test_a_job_that_would_not_begin_is_found(tmp_path, old, new, text):
    found = mistakes(planted(tmp_path, "kuberay/rayjob-train.yaml", (old, new)))
    assert any(text in what for _, what in found), found


@pytest.mark.parametrize(
    ("entrypoint", "named"),
    [
        ("python /home/ray/lad_rllib/experiments/ablations.py", "experiments/ablations.py"),
        ("python -m experiments.ablations", "experiments.ablations"),
        ("lad-rllib fleet up", "lad-rllib fleet"),
    ],
)
def test_options_of_what_is_not_one_of_our_commands_are_noted(tmp_path, entrypoint, named):
    path = planted(tmp_path, "kuberay/rayjob-train.yaml", ("lad-rllib train", entrypoint))
    notes = [finding.text for finding in check([path]) if not finding.is_mistake]
    assert f"options of {named} were not checked" in notes


def test_a_manifest_of_an_unexpected_shape_is_a_mistake_and_not_a_traceback(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text("apiVersion: ray.io/v1\nkind: RayJob\nspec: [1]\n")
    assert [text for _, text in mistakes(path)] == [
        "cannot be checked, its shape is unexpected: AttributeError: 'list' object has no attribute 'get'"
    ]


def test_nodes_that_are_sure_to_come_may_be_waited_for(tmp_path):
    changes = [("--address auto", "--address auto --wait-nodes 3"), ("minReplicas: 0", "minReplicas: 1")]
    assert mistakes(planted(tmp_path, "kuberay/rayjob-train.yaml", *changes)) == []


@pytest.mark.parametrize(
    ("old", "new", "place", "text"),
    [
        ("accessModes: [ReadWriteMany]", "accessModes: ReadWriteMany", "spec.accessModes", "is not of type 'array'"),
        ("      storage: 50Gi", "      storage: 50Gi\n  storageclass: nfs", "", "storageclass"),
    ],
)
def test_kubernetes_own_objects_are_checked(tmp_path, old, new, place, text):
    found = mistakes(planted(tmp_path, "kuberay/storage-pvc.yaml", (old, new)))
    assert any(place in where and text in what for where, what in found), found


def test_an_unknown_kind_is_noted(tmp_path):
    path = planted(
        tmp_path, "kuberay/storage-pvc.yaml", ("kind: PersistentVolumeClaim", "kind: PersistentVolumeClaims")
    )
    (finding,) = manifests.check(read(path, "pvc"), {})
    assert (
        str(finding)
        == "pvc: PersistentVolumeClaims: note: PersistentVolumeClaims is no kind that this knows; it was not checked"
    )


def test_without_kubernetes_schemas_a_note_says_how_to_get_them(monkeypatch):
    monkeypatch.setattr(manifests.util, "find_spec", lambda name: None)
    (finding,) = manifests.check(read(CLUSTER / "kuberay/storage-pvc.yaml", "pvc"), {})
    assert not finding.is_mistake and "pip install kubernetes-validate" in finding.text


def test_the_autoscaler_sees_no_cpus_on_the_head_and_a_gpu_where_the_label_is():
    document = read(CLUSTER / "kuberay/raycluster-gpu.yaml", "raycluster")
    types = manifests.autoscaling_config(document.parts[0])["available_node_types"]
    assert types["headgroup"]["resources"]["CPU"] == 0
    assert {name: t["resources"].get("GPU", 0) for name, t in types.items()} == {
        "headgroup": 0,
        "env-runners": 0,
        "edge-gpu": 1,
    }
    assert types["edge-gpu"]["labels"] == {"group": "edge-gpu"}
