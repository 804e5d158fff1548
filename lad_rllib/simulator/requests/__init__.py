"""Requests that come one by one: what they ask for, how long servers take, in which order, and how they fared."""

from lad_rllib.simulator.requests.fitted_service import FittedService, explained, fit_service
from lad_rllib.simulator.requests.log import RequestLog, read_log, read_requests, write_requests
from lad_rllib.simulator.requests.mixes import ImageKind, Mix
from lad_rllib.simulator.requests.processes import (
    BurstyFields,
    DailyFields,
    DrawnFields,
    PoissonFields,
    SlottedFields,
)
from lad_rllib.simulator.requests.random_fleets import (
    RANDOM_FLEETS,
    RandomFleets,
    build_random_fleets,
    held_out,
    is_random_fleets,
    random_fleet_groups,
    random_fleets_schema,
    refuse_random_fleets,
)
from lad_rllib.simulator.requests.recorded import RecordedFields
from lad_rllib.simulator.requests.requests import Requests, ServedRequests, plain_requests
from lad_rllib.simulator.requests.service_model import (
    SERVICE_MODELS,
    LinearService,
    ServiceModel,
    make_service_model,
)
from lad_rllib.simulator.requests.setting import (
    REQUEST_PRESETS,
    RequestSetting,
    build_request_setting,
    is_request_spec,
    override_request_spec,
    request_setting_groups,
    request_setting_schema,
)
from lad_rllib.simulator.requests.settings_in_turn import SettingsInTurn
from lad_rllib.simulator.requests.slotted import SlottedRequests, request_setting
from lad_rllib.simulator.requests.traffic import TRAFFIC, Sent, Traffic, TrafficFields
from lad_rllib.simulator.requests.world import (
    FACTS,
    RequestServer,
    RequestWorld,
    Timing,
    slotted_requests,
    slotted_world,
    timing_of,
)

__all__ = [
    "RANDOM_FLEETS",
    "RandomFleets",
    "build_random_fleets",
    "held_out",
    "is_random_fleets",
    "random_fleet_groups",
    "random_fleets_schema",
    "refuse_random_fleets",
    "FittedService",
    "explained",
    "fit_service",
    "RequestLog",
    "read_log",
    "read_requests",
    "write_requests",
    "RecordedFields",
    "FACTS",
    "SERVICE_MODELS",
    "SettingsInTurn",
    "LinearService",
    "RequestServer",
    "RequestWorld",
    "Requests",
    "ServedRequests",
    "ServiceModel",
    "SlottedRequests",
    "Timing",
    "make_service_model",
    "plain_requests",
    "slotted_requests",
    "slotted_world",
    "timing_of",
    "ImageKind",
    "Mix",
    "BurstyFields",
    "DailyFields",
    "DrawnFields",
    "PoissonFields",
    "SlottedFields",
    "REQUEST_PRESETS",
    "RequestSetting",
    "build_request_setting",
    "is_request_spec",
    "override_request_spec",
    "request_setting",
    "request_setting_groups",
    "request_setting_schema",
    "TRAFFIC",
    "Sent",
    "Traffic",
    "TrafficFields",
]
