"""Fleets: edge servers described in a file and started together, over a Ray cluster or in this process.

Importing this room imports neither torch nor diffusers nor ray; :class:`Fleet` loads ray when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lad_rllib.fleet.server_kinds import DiffusersServer, EmulatedServer, HttpServer
from lad_rllib.fleet.server_spec import SERVER_KINDS, FileKeys, ServerSpec
from lad_rllib.fleet.spec import FleetSpec, fleet_schema, load_fleet
from lad_rllib.late import late_names
from lad_rllib.names import SHIPPED_FLEETS

if TYPE_CHECKING:
    from lad_rllib.fleet.calibration import Calibration, calibrate, calibration_of_images
    from lad_rllib.fleet.fleet import Fleet
    from lad_rllib.fleet.model import FleetModel
    from lad_rllib.fleet.validation import compare_schedules

__all__ = [
    "SERVER_KINDS",
    "SHIPPED_FLEETS",
    "Calibration",
    "DiffusersServer",
    "EmulatedServer",
    "FileKeys",
    "Fleet",
    "FleetModel",
    "FleetSpec",
    "HttpServer",
    "ServerSpec",
    "calibrate",
    "calibration_of_images",
    "compare_schedules",
    "fleet_schema",
    "load_fleet",
]

__getattr__ = late_names(
    __name__,
    {
        "calibration": "Calibration calibrate calibration_of_images",
        "fleet": "Fleet",
        "model": "FleetModel",
        "validation": "compare_schedules",
    },
)
