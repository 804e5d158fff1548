"""Files for ``ray up``: Ray's own checks, and what they let pass."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from . import azure, gcp
from .findings import Document, Finding, did_you_mean, silence, unknown_keys, walk_strings
from .pins import loose_installs, wrong_pins

CLOUDS = ("aws", "azure", "gcp")
EVERY_PROVIDER = {
    "type",
    "use_internal_ips",
    "use_external_head_ip",
    "disable_node_updaters",
    "disable_launch_config_check",
    "foreground_node_launch",
    "worker_liveness_check",
}
PROVIDER_KEYS = {
    "aws": {
        "region",
        "availability_zone",
        "cache_stopped_nodes",
        "key_pair",
        "security_group",
        "cloudwatch",
        "aws_credentials",
    },
    "gcp": {"region", "availability_zone", "project_id", "cache_stopped_nodes", "gcp_credentials"},
    "azure": {
        "location",
        "resource_group",
        "subscription_id",
        "availability_zone",
        "cache_stopped_nodes",
        "tags",
        "subnet_mask",
        "unique_id",
        "msi_name",
        "msi_resource_group",
    },
    "local": {"head_ip", "worker_ips", "external_head_ip", "coordinator_address"},
}
"""What Ray 2.60 reads of ``provider``; it says nothing about other keys."""
NEEDED_PROVIDER_KEYS = {
    "aws": ("region",),
    "gcp": ("region", "availability_zone", "project_id"),
    "azure": ("location", "resource_group"),
    "local": (),
}
COMMAND_KEYS = ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands")
AUTOSCALING = "--autoscaling-config=~/ray_bootstrap_config.yaml"


def is_launch_file(document: Document) -> bool:
    """Whether it is a file for ``ray up``."""
    return bool(document.parts) and isinstance(document.parts[0], dict) and "provider" in document.parts[0]


def provider_of(document: Document) -> str | None:
    """The provider of a file for ``ray up``; None for other files."""
    provider = document.parts[0]["provider"] if is_launch_file(document) else None
    return provider.get("type") if isinstance(provider, dict) else None


def can_be_played(document: Document, provider: str) -> bool:
    """Whether a file is for a provider and whole enough for Ray's own code to be tried on it."""
    if provider_of(document) != provider:
        return False
    config = document.parts[0]
    needed = all(config["provider"].get(key) for key in NEEDED_PROVIDER_KEYS[provider])
    return needed and not list(_shape(document, config))


def check(document: Document) -> Iterator[Finding]:
    """All mistakes of a file for ``ray up`` that show without a cloud's own rules, and with those of its provider."""
    config = document.parts[0]
    misshapen = list(_shape(document, config))
    yield from misshapen
    if misshapen:
        return
    checks: list[Callable[[Document, Any], Iterator[Finding]]] = [
        _keys,
        _provider,
        _ray,
        _workers,
        _commands,
        _start_commands,
        _images,
        _file_mounts,
    ]
    for one in checks:
        yield from one(document, config)
    if config["provider"]["type"] == "gcp":
        yield from gcp.check(document, config)
    elif config["provider"]["type"] == "azure":
        yield from azure.check(document, config)


def _shape(document: Document, config: Mapping[str, Any]) -> Iterator[Finding]:
    """What all other checks take for granted."""
    provider = config["provider"]
    if not isinstance(provider, dict) or provider.get("type") not in PROVIDER_KEYS:
        kind = provider.get("type") if isinstance(provider, dict) else provider
        yield document.mistake(
            "provider.type", f"{kind} is no provider that this knows{did_you_mean(kind, PROVIDER_KEYS)}"
        )
        return
    node_types = config.get("available_node_types")
    if provider["type"] == "local" and node_types is None:
        return
    if not isinstance(node_types, dict) or not node_types:
        yield document.mistake("available_node_types", "must name the kinds of machines; Ray would take its own")
        return
    for name, node_type in node_types.items():
        if not isinstance(node_type, dict) or not all(
            isinstance(node_type.get(key, {}), dict) for key in ("resources", "node_config", "labels", "docker")
        ):
            yield document.mistake(f"available_node_types.{name}", "must hold keys and values")


@cache
def _ray_schema() -> dict[str, Any]:
    import ray

    path = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    schema: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["properties"]
    return schema


def _node_types(config: Mapping[str, Any]) -> dict[str, Any]:
    return dict(config.get("available_node_types") or {})


def _keys(document: Document, config: Mapping[str, Any]) -> Iterator[Finding]:
    """Keys that Ray's schema does not have, with the ones that were meant."""
    for key, hint in unknown_keys(config, _ray_schema().keys() | {"min_workers"}):
        yield document.mistake(key, f"no setting of Ray's{hint}")
    (pattern,) = _ray_schema()["available_node_types"]["patternProperties"].values()
    for name, node_type in _node_types(config).items():
        for key, hint in unknown_keys(node_type, pattern["properties"]):
            yield document.mistake(f"available_node_types.{name}.{key}", f"no setting of a node type{hint}")


def _provider(document: Document, config: Mapping[str, Any]) -> Iterator[Finding]:
    provider = config["provider"]
    known = EVERY_PROVIDER | PROVIDER_KEYS[provider["type"]]
    for key, hint in unknown_keys(provider, known):
        yield document.mistake(f"provider.{key}", f"no setting of {provider['type']}, Ray would ignore it{hint}")
    for key in NEEDED_PROVIDER_KEYS[provider["type"]]:
        if not provider.get(key):
            yield document.mistake(f"provider.{key}", f"is missing; {provider['type']} needs it")


def _ray(document: Document, config: Mapping[str, Any]) -> Iterator[Finding]:
    """Ray's own checks, as ``ray up`` makes them first."""
    import jsonschema
    from ray.autoscaler._private.util import prepare_config, validate_config

    filled = copy.deepcopy(dict(config))
    if config["provider"]["type"] == "aws":
        for node_type in _node_types(filled).values():
            node_type.setdefault("resources", {})  # Ray finds them out from the instance type
    try:
        with silence():
            validate_config(prepare_config(filled))
    except jsonschema.ValidationError as error:
        place = ".".join(map(str, error.absolute_path))
        if error.validator != "additionalProperties" or len(error.absolute_path) not in (0, 2):
            yield document.mistake(place, f"Ray refuses it: {error.message}")
    except Exception as error:  # whatever stops Ray here stops 'ray up'
        yield document.mistake("", f"Ray refuses it: {error or type(error).__name__}")


def _workers(document: Document, config: Mapping[str, Any]) -> Iterator[Finding]:
    """How many machines there may be, and that the head leaves the work to others."""
    if config["provider"]["type"] not in CLOUDS:
        return
    if "min_workers" in config:
        yield document.mistake("min_workers", "Ray ignores it here; give each node type its own")
    if "max_workers" not in config:
        yield document.mistake("max_workers", "is missing; Ray would take 2. It limits what a mistake can cost")
    head = config.get("head_node_type")
    for name, node_type in _node_types(config).items():
        if "max_workers" not in node_type:
            yield document.mistake(
                f"available_node_types.{name}.max_workers",
                "is missing; " + ("write 0, the head is none of the workers" if name == head else "Ray would take all"),
            )
    cpus = _node_types(config).get(str(head), {}).get("resources", {}).get("CPU")
    if head in _node_types(config) and cpus != 0:
        yield document.mistake(
            f"available_node_types.{head}.resources.CPU",
            f"{'is missing' if cpus is None else cpus}; write 0, so that no env runner crowds out Ray's head",
        )


def _commands(document: Document, config: Mapping[str, Any]) -> Iterator[Finding]:
    """Setup commands are there, and install what was tested."""
    if "setup_commands" not in config:
        yield document.mistake(
            "setup_commands",
            "is missing; Ray's own would install a development version of Ray. Write [] if the image has everything",
        )
    for place, text in walk_strings(config):
        for problem in wrong_pins(text):
            yield document.mistake(place, problem)
        if any(key in place for key in COMMAND_KEYS):
            for problem in loose_installs(text):
                yield document.mistake(place, problem)


def _start_commands(document: Document, config: Mapping[str, Any]) -> Iterator[Finding]:
    """The head starts with its autoscaler, and with a dashboard that only the head itself reaches."""
    commands = config.get("head_start_ray_commands")
    is_cloud = config["provider"]["type"] in CLOUDS
    if not commands:
        if is_cloud:
            yield document.mistake(
                "head_start_ray_commands", "is missing; Ray's own open the dashboard, which runs any program, to all"
            )
        return
    starts = " ".join(" ".join(map(str, commands)).split())
    if re.search(r"--dashboard-host[= ](0\.0\.0\.0|::)", starts):
        yield document.mistake(
            "head_start_ray_commands",
            "opens the dashboard, which runs any program, to all; take 127.0.0.1 and 'ray dashboard'",
        )
    if "ray start --head" not in starts and not re.search(r"ray start .*--head", starts):
        yield document.mistake("head_start_ray_commands", "has no 'ray start --head'")
    elif is_cloud and AUTOSCALING not in starts:
        yield document.mistake("head_start_ray_commands", f"without {AUTOSCALING} no machine would ever be added")
    if "RAY_AUTH_MODE=" not in starts:
        yield document.mistake(
            "head_start_ray_commands",
            "write RAY_AUTH_MODE=disabled before 'ray start': a token that Ray has left on the head keeps workers out",
        )
    if config["provider"]["type"] == "local" and "RAY_enable_autoscaler_v2=0" not in starts:
        yield document.mistake(
            "head_start_ray_commands",
            "write RAY_enable_autoscaler_v2=0 before 'ray start': Ray 2.60's autoscaler starts one machine too few",
        )


def _images(document: Document, config: Mapping[str, Any]) -> Iterator[Finding]:
    """Machines with GPUs have an image with CUDA."""
    docker = config.get("docker") or {}
    common = docker.get("worker_image") or docker.get("image") or ""
    for name, node_type in _node_types(config).items():
        image = (node_type.get("docker") or {}).get("worker_image") or common
        if node_type.get("resources", {}).get("GPU") and re.search(r"rayproject/ray:.*-cpu$", image):
            yield document.mistake(
                f"available_node_types.{name}.docker.worker_image", f"{image} sees no GPU; take the one with -gpu"
            )


def _file_mounts(document: Document, config: Mapping[str, Any]) -> Iterator[Finding]:
    mounts = config.get("file_mounts") or {}
    if not isinstance(mounts, dict):
        return  # Ray says so
    for target, source in mounts.items():
        if not (document.root / Path(str(source)).expanduser()).exists():
            yield document.mistake(
                f"file_mounts.{target}", f"there is no {source}; it starts at the folder in which 'ray up' runs"
            )
