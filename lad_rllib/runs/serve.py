"""A service in front of a fleet, from its options."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from lad_rllib.api import ApiSettings
from lad_rllib.declared import declared
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet import load_fleet
from lad_rllib.names import SHIPPED_POLICIES
from lad_rllib.runs import cluster, local_ray
from lad_rllib.runs.improve_options import ImproveAmounts
from lad_rllib.runs.improver import Improver
from lad_rllib.runs.options import seconds
from lad_rllib.runs.serve_options import KEY_VARIABLE, ServeOptions
from lad_rllib.serving import Service, ServiceFiles, check_port, named_policy
from lad_rllib.serving.haproxy import haproxy_in_front
from lad_rllib.text_files import read_structured

DEFAULT_POLICY = "any-fleet"
"""What decides if nothing is said: the policy that comes with the package."""


@contextmanager
def running_service(options: ServeOptions, say: Callable[[str], object] = lambda line: None) -> Iterator[Service]:
    """A service that is ready; it ends with the context, and so do the servers that it started.

    Args:
        options: What is served, where, and what is kept of it.
        say: Takes lines about what is done until it is ready, and about improvements.

    Raises:
        ConfigurationError: for options that contradict one another, or a port that is in use.
        EdgeError: if a server cannot be started.
    """
    if options.checkpoint is not None and options.scheduler is not None:
        raise ConfigurationError("--checkpoint and --scheduler contradict each other; give one of them")
    if options.shared_fleet and options.servers != "actors":
        raise ConfigurationError("--shared-fleet has actors, which 'lad-rllib fleet up' started; leave --servers out")
    settings = _api_settings(options)
    if settings.keys_file is None and not _is_this_machine(options.host):
        raise ConfigurationError(
            f"--host {options.host} lets other machines in; give --keys, a file of API keys, or leave --host out"
        )
    improving = _improving(options, settings)
    policy = options.scheduler or DEFAULT_POLICY
    if options.checkpoint is not None:
        is_shipped = options.checkpoint in SHIPPED_POLICIES
        policy = options.checkpoint if is_shipped else str(_absolute(options.checkpoint))
    address = cluster.address_of(options)
    if options.haproxy and address != "local":
        raise ConfigurationError(
            f"--haproxy is for a Ray that this command starts, and the one at {address} runs; start that one with "
            "RAY_SERVE_ENABLE_HA_PROXY=1 in its environment, and leave --haproxy out"
        )
    spec = load_fleet(options.fleet)
    check_port(options.host, options.port)
    say(f"loading {policy}")
    scheduler = named_policy(policy)
    in_front = haproxy_in_front(options.host, options.port) if options.haproxy else nullcontext()
    with in_front, tempfile.TemporaryDirectory(prefix="lad_rllib_") as scratch:
        for name in ("jobs_file", "policies_file"):  # both outlive the ingress
            if getattr(settings, name) is None:
                settings = settings.model_copy(update={name: str(Path(scratch) / name)})
        files = ServiceFiles(log=_absolute(options.log), decisions=_absolute(options.decisions))
        say("starting Ray on this machine" if address == "local" else f"joining the Ray cluster at {address}")
        cluster.start_ray(options, num_cpus=len(spec.servers) + 2)
        service = Service(
            spec,
            policy,
            scheduler,
            settings,
            files=files,
            host=options.host,
            port=options.port,
            haproxy=options.haproxy,
            shared=options.shared_fleet,
            servers=options.servers,
            timeout_s=options.timeout,
            say=say,
        )
        try:
            with _improver(options, service, say, improving):
                yield service
        finally:
            service.close(ray_ends=local_ray.has_started())
            local_ray.end()


def _improving(options: ServeOptions, settings: ApiSettings) -> ImproveAmounts:
    """How better policies are looked for.

    Raises:
        ConfigurationError: without a decision log, or without a key that may change the service, and for settings that
            do not fit.
    """
    if options.improve_every is None:
        if options.improve_settings is not None:
            raise ConfigurationError("--improve-settings has no effect without --improve-every; give both or neither")
        return ImproveAmounts()
    if options.decisions is None:
        raise ConfigurationError("--improve-every learns from the decision log; give --decisions, a folder for it")
    if settings.keys_file is not None and not os.environ.get(KEY_VARIABLE):
        raise ConfigurationError(f"--improve-every changes the service; set {KEY_VARIABLE} to a key with admin")
    if options.improve_settings is None:
        return ImproveAmounts()
    read = read_structured(Path(options.improve_settings).expanduser(), "settings file")
    return declared(ImproveAmounts, read, f"settings file {options.improve_settings}: ")


def _improver(
    options: ServeOptions, service: Service, say: Callable[[str], object], amounts: ImproveAmounts
) -> AbstractContextManager[Any]:
    """What looks for better policies, if that is wanted."""
    if options.improve_every is None:
        return nullcontext()
    log = str(_absolute(options.decisions))
    folder, every_s = Path(log) / "improvements", seconds(options.improve_every)
    return Improver(service.url, log, folder, every_s, say, amounts.flags())


def _api_settings(options: ServeOptions) -> ApiSettings:
    """Limits and defaults of the API, from a file and the flags that stand for some of them."""
    values: dict[str, Any] = {}
    if options.api_settings is not None:
        read = read_structured(Path(options.api_settings).expanduser(), "settings file")
        given = declared(ApiSettings, read, f"settings file {options.api_settings}: ")
        values |= given.model_dump(exclude_unset=True)
    flags: dict[str, Any] = {"keys_file": options.keys, "jobs_file": options.jobs, "canary_share": options.canary_share}
    if options.decisions is not None:
        values.setdefault("policies_file", str(Path(options.decisions) / "policies.jsonl"))
    if options.go_back_after is not None:
        flags["go_back_after_s"] = seconds(options.go_back_after)
    values |= {name: value for name, value in flags.items() if value is not None}
    paths = ("keys_file", "jobs_file", "policies_file")
    return ApiSettings(**values | {name: _absolute(values.get(name)) for name in paths})


def _absolute(path: str | None) -> str | None:
    """A path that means the same in the ingress, which works elsewhere."""
    return None if path is None else str(Path(path).expanduser().absolute())


def _is_this_machine(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
