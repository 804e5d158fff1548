"""What the commands that run a fleet share: its arguments, its model in the simulator's units, and who decides."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lad_rllib import names
from lad_rllib.envs.episodes import read_setting
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet import Fleet, FleetModel, FleetSpec, load_fleet
from lad_rllib.fleet.fleet import PROFILE_REPEATS, PROFILE_STEPS
from lad_rllib.runs import cluster
from lad_rllib.runs.fleet_options import FleetOptions
from lad_rllib.runs.progress import bars
from lad_rllib.scheduling import HEURISTICS, Scheduler, make_heuristic
from lad_rllib.service import Dispatcher
from lad_rllib.simulator import Setting


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
        name: ``names.POLICY``, or a heuristic.
        checkpoint: Checkpoint of the policy.
        explore: Whether the policy draws servers from its probabilities.

    Attributes:
        title: What it is called: a heuristic's name, or that of the algorithm that trained the policy.
        setting: What the policy was trained on; None for a heuristic.
    """

    def __init__(self, name: str, checkpoint: str | None, explore: bool = True) -> None:
        self.name = self.title = name
        self.setting: Setting | None = None
        self.scheduler: Scheduler
        if name != names.POLICY:
            self.scheduler = make_heuristic(name)
            return
        if checkpoint is None:
            raise ConfigurationError(
                f"scheduler {names.POLICY} needs --checkpoint, a folder that 'lad-rllib train' wrote"
            )
        from lad_rllib.algorithms.common.policy import FleetPolicy
        from lad_rllib.runs.run_folder import newest_policy

        saved = newest_policy(checkpoint)
        self.scheduler, self.title = FleetPolicy.of_saved(saved, explore), saved.title
        self.setting = read_setting(saved.setting)

    def check_fleet(self, spec: FleetSpec) -> None:
        """Refuse a fleet that it cannot decide for.

        Raises:
            ConfigurationError: if it was trained for another fleet, or needs a server where there is none.
        """
        if self.setting is not None:
            FleetModel.from_setting(self.setting).check_fleet(spec)
        if self.name in HEURISTICS:
            try:
                HEURISTICS[self.name].check_stations(spec.home_server)
            except ConfigurationError as error:
                raise ConfigurationError(f"fleet {spec.name}: {error}") from None

    def dispatcher(self, fleet: Fleet, model: FleetModel, seed: int) -> Dispatcher:
        """A dispatcher that lets it decide for a fleet."""
        return Dispatcher(
            fleet.servers,
            model.network,
            model.work,
            self.scheduler,
            seed=seed,
            time_scale=fleet.spec.time_scale,
            slots_per_episode=self.setting.num_slots - 1 if self.setting else None,
        )


def fleet_model(fleet: Fleet, setting: Setting | None) -> FleetModel:
    """A fleet in the simulator's units: as the setting of a calibration says, else as its servers have found out.

    Only servers that have served too few images are measured now, which standard error says before it begins.

    Raises:
        ConfigurationError: if the setting is of another fleet.
    """
    if setting is None:
        known = fleet.known_fits()
        unknown = [server.name for server, fit in zip(fleet.servers, known, strict=True) if fit is None]
        if unknown:
            images = len(PROFILE_STEPS) * PROFILE_REPEATS
            print(f"measuring unknown speeds: {images} images on each of {', '.join(unknown)}", file=sys.stderr)
        with bars() as progress:
            progress.add_task("measuring the servers", total=None)
            return FleetModel.from_fits(fleet.spec, fleet.profile(known=known))
    model = FleetModel.from_setting(setting)
    model.check_fleet(fleet.spec)
    return model
