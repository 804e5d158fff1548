"""Mistakes in files for 'ray up' that show without a cloud: each is planted, found and named."""

import pytest

from tests.cluster_files.planting import mistakes, planted

GPU = "available_node_types.edge-gpu"
LOCAL = """\
cluster_name: own-machines
provider: {type: local, head_ip: 192.0.2.1, worker_ips: [192.0.2.2]}
auth: {ssh_user: ray}
setup_commands: []
head_start_ray_commands:
  - RAY_enable_autoscaler_v2=0 RAY_AUTH_MODE=disabled ray start --head --num-cpus=0 --dashboard-host=127.0.0.1
"""


@pytest.mark.parametrize(
    ("old", "new", "place", "text"),
    [
        ("max_workers: 10", "max_worker: 10", "max_worker", "no setting of Ray's; did you mean max_workers?"),
        ("max_workers: 10\n", "", "max_workers", "is missing; Ray would take 2"),
        ("max_workers: 10", "max_workers: ten", "max_workers", "Ray refuses it: 'ten' is not of type 'integer'"),
        ("max_workers: 10", "max_workers: 10\nmin_workers: 1", "min_workers", "Ray ignores it here"),
        ("head_node_type: head\n", "head_node_type: heat\n", "", "Ray refuses it: `head_node_type` must be one of"),
        ("type: gcp", "type: gpc", "provider.type", "gpc is no provider that this knows; did you mean gcp?"),
        ("  region:", "  regoin:", "provider.regoin", "no setting of gcp, Ray would ignore it; did you mean region?"),
        ("  project_id: my-project\n", "", "provider.project_id", "is missing; gcp needs it"),
        ("available_node_types:", "metadata:", "available_node_types", "must name the kinds of machines"),
        ("    max_workers: 2\n", "", f"{GPU}.max_workers", "is missing; Ray would take all"),
        ("    max_workers: 0\n", "", "available_node_types.head.max_workers", "is missing; write 0"),
        ("resources: {CPU: 0}", "resources: {CPU: 2}", "available_node_types.head.resources.CPU", "2; write 0"),
        ("resources: {CPU: 0}", "resources: {}", "available_node_types.head.resources.CPU", "is missing; write 0"),
        ("{group: edge-gpu}\n", "{group: edge-gpu}\n    label: {}\n", f"{GPU}.label", "did you mean labels?"),
        ("resources: {CPU: 4, GPU: 1}", "resources: 5", GPU, "must hold keys and values"),
        ("resources: {CPU: 4, GPU: 1}", "resources: {CPU: 4, GPU: 0.5}", f"{GPU}.resources.GPU", "0.5 is not of type"),
        ("\nsetup_commands:", "\nmetadata: {a: 1}\ncluster_synced_files:", "setup_commands", "development version"),
        (
            "ray:2.60.0-py311-gpu",
            "ray:2.59.0-py311-gpu",
            f"{GPU}.docker.worker_image",
            "constraints.txt has ray 2.60.0",
        ),
        ("ray:2.60.0-py311-gpu", "ray:2.60.0-gpu", f"{GPU}.docker.worker_image", "needs Python 3.11 or 3.12"),
        ("ray:2.60.0-py311-gpu", "ray:2.60.0-py311-cpu", f"{GPU}.docker.worker_image", "sees no GPU; take the one"),
        ("torch==2.13.0", "torch==2.12.0", "setup_commands[1]", "torch==2.12.0: constraints.txt has 2.13.0"),
        (" torch==2.13.0", " torch", "setup_commands[1]", "pip install torch takes whatever version is the newest"),
        (
            "  /home/ray/lad_rllib: .",
            "  /home/ray/lad_rllib: src",
            "file_mounts./home/ray/lad_rllib",
            "there is no src;",
        ),
        ("host=127.0.0.1", "host=0.0.0.0", "head_start_ray_commands", "opens the dashboard"),
        ("RAY_AUTH_MODE=disabled ", "", "head_start_ray_commands", "a token that Ray has left on the head"),
        ("ray start --head ", "ray start ", "head_start_ray_commands", "has no 'ray start --head'"),
        ("--autoscaling-config=~/ray_bootstrap_config.yaml", "", "head_start_ray_commands", "no machine would ever"),
        ("\nhead_start_ray_commands:", "\nmetadata:\n  a:", "head_start_ray_commands", "open the dashboard"),
    ],
)
def test_a_planted_mistake_is_found(tmp_path, old, new, place, text):
    found = mistakes(planted(tmp_path, "gcp-gpu.yaml", (old, new)))
    assert any(where == place and text in what for where, what in found), found


def test_each_mistake_is_one_line_and_nothing_else_is_reported(tmp_path):
    path = planted(tmp_path, "gcp-gpu.yaml", ("  region:", "  regoin:"), ("upscaling_speed:", "upscaling_sped:"))
    assert mistakes(path) == [
        ("upscaling_sped", "no setting of Ray's; did you mean upscaling_speed?"),
        ("provider.regoin", "no setting of gcp, Ray would ignore it; did you mean region?"),
        ("provider.region", "is missing; gcp needs it"),
    ]


def test_a_file_for_ones_own_machines_needs_no_node_types(tmp_path):
    path = tmp_path / "local.yaml"
    path.write_text(LOCAL)
    assert mistakes(path) == []


@pytest.mark.parametrize(
    ("old", "new", "place", "text"),
    [
        ("RAY_enable_autoscaler_v2=0 ", "", "head_start_ray_commands", "starts one machine too few"),
        ("worker_ips", "workers_ips", "provider.workers_ips", "did you mean worker_ips?"),
        ("--dashboard-host=127.0.0.1", "--dashboard-host 0.0.0.0", "head_start_ray_commands", "opens the dashboard"),
        ("setup_commands: []\n", "", "setup_commands", "is missing"),
        (", worker_ips: [192.0.2.2]", "", "", "Ray refuses it: Please supply a `head_ip`"),
    ],
)
def test_a_planted_mistake_in_a_file_for_ones_own_machines_is_found(tmp_path, old, new, place, text):
    assert old in LOCAL
    path = tmp_path / "local.yaml"
    path.write_text(LOCAL.replace(old, new))
    found = mistakes(path)
    assert any(where == place and text in what for where, what in found), found
