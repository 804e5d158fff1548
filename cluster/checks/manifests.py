"""KubeRay manifests: pods as Kubernetes reads them, groups as Ray's autoscaler reads them, jobs as our scripts do."""

from __future__ import annotations

import copy
import gzip
import logging
from collections.abc import Iterator, Mapping
from importlib import util
from pathlib import Path
from typing import Any

import yaml

from . import entrypoints, groups, services
from .findings import Document, Finding, one_line, walk_strings
from .pins import pins, wrong_pins

RAY_KINDS = ("RayCluster", "RayJob", "RayService")
API_VERSION = "ray.io/v1"
GPU = "nvidia.com/gpu"


def is_manifest(document: Document) -> bool:
    """Whether it holds Kubernetes objects."""
    return bool(document.parts) and all(isinstance(part, dict) and "apiVersion" in part for part in document.parts)


def read_schemas(folder: Path | None) -> tuple[dict[str, Any], list[Finding]]:
    """KubeRay's schemas by kind.

    Args:
        folder: With files .yaml or .yaml.gz: definitions one by one, or the list of ``kubectl get crd -o yaml``.

    Returns:
        The schemas of API version v1, and what is wrong with the folder.
    """
    schemas: dict[str, Any] = {}
    if folder is None:
        return schemas, []
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yaml.gz")]):
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8") as file:
            for part in yaml.load_all(file, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # they are large
                for definition in (part or {}).get("items", [part]):
                    if definition and definition.get("kind") == "CustomResourceDefinition":
                        for version in definition["spec"]["versions"]:
                            if version["name"] == "v1" and definition["spec"]["group"] == "ray.io":
                                kind = definition["spec"]["names"]["kind"]
                                schemas[kind] = version["schema"]["openAPIV3Schema"]
    if not schemas:
        return {}, [Finding(str(folder), "", "holds no definitions of KubeRay's (kubectl get crd -o yaml)")]
    return schemas, []


def check(document: Document, schemas: Mapping[str, Any]) -> Iterator[Finding]:
    """All mistakes of a file with manifests."""
    for part in document.parts:
        kind = str(part.get("kind"))
        if kind not in RAY_KINDS:
            yield from _by_kubernetes(document, part, kind)
            continue
        if part["apiVersion"] != API_VERSION:
            yield document.mistake("apiVersion", f"{part['apiVersion']} is not {API_VERSION}")
        yield from _by_schema(document, part, schemas)
        spec = part.get("spec") or {}
        place = (
            "spec" if kind == "RayCluster" else "spec.rayClusterSpec" if kind == "RayJob" else "spec.rayClusterConfig"
        )
        cluster = spec if kind == "RayCluster" else spec.get(place.rpartition(".")[2])
        if not isinstance(cluster, dict):
            yield document.mistake(place, "is missing")
            continue
        yield from groups.check(document, cluster, place)
        yield from _cluster(document, cluster, place)
        if kind == "RayJob":
            yield from groups.check_types(document, spec, groups.JOB, "spec")
            yield from _job(document, spec)
            yield from entrypoints.check(document, str(spec.get("entrypoint") or ""), cluster)
        if kind == "RayService":
            workers = workers_of({"spec": cluster})
            yield from services.check_text(document, spec.get("serveConfigV2"), "spec.serveConfigV2", workers)
    for place, text in (pair for part in document.parts for pair in walk_strings(part)):
        for problem in wrong_pins(text):
            yield document.mistake(place, problem)


def _by_schema(document: Document, part: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[Finding]:
    """The object against KubeRay's own definition, unknown keys refused as the API server does."""
    kind = part["kind"]
    if kind not in schemas:
        yield document.note("", f"{kind} was not held against KubeRay's schema; see --crds")
        return
    import jsonschema

    for error in jsonschema.Draft202012Validator(_strict(schemas[kind])).iter_errors(dict(part)):
        yield document.mistake(_place(error.absolute_path), f"KubeRay refuses it: {error.message}")


def _strict(schema: Any) -> Any:
    """The schema with every other key forbidden, as the API server has it."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: _strict(value) for key, value in schema.items()}
    closed = isinstance(inner.get("properties"), dict) and not inner.get("x-kubernetes-preserve-unknown-fields")
    if closed and "additionalProperties" not in inner and inner.get("type") == "object":
        inner["additionalProperties"] = False
    return inner


def _by_kubernetes(document: Document, part: Mapping[str, Any], place: str) -> Iterator[Finding]:
    """An object of Kubernetes' own against its strict schema."""
    if util.find_spec("kubernetes_validate") is None:
        yield document.note(place, "was not held against Kubernetes' schema; pip install kubernetes-validate")
        return
    import kubernetes_validate

    try:
        kubernetes_validate.validate(dict(part), kubernetes_validate.latest_version(), strict=True)
    except kubernetes_validate.ValidationError as error:
        inner = _place(error.path)
        yield document.mistake(f"{place}.{inner}" if inner else place, f"Kubernetes refuses it: {error.message}")
    except kubernetes_validate.SchemaNotFoundError:
        yield document.note(place, f"{part.get('kind')} is no kind that this knows; it was not checked")


def _place(path: Any) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def workers_of(cluster: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Resources and labels of each group of workers of a RayCluster."""
    derived = autoscaling_config(cluster)
    return [kind for name, kind in derived["available_node_types"].items() if name != derived["head_node_type"]]


def autoscaling_config(cluster: Mapping[str, Any]) -> dict[str, Any]:
    """What Ray's autoscaler makes of a RayCluster.

    Raises:
        Exception: whatever Ray raises if it can make nothing of it.
    """
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    whole = copy.deepcopy(dict(cluster))
    whole["metadata"] = {"name": "cluster", "namespace": "default"} | (whole.get("metadata") or {})
    logging.getLogger("ray.autoscaler").setLevel(logging.ERROR)
    derived: dict[str, Any] = _derive_autoscaling_config_from_ray_cr(whole)
    return derived


def _cluster(document: Document, cluster: Mapping[str, Any], place: str) -> Iterator[Finding]:
    """The cluster itself, in whatever it is wrapped."""
    tested = pins()["ray"]
    if str(cluster.get("rayVersion")) != tested:
        yield document.mistake(f"{place}.rayVersion", f"{cluster.get('rayVersion')}: constraints.txt has {tested}")
    if not cluster.get("enableInTreeAutoscaling"):
        yield document.mistake(f"{place}.enableInTreeAutoscaling", "write true, or no worker is ever added")
    elif (cluster.get("autoscalerOptions") or {}).get("version") != "v2":
        yield document.mistake(f"{place}.autoscalerOptions.version", "write v2; the first autoscaler is being retired")
    try:
        autoscaling_config({"spec": dict(cluster)})
    except Exception as error:  # whatever stops Ray here stops its autoscaler
        yield document.mistake(place, f"Ray's autoscaler refuses it: {type(error).__name__}: {one_line(error)}")
    head = cluster.get("headGroupSpec") or {}
    if str((head.get("rayStartParams") or {}).get("num-cpus")) != "0":
        yield document.mistake(
            f"{place}.headGroupSpec.rayStartParams.num-cpus", 'write "0", so that no env runner crowds out Ray\'s head'
        )
    workers = cluster.get("workerGroupSpecs") or []
    groups = {f"{place}.headGroupSpec": head}
    groups |= {f"{place}.workerGroupSpecs[{number}]": group for number, group in enumerate(workers)}
    for group_place, group in groups.items():
        if "maxReplicas" not in group and group is not head:
            yield document.mistake(f"{group_place}.maxReplicas", "is missing; it limits what a mistake can cost")
        yield from _pod(document, group.get("template") or {}, f"{group_place}.template")


def _pod(document: Document, template: Mapping[str, Any], place: str) -> Iterator[Finding]:
    metadata = {"name": "pod"} | (template.get("metadata") or {})
    yield from _by_kubernetes(document, {"apiVersion": "v1", "kind": "Pod", **template, "metadata": metadata}, place)
    spec = template.get("spec") or {}
    tolerated = {toleration.get("key") for toleration in spec.get("tolerations") or []}
    for number, container in enumerate(spec.get("containers") or []):
        inner = f"{place}.spec.containers[{number}]"
        image = str(container.get("image") or "")
        if pins()["ray"] not in image:
            yield document.mistake(f"{inner}.image", f"{image}: the tag must name the version of Ray, {pins()['ray']}")
        resources = container.get("resources") or {}
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        if not {"cpu", "memory"} <= limits.keys() or limits != requests:
            yield document.mistake(
                f"{inner}.resources", "requests and limits must be the same, with cpu and memory: Ray counts on them"
            )
        if GPU in limits and GPU not in tolerated:
            yield document.mistake(f"{place}.spec.tolerations", f"GPU nodes turn away pods that do not tolerate {GPU}")
        mounts = container.get("volumeMounts") or []
        for mount in mounts:
            if mount.get("name") not in {volume.get("name") for volume in spec.get("volumes") or []}:
                yield document.mistake(f"{inner}.volumeMounts", f"there is no volume {mount.get('name')}")


def _job(document: Document, spec: Mapping[str, Any]) -> Iterator[Finding]:
    """The cluster of a job ends with it."""
    if not spec.get("shutdownAfterJobFinishes"):
        yield document.mistake("spec.shutdownAfterJobFinishes", "write true, or the cluster stays and is paid for")
    elif "ttlSecondsAfterFinished" not in spec:
        yield document.mistake(
            "spec.ttlSecondsAfterFinished", "is missing; the logs go with the cluster, so give them some time"
        )
