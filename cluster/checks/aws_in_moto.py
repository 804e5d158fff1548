"""Program that plays ``ray up`` through against moto, an imitation of AWS in the same process; see aws.py.

Reads a list of configurations as JSON, writes a list of mistakes for each: pairs of place and text.
"""

from __future__ import annotations

import copy
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from typing import Any

import boto3
import botocore.exceptions
import ray.autoscaler._private.aws.config as ray_config
import ray.autoscaler._private.aws.node_provider as ray_provider
from moto import mock_aws
from moto.ec2.models.instance_types import INSTANCE_TYPES
from ray.autoscaler import tags
from ray.autoscaler._private.util import prepare_config

from .findings import did_you_mean, one_line, silence


def mistakes_of(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Place and text of everything that AWS, as moto knows it, would refuse."""
    head = config["available_node_types"].get(config.get("head_node_type"), {})
    makes_role = "IamInstanceProfile" not in head.get("node_config", {})  # Ray then makes one from AWS's own policies
    os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = str(makes_role).lower()  # a thousand, slow to load
    with mock_aws():
        region = str(config["provider"]["region"])
        if region not in boto3.session.Session().get_available_regions("ec2"):
            yield "provider.region", f"AWS has no region {region}{did_you_mean(region, _regions())}"
            return
        wrong = list(_instance_types(config, region))
        yield from wrong
        if wrong:
            return
        _make_instance_profiles(config, region)
        with silence() as printed:
            try:
                resolved = ray_provider.AWSNodeProvider.bootstrap_config(prepare_config(copy.deepcopy(config)))
            except Exception as error:  # whatever stops Ray here stops 'ray up'
                yield "provider", f"Ray cannot prepare AWS for it: {_why(error, printed.getvalue())}"
                return
        provider = ray_provider.AWSNodeProvider(resolved["provider"], resolved["cluster_name"])
        for name, node_type in resolved["available_node_types"].items():
            kind = tags.NODE_KIND_HEAD if name == resolved["head_node_type"] else tags.NODE_KIND_WORKER
            yield from _create(provider, name, kind, node_type["node_config"])


def _regions() -> list[str]:
    return list(boto3.session.Session().get_available_regions("ec2"))


def _instance_types(config: Mapping[str, Any], region: str) -> Iterator[tuple[str, str]]:
    """Instance types that exist, are offered where they are wanted, and have what ``resources`` says."""
    zones = [zone.strip() for zone in str(config["provider"].get("availability_zone") or "").split(",") if zone.strip()]
    for name, node_type in config["available_node_types"].items():
        place = f"available_node_types.{name}"
        wanted = node_type.get("node_config", {}).get("InstanceType")
        if wanted not in INSTANCE_TYPES:
            text = (
                f"AWS has no instance type {wanted}{did_you_mean(wanted, INSTANCE_TYPES)}" if wanted else "is missing"
            )
            yield f"{place}.node_config.InstanceType", text
            continue
        offered = _zones_with(region, wanted)
        if not offered or (zones and not offered & set(zones)):
            where = ", ".join(zones) or region
            yield f"{place}.node_config.InstanceType", f"{wanted} is not offered in {where}"
        if name == config["head_node_type"]:
            continue
        known = INSTANCE_TYPES[wanted]
        has = {
            "CPU": known["VCpuInfo"]["DefaultVCpus"],
            "GPU": sum(gpu["Count"] for gpu in known.get("GpuInfo", {}).get("Gpus", [])),
        }
        for resource, amount in has.items():
            told = (node_type.get("resources") or {}).get(resource, amount)
            if told != amount:
                yield f"{place}.resources.{resource}", f"{told}, but {wanted} has {amount}"


def _zones_with(region: str, instance_type: str) -> set[str]:
    answer = boto3.client("ec2", region_name=region).describe_instance_type_offerings(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": [instance_type]}]
    )
    return {offering["Location"] for offering in answer["InstanceTypeOfferings"]}


def _make_instance_profiles(config: Mapping[str, Any], region: str) -> None:
    """The user makes them before ``ray up``; here they are taken as made."""
    iam = boto3.client("iam", region_name=region)
    profiles = [
        node_type["node_config"].get("IamInstanceProfile") for node_type in config["available_node_types"].values()
    ]
    for name in {profile["Name"] for profile in profiles if isinstance(profile, dict) and "Name" in profile}:
        iam.create_instance_profile(InstanceProfileName=name)


def _create(provider: Any, name: str, kind: str, node_config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Have Ray start one machine of a kind."""
    place = f"available_node_types.{name}.node_config"
    its_tags = {
        tags.TAG_RAY_NODE_KIND: kind,
        tags.TAG_RAY_USER_NODE_TYPE: name,
        tags.TAG_RAY_NODE_NAME: name,
        tags.TAG_RAY_LAUNCH_CONFIG: "none",
        tags.TAG_RAY_NODE_STATUS: tags.STATUS_UNINITIALIZED,
    }
    try:
        provider.create_node(copy.deepcopy(node_config), its_tags, 1)
    except botocore.exceptions.ParamValidationError as error:
        for line in str(error.kwargs["report"]).splitlines():
            yield _unknown_key(place, line)
    except Exception as error:  # whatever stops Ray here stops the machine
        yield place, f"AWS refuses to start it: {_why(error)}"


def _unknown_key(place: str, line: str) -> tuple[str, str]:
    """Botocore's line, which lists a hundred keys, with the near one only."""
    found = re.match(r'Unknown parameter in (.+): "(\w+)", must be one of: (.+)', line)
    if not found:
        return place, line
    where = "" if found[1] == "input" else f".{found[1]}"
    return f"{place}{where}.{found[2]}", f"AWS knows no such key{did_you_mean(found[2], found[3].split(', '))}"


def _why(error: BaseException, printed: str = "") -> str:
    """What an error says, or the one that it came from, or what Ray printed before it."""
    while not str(error).strip() and (error.__cause__ or error.__context__):
        error = error.__cause__ or error.__context__ or error
    told = re.findall(r"PANIC \S+ -- (.+)", re.sub(r"\x1b\[[\d;]*m", "", printed))
    return one_line(error) or (one_line(told[-1]) if told else type(error).__name__)


def _guarded(config: dict[str, Any]) -> list[tuple[str, str]]:
    """All mistakes; a file of an unexpected shape does not hide the mistakes of the others."""
    try:
        return list(mistakes_of(config))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return [("", f"cannot be played through, its shape is unexpected: {type(error).__name__}: {error}")]


def main() -> None:
    """Answer the question on standard input."""
    configs = json.load(sys.stdin)
    ray_config.time.sleep = lambda _: None  # Ray gives AWS 15 s to make a role known, twice
    with redirect_stdout(sys.stderr):  # Ray says what it does
        answer = [_guarded(config) for config in configs]
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
