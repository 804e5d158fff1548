"""Requests that come one by one on a fleet: which, when, and what a scheduler of requests knows of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lad_rllib.edge.fit import delay_line
from lad_rllib.edge.task import ImageTask
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet import Fleet, FleetModel
from lad_rllib.fleet.requests import request_model, request_spec, service_of_fit, services_of
from lad_rllib.runs import live
from lad_rllib.runs.fleet_options import GenerateOptions
from lad_rllib.runs.options import flag
from lad_rllib.scheduling.request_scheduler import RequestScheduler, play_requests
from lad_rllib.service import RequestModel, tasks_of_requests
from lad_rllib.simulator import Setting
from lad_rllib.simulator.requests import (
    Requests,
    RequestSetting,
    SlottedRequests,
    build_request_setting,
    override_request_spec,
)

USUAL_LOAD = 0.7
"""Load of the past that a scheduler knows where all tasks come at once."""


def check_options(options: GenerateOptions) -> RequestSetting | None:
    """The setting of ``--setting``; refuses options that contradict one another.

    Raises:
        ConfigurationError: naming both options, or what is wrong with the setting.
    """
    if options.load is not None and options.rate is not None:
        raise ConfigurationError("--load and --rate contradict each other; give one of them")
    if options.setting is None:
        return None
    for name in ("steps", "size"):
        if name in options.model_fields_set:
            raise ConfigurationError(f"{flag(name)} has no effect with --setting, which says what requests ask for")
    setting = live.read_request_setting(options.setting)
    if isinstance(setting, SlottedRequests):
        raise ConfigurationError(
            f"setting {setting.name} has slots; --setting takes one of requests, such as requests.yaml of "
            "'lad-rllib fleet calibrate'"
        )
    return setting


@dataclass(frozen=True)
class LiveRequests:
    """Requests on a fleet.

    Attributes:
        setting: The fleet as the simulator has it, and its traffic.
        model: What a scheduler of requests knows.
        network: The fleet as schedulers of slots know it.
        requests: The requests that come.
    """

    setting: RequestSetting
    model: RequestModel
    network: FleetModel
    requests: Requests

    def tasks(self, prompts: list[str], deadline_s: float | None) -> list[ImageTask]:
        """The requests as tasks."""
        tasks = tasks_of_requests(self.requests, prompts)
        return tasks if deadline_s is None else [replace(task, deadline_s=deadline_s) for task in tasks]

    def simulated_mean_s(self, scheduler: RequestScheduler, seed: int) -> float:
        """Mean delay of these requests that the simulator predicts [s]."""
        history, rng = self.setting.history(), np.random.default_rng(seed)
        return float(play_requests(scheduler, self.setting.world, self.requests, history, rng).delay_s.mean())


def live_requests(
    fleet: Fleet, options: GenerateOptions, asked: RequestSetting | None, decider: live.Decider, number: int
) -> LiveRequests:
    """Requests on a running fleet, as the options describe them.

    Service models are those of ``--setting``, else of the setting that the policy was trained on, if one of them is of
    this fleet; else what the servers have found out, measured now where that is too little.

    Args:
        fleet: The fleet.
        options: Which requests.
        asked: The setting of ``--setting``.
        decider: Who decides.
        number: Requests.
    """
    engines = [server.describe() for server in fleet.servers]
    settings = [one for one in (asked, decider.setting) if isinstance(one, RequestSetting)]
    services = next((found for one in settings if (found := services_of(one, fleet.spec))), None)
    if services is None:
        fits = live.measured_fits(fleet)
        services = [service_of_fit(fit, engine) for fit, engine in zip(fits, engines, strict=True)]
    else:
        kinds = [engine.kind_of(ImageTask("own", "own", 1)) for engine in engines]
        fits = [delay_line(service, kind) for service, kind in zip(services, kinds, strict=True)]
    if isinstance(decider.setting, Setting):
        network = FleetModel.from_setting(decider.setting)
    else:
        network = FleetModel.from_fits(fleet.spec, fits)
    spec = request_spec(
        fleet.spec,
        services,
        engines,
        name=fleet.spec.name,
        denoising_steps=(options.steps[0], options.steps[1]),
        size=(options.size[0], options.size[1]) if options.size else None,
        load=USUAL_LOAD,
        requests=number,
    )
    if asked is not None:
        spec["traffic"] = asked.spec["traffic"]
    rate = {"load": options.load, "rate_per_s": options.rate}
    changes = {name: value for name, value in rate.items() if value is not None}
    setting = build_request_setting(override_request_spec(spec, {"traffic": changes}))
    requests = setting.draw(np.random.default_rng(options.seed))
    return LiveRequests(setting, request_model(setting, engines), network, requests)
