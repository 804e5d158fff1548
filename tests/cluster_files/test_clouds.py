"""Mistakes in files for 'ray up' that only the cloud's own rules show: each is planted, found and named."""

import pytest

from cluster.checks import aws, gcp
from cluster.checks.findings import read
from tests.cluster_files.planting import CLUSTER, mistakes, planted

GPU = "available_node_types.edge-gpu"
SPOT = "available_node_types.env-runners"

AWS_PLANTS = {
    "a wrong instance type": (
        "g5.xlarge",
        "g5.xlrage",
        f"{GPU}.node_config.InstanceType",
        "AWS has no instance type g5.xlrage; did you mean g5.",
    ),
    "an instance type of other regions": (
        "region: us-west-2\n  availability_zone: us-west-2a,us-west-2b",
        "region: eu-south-2\n  availability_zone: eu-south-2a",
        f"{SPOT}.node_config.InstanceType",
        "c6i.4xlarge is not offered in eu-south-2a",
    ),
    "a wrong region": (
        "us-west-2",
        "us-wset-2",
        "provider.region",
        "AWS has no region us-wset-2; did you mean us-west-2?",
    ),
    "CPUs that the instance has not": (
        "{CPU: 4, GPU: 1}",
        "{CPU: 8, GPU: 1}",
        f"{GPU}.resources.CPU",
        "8, but g5.xlarge has 4",
    ),
    "GPUs that the instance has not": (
        "{CPU: 4, GPU: 1}",
        "{CPU: 4, GPU: 4}",
        f"{GPU}.resources.GPU",
        "4, but g5.xlarge has 1",
    ),
    "a misspelt key": (
        "InstanceMarketOptions",
        "InstanceMarketOption",
        f"{SPOT}.node_config.InstanceMarketOption",
        "AWS knows no such key; did you mean InstanceMarketOptions?",
    ),
    "a misspelt key further in": (
        "DeleteOnTermination",
        "DeleteOnTerminate",
        "available_node_types.head.node_config.BlockDeviceMappings[0].Ebs.DeleteOnTerminate",
        "AWS knows no such key; did you mean DeleteOnTermination?",
    ),
    "a value of the wrong type": (
        "VolumeSize: 150",
        "VolumeSize: 150GB",
        "available_node_types.head.node_config",
        "Invalid type for parameter BlockDeviceMappings[0].Ebs.VolumeSize, value: 150GB",
    ),
    "a zone of another region": (
        "us-west-2a,us-west-2b",
        "us-east-1a",
        f"{GPU}.node_config.InstanceType",
        "g5.xlarge is not offered in us-east-1a",
    ),
    "a node configuration of another shape": (
        "      InstanceMarketOptions: {MarketType: spot}",
        "      IamInstanceProfile: {Name: [a]}",
        "",
        "cannot be played through, its shape is unexpected: TypeError",
    ),
    "a key that no machine has": (
        "  ssh_user: ubuntu",
        "  ssh_user: ubuntu\n  ssh_private_key: /dev/null",
        "provider",
        "Ray cannot prepare AWS for it: `KeyName` missing",
    ),
}


@pytest.fixture(scope="module")
def found_on_aws(tmp_path_factory):
    """What is found in every planted file, all in one process of the imitation."""
    if not aws.is_ready():
        pytest.skip(f"moto is not there: {aws.INSTALL}")
    documents = []
    for number, (old, new, _, _) in enumerate(AWS_PLANTS.values()):
        path = planted(tmp_path_factory.mktemp(str(number)), "aws-gpu.yaml", (old, new))
        documents.append(read(path, list(AWS_PLANTS)[number]))
    no_profile = planted(
        tmp_path_factory.mktemp("no_profile"),
        "aws-gpu.yaml",
        ("IamInstanceProfile: {Name: lad-rllib}", "EbsOptimized: true"),
    )
    documents += [read(CLUSTER / "aws-gpu.yaml", "as shipped"), read(no_profile, "without an instance profile")]
    return aws.check_together(documents)


@pytest.mark.parametrize("plant", AWS_PLANTS)
def test_the_imitation_of_aws_finds(plant, found_on_aws):
    _, _, place, text = AWS_PLANTS[plant]
    found = [(finding.place, finding.text) for finding in found_on_aws if finding.file == plant]
    assert any(where == place and text in what for where, what in found), found


@pytest.mark.parametrize("name", ["as shipped", "without an instance profile"])  # without one Ray makes a role
def test_the_imitation_of_aws_starts_all_machines_of_the_file(name, found_on_aws):
    assert [str(finding) for finding in found_on_aws if finding.file == name] == []


def test_a_file_that_lacks_what_ray_needs_is_named_but_not_played_through(tmp_path):
    path = planted(tmp_path, "aws-gpu.yaml", ("  region: us-west-2\n", ""))
    assert mistakes(path) == [("provider.region", "is missing; aws needs it")]


def test_without_the_imitation_of_aws_a_note_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(aws, "is_ready", lambda: False)
    (finding,) = aws.check_together([read(CLUSTER / "aws-gpu.yaml", "aws-gpu.yaml")])
    assert not finding.is_mistake and "cluster/aws-check.txt" in str(finding)


def test_an_imitation_that_fails_is_a_mistake_and_not_a_pass(monkeypatch):
    monkeypatch.setattr(aws.sys, "executable", "false")
    monkeypatch.setattr(aws, "is_ready", lambda: True)
    (finding,) = aws.check_together([read(CLUSTER / "aws-gpu.yaml", "aws-gpu.yaml")])
    assert finding.is_mistake and "cannot be played through" in finding.text


@pytest.mark.parametrize(
    ("old", "new", "place", "text"),
    [
        (
            "zone: us-central1-a",
            "zone: us-east1-b",
            "provider.availability_zone",
            "us-east1-b is not in region us-centr",
        ),
        ("      machineType: g2-standard-4", "      x: y", f"{GPU}.node_config", "has no machineType"),
        ("diskSizeGb", "diskSizeGB", "available_node_types.head.node_config.disks[0].initializeParams.diskSizeGB", "?"),
        (
            "autoDelete: true",
            "autoDelete: yes please",
            f"{GPU}.node_config.disks[0].autoDelete",
            "must be of type boolean",
        ),
        ("type: PERSISTENT", "type: PERSISTANT", f"{GPU}.node_config.disks[0].type", "did you mean PERSISTENT?"),
        ("Model: SPOT", "Model: SPOTTY", f"{SPOT}.node_config.scheduling.provisioningModel", "did you mean SPOT?"),
        ("scheduling: {onHostMaintenance: TERMINATE}", "scheduling: {}", f"{GPU}.node_config.scheduling", "TERMINATE"),
        ("{CPU: 4, GPU: 1}", "{CPU: 8, GPU: 1}", f"{GPU}.resources.CPU", "8, but g2-standard-4 has 4"),
        (
            "scopes: [https",
            "scopes: {a: https",
            f"{SPOT}.node_config.serviceAccounts[0].scopes",
            "must be of type array",
        ),
    ],
)
def test_the_description_of_googles_api_finds(tmp_path, old, new, place, text):
    closing = [("cloud-platform]", "cloud-platform}")] if "{a:" in new else []
    found = mistakes(planted(tmp_path, "gcp-gpu.yaml", (old, new), *closing))
    assert any(where == place and text in what for where, what in found), found


def test_sizes_may_be_numbers_as_in_rays_own_examples_though_google_describes_them_as_text(tmp_path):
    assert mistakes(planted(tmp_path, "gcp-gpu.yaml", ("diskSizeGb: 100", 'diskSizeGb: "100"'))) == []


def test_without_googles_description_a_note_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(gcp, "_schemas", lambda: None)
    document = read(CLUSTER / "gcp-gpu.yaml", "gcp-gpu.yaml")
    notes = [finding.text for finding in gcp.check(document, document.parts[0])]
    assert "node_config was not checked; pip install google-api-python-client" in notes


@pytest.mark.parametrize(
    ("old", "new", "place", "text"),
    [
        ("osDiskSize: 150", "osDiskSizeGB: 150", "azure_arm_parameters.osDiskSizeGB", "did you mean osDiskSize?"),
        ("osDiskSize: 150", "osDiskSize: large", "azure_arm_parameters.osDiskSize", "'large' must be of type int"),
        (
            "priority: Spot",
            "priority: spot",
            "azure_arm_parameters.priority",
            "spot is not allowed; did you mean Spot?",
        ),
        ("priority: Spot", "subnet: mine", "azure_arm_parameters.subnet", "Ray sets it itself; leave it out"),
        ("        vmSize: Standard_D2s_v3 #", "        #", "azure_arm_parameters.vmSize", "is missing; it says which"),
        ("        imageSku: 2204-gen2\n", "", "azure_arm_parameters", "imageSku is missing; an image is imageId, or"),
        ("azure_arm_parameters: &machine", "azure_parameters: &machine", "azure_parameters", "azure_arm_parameters?"),
        ("zone: auto", "zone: [1, 2]", "provider.availability_zone", 'Ray reads "1,2,3" (in quotes)'),
        ("resources: {CPU: 16}", "resources: {CPU: 8}", f"{SPOT}.resources.CPU", "8, but Standard_D16s_v3 has 16"),
    ],
)
def test_rays_template_for_azure_finds(tmp_path, old, new, place, text):
    found = mistakes(planted(tmp_path, "azure-gpu.yaml", (old, new)))
    assert any(where.endswith(place) and text in what for where, what in found), found
