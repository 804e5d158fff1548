"""The files of cluster/ as they are shipped: no mistakes, the tested versions, commands that our scripts know."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.check import PATTERNS, check, main
from cluster.checks import aws
from cluster.checks.entrypoints import parser_of
from cluster.checks.findings import ROOT
from tests.cluster_files.planting import planted

FILES = sorted(str(path.relative_to(ROOT)) for pattern in PATTERNS for path in ROOT.glob(pattern))
CRDS = os.environ.get("LAD_RLLIB_KUBERAY_CRDS")
OURS = r"lad-rllib|python -m lad_rllib\.cli|ray submit \S+ cluster/run\.py"
TEXTS = [path for path in (ROOT / "cluster").rglob("*") if path.suffix in (".yaml", ".md") or "Dockerfile" in path.name]


@pytest.fixture(scope="module")
def findings():
    return check([ROOT / name for name in FILES], Path(CRDS) if CRDS else None)


def test_the_files_that_the_readme_tells_of_are_shipped():
    assert {
        "cluster/aws-gpu.yaml",
        "cluster/gcp-gpu.yaml",
        "cluster/azure-gpu.yaml",
        "cluster/fleet-gpu.yaml",
        "cluster/runtime_env.yaml",
        "cluster/Dockerfile",
        "cluster/kuberay/raycluster-gpu.yaml",
        "cluster/kuberay/rayjob-train.yaml",
        "cluster/kuberay/rayjob-tune.yaml",
        "cluster/kuberay/storage-pvc.yaml",
        "cluster/serve/service.yaml",
        "cluster/serve/rayservice-gpu.yaml",
    } <= set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_no_mistake_is_found_in(name, findings):
    assert [str(finding) for finding in findings if finding.file == name and finding.is_mistake] == []


def test_no_check_was_left_out_but_those_that_ask_for_files_or_packages_of_their_own(findings):
    left_out = {finding.text for finding in findings if not finding.is_mistake}
    if not CRDS:
        kinds = ("RayCluster", "RayJob", "RayService")
        left_out -= {f"{kind} was not held against KubeRay's schema; see --crds" for kind in kinds}
    if not aws.is_ready():
        left_out -= {f"node_config was not checked; {aws.INSTALL}"}
    assert left_out == {"my-project stands for your own project; write it before 'ray up'"}


def test_every_version_of_ray_and_torch_in_them_is_the_one_of_the_constraints():
    pinned = dict(re.findall(r"^(ray|torch)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    found = {"ray": [], "torch": []}
    for path in TEXTS:
        text = path.read_text(encoding="utf-8")
        found["ray"] += re.findall(r"rayproject/ray:([\d.]+)", text)
        found["ray"] += re.findall(r"lad-rllib:ray([\d.]+)-", text)
        found["ray"] += re.findall(r"rayVersion: ([\d.]+)", text)
        found["torch"] += re.findall(r"torch==([\d.]+)", text)
    assert len(found["ray"]) > 15 and len(found["torch"]) > 3
    assert {name: set(versions) for name, versions in found.items()} == {k: {v} for k, v in pinned.items()}


def test_every_one_of_our_commands_in_them_parses():
    commands = []
    for path in TEXTS:
        joined = re.sub(r"\\\n\s*#?", " ", path.read_text(encoding="utf-8"))
        commands += re.findall(rf"(?:{OURS}) ((?:train|tune|evaluate) [^`'\n#|]*)", joined)
    assert len(commands) >= 5
    for command in commands:
        name, *arguments = shlex.split(command)
        parser_of(name).parse_args(arguments)  # raises for what it does not know


@pytest.mark.skipif(not CRDS, reason="LAD_RLLIB_KUBERAY_CRDS names no folder with KubeRay's schemas")
@pytest.mark.parametrize(
    ("old", "new", "place", "text"),
    [
        ("idleTimeoutSeconds: 300", "idleTimeoutSecond: 300", "spec.autoscalerOptions", "idleTimeoutSecond"),
        ("minReplicas: 0", "minReplicas: none", "spec.workerGroupSpecs[0].minReplicas", "'none' is not of type"),
        ("  rayVersion:", "  rayversion:", "spec", "rayversion"),
    ],
)
def test_the_schemas_of_kuberay_find(tmp_path, old, new, place, text):
    path = planted(tmp_path, "kuberay/raycluster-gpu.yaml", (old, new))
    assert any(f.place == place and text in f.text and "KubeRay refuses" in f.text for f in check([path], Path(CRDS)))


def test_a_folder_without_schemas_is_named(tmp_path, capsys):
    assert main([str(ROOT / "cluster/kuberay/storage-pvc.yaml"), "--crds", str(tmp_path)]) == 1
    assert f"{tmp_path}: holds no definitions of KubeRay's" in capsys.readouterr().out


def test_the_script_prints_a_line_for_each_mistake_and_fails(tmp_path):
    path = planted(tmp_path, "azure-gpu.yaml", ("  location:", "  locaton:"))
    command = [sys.executable, "cluster/check.py", str(path), str(tmp_path / "none.yaml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines() == [
        f"{tmp_path}/none.yaml: cannot be read: No such file or directory",
        f"{path}: provider.locaton: no setting of azure, Ray would ignore it; did you mean location?",
        f"{path}: provider.location: is missing; azure needs it",
        "2 files, 3 mistakes",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: [2\n", "x.yaml: line 3: no YAML: expected ',' or ']', but got '<stream end>'"),
        ("a: 1\nb: 2\na: 3\n", "x.yaml: line 3: no YAML: a comes twice"),
        (
            "a: 1\n",
            "x.yaml: neither a file for 'ray up' (provider), nor a manifest (apiVersion), a runtime environment",
        ),
    ],
)
def test_a_file_that_is_none_of_ours_is_named(tmp_path, monkeypatch, capsys, text, line):
    (tmp_path / "x.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert main(["x.yaml"]) == 1
    assert capsys.readouterr().out.startswith(line)
