"""A fleet in the simulator's units, so that a policy trained in a simulator of it transfers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lad_rllib.edge.fit import DelayFit
from lad_rllib.edge.task import MAX_DENOISING_STEPS, MAX_TRANSFER_MBIT
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet.spec import FleetSpec
from lad_rllib.service.work_model import WorkModel, fit_fleet
from lad_rllib.simulator import EdgeNetwork, Setting, build_setting

NO_LINK_MBIT_PER_S = 1e6
"""Rate that stands for a server without an emulated link: 1 Mbit takes a microsecond."""

PROMPT_MBIT = (0.016, 0.02)
"""Size of a request with a prompt of up to 450 letters, see ``ImageTask.upload_mbit`` [Mbit]."""


@dataclass(frozen=True)
class FleetModel:
    """A fleet as a dispatcher and a simulator see it.

    Attributes:
        network: Base stations, capacities and links of the servers.
        work: Work of an image.
    """

    network: EdgeNetwork
    work: WorkModel

    @classmethod
    def from_fits(
        cls,
        spec: FleetSpec,
        fits: Sequence[DelayFit],
        *,
        typical_steps: float = 10.0,
        result_mbit: float = 0.8,
        slot_s: float = 1.0,
    ) -> FleetModel:
        """A fleet as it was measured; see :func:`~lad_rllib.service.work_model.fit_fleet` for what is approximated.

        Args:
            spec: The fleet.
            fits: Delay model of each server (``Fleet.profile``).
            typical_steps: Denoising steps at which capacities are exact.
            result_mbit: Size of an image [Mbit].
            slot_s: Length of a slot [s].
        """
        work, capacity = fit_fleet(fits, typical_steps)
        rates = [server.link_rate_mbit_per_s or NO_LINK_MBIT_PER_S for server in spec.servers]
        home = np.array(spec.home_server, dtype=np.int64)
        network = EdgeNetwork(spec.stations, capacity, np.array(rates), home, slot_s)
        return cls(network, WorkModel(work.density_gcycles_per_step, work.overhead_steps, result_mbit))

    @classmethod
    def from_setting(cls, setting: Setting) -> FleetModel:
        """The fleet that a setting from a calibration is of.

        Raises:
            ConfigurationError: if the setting's tasks have more than one computing density (it is of no fleet), or are
                larger than edge servers take.
        """
        arrivals = setting.spec["arrivals"]
        density = arrivals.get("density_gcycles_per_step")
        if not density or density[0] != density[1]:
            raise ConfigurationError(
                f"setting {setting.name} is not of a fleet: its tasks have unequal computing densities; make one with "
                "'lad-rllib fleet calibrate'"
            )
        for name, most in (("task_mbit", MAX_TRANSFER_MBIT), ("denoising_steps", MAX_DENOISING_STEPS)):
            if name in arrivals and np.max(arrivals[name]) > most:
                raise ConfigurationError(
                    f"setting {setting.name} has {name} up to {np.max(arrivals[name]):g}; a fleet takes up to {most:g}"
                )
        result = float(np.mean(arrivals["result_mbit"]))
        return cls(setting.network, WorkModel(density[0], arrivals["overhead_steps"], result))

    def check_fleet(self, spec: FleetSpec) -> None:
        """Refuse a fleet of another shape.

        Raises:
            ConfigurationError: naming both.
        """
        own = (self.network.num_stations, self.network.num_servers)
        if own != (spec.stations, len(spec.servers)):
            raise ConfigurationError(
                f"fleet {spec.name} has {spec.stations} base stations and {len(spec.servers)} edge servers, "
                f"the setting has {own[0]} and {own[1]}; make a setting of this fleet with 'lad-rllib fleet calibrate'"
            )

    def predict_s(self, server: int, denoising_steps: float) -> float:
        """Computing delay of an image on a server, as the simulator has it [s]."""
        return self.work.workload_gcycles(denoising_steps) / float(self.network.capacity_gcycles_per_s[server])

    def spec(
        self,
        name: str,
        *,
        slots: int = 60,
        max_tasks: int = 10,
        denoising_steps: tuple[int, int] = (10, 19),
        load: float = 1.2,
        slot_s: float | None = None,
    ) -> dict[str, Any]:
        """Settings dictionary of a simulator of this fleet, for :func:`~lad_rllib.simulator.build_setting`.

        Args:
            name: Name in results.
            slots: Slots of an episode.
            max_tasks: Most tasks of a station in a slot; each number from 1 is equally likely, as in the paper.
            denoising_steps: Fewest and most steps of a task; 10 to 19 in the prototype of arXiv 2412.18212.
            load: Offered work over capacity; decides the length of a slot.
            slot_s: Length of a slot [s]; None: as the load demands.

        Raises:
            ConfigurationError: for numbers that make no setting.
        """
        if slot_s is None and not load > 0:
            raise ConfigurationError(f"load must be positive, got {load}")
        network, work = self.network, self.work
        spec: dict[str, Any] = {
            "preset": "paper",
            "name": name,
            "slots": slots,
            "slot_s": 1.0 if slot_s is None else slot_s,
            "network": {
                "stations": network.num_stations,
                "capacity_gcycles_per_s": network.capacity_gcycles_per_s.tolist(),
                "link_rate_mbit_per_s": network.link_rate_mbit_per_s.tolist(),
                "home_server": network.home_server.tolist(),
            },
            "arrivals": {
                "source": "uniform",
                "max_tasks": max_tasks,
                "attributes": "per_task",
                "task_mbit": list(PROMPT_MBIT),
                "denoising_steps": list(denoising_steps),
                "density_gcycles_per_step": [work.density_gcycles_per_step] * 2,
                "result_mbit": [work.result_mbit] * 2,
                "overhead_steps": work.overhead_steps,
            },
        }
        if slot_s is None:
            spec["slot_s"] = build_setting(spec).load / load  # with slots of 1 s, the load is the work of a second
        return spec
