"""What the commands that run a fleet share: its arguments, its model in the simulator's units, and who decides."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from lad_rllib import names
from lad_rllib.edge import DelayFit
from lad_rllib.envs.episodes import read_setting, setting_spec
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet import Fleet, FleetModel, FleetSpec, load_fleet
from lad_rllib.fleet.fleet import PROFILE_REPEATS, PROFILE_STEPS
from lad_rllib.runs import cluster
from lad_rllib.runs.fleet_options import FleetOptions
from lad_rllib.runs.progress import bars
from lad_rllib.runs.run_folder import newest_policy, scheduler_of
from lad_rllib.runs.worlds import AnySetting
from lad_rllib.scheduling import Heuristic, Scheduler
from lad_rllib.scheduling.by_name import make_scheduler
from lad_rllib.scheduling.request_scheduler import RequestScheduler
from lad_rllib.service import Dispatcher, RequestModel
from lad_rllib.simulator import Setting
from lad_rllib.simulator.requests import (
    RequestSetting,
    SlottedRequests,
    is_random_fleets,
    refuse_random_fleets,
    request_setting,
)


@contextmanager
def open_fleet(options: FleetOptions) -> Iterator[Fleet]:
    """Start the fleet that the options describe, or attach to it; ends what it started."""
    spec = load_fleet(options.fleet)
    if options.shared_fleet and options.in_process:
        raise ConfigurationError("--shared-fleet and --in-process contradict each other; give one of them")
    if not options.in_process:
        cluster.start_ray(options, num_cpus=len(spec.servers) + 2)
    if options.shared_fleet:
        fleet = Fleet.attach(spec)
    else:
        with bars() as progress:
            bar = progress.add_task(f"starting fleet {spec.name}: servers", total=len(spec.servers))

            def report(server: str, state: str) -> None:
                progress.advance(bar, state == "ready")

            fleet = Fleet.start(spec, in_process=options.in_process, report=report)
    with fleet:
        yield fleet


class Decider:
    """A scheduler and what it takes the fleet for.

    Args:
        name: ``names.POLICY``, or a scheduler without training.
        checkpoint: Checkpoint of the policy.
        explore: Whether the policy draws servers from its probabilities.
        one_by_one: Which form of a scheduler without training is taken if there are two: that for single requests, or
            that for slots.

    Attributes:
        title: What it is called: a scheduler's name, or that of the algorithm that trained the policy.
        setting: What the policy was trained on; None without training, and where that was random fleets.
        is_of_requests: Whether it decides request by request.
    """

    def __init__(self, name: str, checkpoint: str | None, explore: bool = True, one_by_one: bool = False) -> None:
        self.name = self.title = name
        self.setting: AnySetting | None = None
        self.scheduler: Scheduler | RequestScheduler
        if name != names.POLICY:
            self.scheduler = make_scheduler(name, one_by_one)
            return
        if checkpoint is None:
            raise ConfigurationError(
                f"scheduler {names.POLICY} needs --checkpoint, a folder that 'lad-rllib train' wrote"
            )
        saved = newest_policy(checkpoint)
        self.title, self.scheduler = saved.title, scheduler_of(saved, explore=explore)
        if not is_random_fleets(saved.setting):
            self.setting = (read_request_setting if self.is_of_requests else read_setting)(saved.setting)

    @property
    def is_of_requests(self) -> bool:
        """See the class."""
        return isinstance(self.scheduler, RequestScheduler)

    def check_fleet(self, spec: FleetSpec) -> None:
        """Refuse a fleet that it cannot decide for.

        Raises:
            ConfigurationError: if it was trained for another fleet, or needs a server where there is none.
        """
        if isinstance(self.setting, Setting):
            FleetModel.from_setting(self.setting).check_fleet(spec)
        if isinstance(self.scheduler, Heuristic):
            try:
                self.scheduler.check_stations(spec.home_server)
            except ConfigurationError as error:
                raise ConfigurationError(f"fleet {spec.name}: {error}") from None

    def dispatcher(
        self, fleet: Fleet, model: FleetModel, seed: int, requests: RequestModel | None = None
    ) -> Dispatcher:
        """A dispatcher that lets it decide for a fleet; ``requests`` are those that a scheduler of requests knows."""
        return Dispatcher(
            fleet.servers,
            model.network,
            model.work,
            self.scheduler,
            seed=seed,
            time_scale=fleet.spec.time_scale,
            slots_per_episode=self.setting.num_slots - 1 if isinstance(self.setting, Setting) else None,
            requests=requests,
        )


def fleet_model(fleet: Fleet, setting: AnySetting | None) -> FleetModel:
    """A fleet in the simulator's units: as the setting of a calibration says, else as its servers have found out.

    Raises:
        ConfigurationError: if the setting is of another fleet.
    """
    if not isinstance(setting, Setting):
        return FleetModel.from_fits(fleet.spec, measured_fits(fleet))
    model = FleetModel.from_setting(setting)
    model.check_fleet(fleet.spec)
    return model


def measured_fits(fleet: Fleet) -> list[DelayFit]:
    """The line of each server, as it has found out by itself.

    Only servers that have served too few images are measured now, which standard error says before it begins.
    """
    known = fleet.known_fits()
    unknown = [server.name for server, fit in zip(fleet.servers, known, strict=True) if fit is None]
    if unknown:
        images = len(PROFILE_STEPS) * PROFILE_REPEATS
        print(f"measuring unknown speeds: {images} images on each of {', '.join(unknown)}", file=sys.stderr)
    with bars() as progress:
        progress.add_task("measuring the servers", total=None)
        return fleet.profile(known=known)


def read_request_setting(source: str | Mapping[str, Any]) -> RequestSetting | SlottedRequests:
    """The setting that a name, a file or a dictionary stands for, played request by request."""
    spec = setting_spec(source) if isinstance(source, str) else source
    refuse_random_fleets(spec)
    return cast(RequestSetting | SlottedRequests, request_setting(spec))
