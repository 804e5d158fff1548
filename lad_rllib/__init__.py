"""Learned scheduling of text-to-image requests on edge networks, as RLlib algorithms.

``__all__`` is the public API. Each name loads its room when it is first used, so that ``import lad_rllib`` loads
neither torch nor ray.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from lad_rllib.registry import register, register_with_gymnasium

if TYPE_CHECKING:
    from lad_rllib.algorithms import (
        CONFIGS,
        D2SACTS,
        DQNTS,
        LADPMD,
        LADTS,
        SACTS,
        D2SACTSConfig,
        DQNTSConfig,
        LADPMDConfig,
        LADTSConfig,
        SACTSConfig,
    )
    from lad_rllib.algorithms.common.config import FleetConfig
    from lad_rllib.algorithms.common.policy import FleetPolicy
    from lad_rllib.algorithms.lad_dispatch import (
        DispatchPolicy,
        LADDispatch,
        LADDispatchConfig,
        load_request_scheduler,
    )
    from lad_rllib.algorithms.soft_actor_critic import SoftActorCriticConfig
    from lad_rllib.edge import (
        DiffusersEngine,
        EdgeError,
        EdgeServer,
        EmulatedEngine,
        ImageTask,
        RemoteEdgeServer,
        TaskRecord,
        TaskResult,
        edge_server_actor,
    )
    from lad_rllib.envs import (
        FleetVectorEnv,
        LiveFleetVectorEnv,
        RequestFleetEnv,
        StationCallback,
        StationMultiAgentEnv,
        YardstickCallback,
    )
    from lad_rllib.errors import ConfigurationError, TrainingDiverged
    from lad_rllib.fleet import (
        SERVER_KINDS,
        Fleet,
        FleetSpec,
        ServerSpec,
        calibrate,
        load_fleet,
    )
    from lad_rllib.scheduling import (
        HEURISTICS,
        Heuristic,
        Scheduler,
        lower_bound_s,
        make_heuristic,
        play,
        schedule_quality,
    )
    from lad_rllib.scheduling.by_name import make_scheduler
    from lad_rllib.scheduling.request_scheduler import RequestScheduler, play_requests
    from lad_rllib.service import Delivery, Dispatcher, fit_fleet
    from lad_rllib.simulator import (
        ARRIVALS,
        PENALTIES,
        DelayPenalty,
        EdgeNetwork,
        Setting,
        SyntheticFields,
        build_setting,
        load_setting,
        marginal_costs_s,
    )
    from lad_rllib.simulator.requests import (
        TRAFFIC,
        DrawnFields,
        Requests,
        RequestSetting,
        build_request_setting,
        read_requests,
        write_requests,
    )

__version__ = "0.2.0"

__all__ = [
    "D2SACTS",
    "DQNTS",
    "HEURISTICS",
    "LADPMD",
    "LADTS",
    "SACTS",
    "ConfigurationError",
    "D2SACTSConfig",
    "DQNTSConfig",
    "Delivery",
    "DiffusersEngine",
    "DispatchPolicy",
    "Dispatcher",
    "EdgeError",
    "EdgeNetwork",
    "EdgeServer",
    "EmulatedEngine",
    "Fleet",
    "FleetPolicy",
    "FleetSpec",
    "FleetVectorEnv",
    "ImageTask",
    "LADDispatch",
    "LADDispatchConfig",
    "LADPMDConfig",
    "LADTSConfig",
    "LiveFleetVectorEnv",
    "RemoteEdgeServer",
    "RequestFleetEnv",
    "RequestScheduler",
    "SACTSConfig",
    "Scheduler",
    "Setting",
    "StationCallback",
    "StationMultiAgentEnv",
    "TaskRecord",
    "TaskResult",
    "TrainingDiverged",
    "YardstickCallback",
    "__version__",
    "build_setting",
    "calibrate",
    "edge_server_actor",
    "fit_fleet",
    "load_fleet",
    "load_request_scheduler",
    "load_setting",
    "lower_bound_s",
    "make_heuristic",
    "make_scheduler",
    "marginal_costs_s",
    "play",
    "play_requests",
    "register",
    "schedule_quality",
    "CONFIGS",
    "FleetConfig",
    "SoftActorCriticConfig",
    "SERVER_KINDS",
    "ServerSpec",
    "Heuristic",
    "ARRIVALS",
    "PENALTIES",
    "DelayPenalty",
    "SyntheticFields",
    "build_request_setting",
    "DrawnFields",
    "read_requests",
    "Requests",
    "RequestSetting",
    "TRAFFIC",
    "write_requests",
]

_NAMES_OF_ROOM = {
    "algorithms": (
        "CONFIGS D2SACTS D2SACTSConfig DQNTS DQNTSConfig LADPMD LADPMDConfig LADTS LADTSConfig SACTS SACTSConfig"
    ),
    "algorithms.common.config": "FleetConfig",
    "algorithms.common.policy": "FleetPolicy",
    "algorithms.lad_dispatch": "DispatchPolicy LADDispatch LADDispatchConfig load_request_scheduler",
    "algorithms.soft_actor_critic": "SoftActorCriticConfig",
    "edge": (
        "DiffusersEngine edge_server_actor EdgeError EdgeServer EmulatedEngine ImageTask RemoteEdgeServer "
        "TaskRecord TaskResult"
    ),
    "envs": "FleetVectorEnv LiveFleetVectorEnv RequestFleetEnv StationCallback StationMultiAgentEnv YardstickCallback",
    "errors": "ConfigurationError TrainingDiverged",
    "fleet": "calibrate Fleet FleetSpec load_fleet SERVER_KINDS ServerSpec",
    "scheduling": "Heuristic HEURISTICS lower_bound_s make_heuristic play schedule_quality Scheduler",
    "scheduling.by_name": "make_scheduler",
    "scheduling.request_scheduler": "RequestScheduler play_requests",
    "service": "Delivery Dispatcher fit_fleet",
    "simulator": (
        "ARRIVALS build_setting DelayPenalty EdgeNetwork load_setting marginal_costs_s PENALTIES Setting "
        "SyntheticFields"
    ),
    "simulator.requests": (
        "build_request_setting DrawnFields read_requests Requests RequestSetting TRAFFIC write_requests"
    ),
}
_ROOM_OF_NAME = {name: room for room, names in _NAMES_OF_ROOM.items() for name in names.split()}
_FORMER = {"LADTSPolicy": "FleetPolicy for tasks of a slot, DispatchPolicy for requests one by one"}

register_with_gymnasium()


def __getattr__(name: str) -> object:
    if name not in _ROOM_OF_NAME:
        instead = f"; it is now {_FORMER[name]}" if name in _FORMER else ""
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{instead}")
    value = getattr(import_module(f"{__name__}.{_ROOM_OF_NAME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
