"""Edge servers: a bounded queue in front of an image engine, emulated or real, in this process or as a Ray actor.

Importing this room imports neither torch nor diffusers nor ray; the names that need them load them when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lad_rllib.edge.embedded import embedded_model_path
from lad_rllib.edge.engines.emulated import EmulatedEngine
from lad_rllib.edge.engines.engine import Engine, EngineDescription, EngineOutput
from lad_rllib.edge.engines.memory import MEMORY_PROFILES
from lad_rllib.edge.engines.paced import PacedEngine
from lad_rllib.edge.engines.profiles import DeviceProfile, get_profile, load_profiles
from lad_rllib.edge.errors import (
    EDGE_ERRORS,
    DeadlineExceeded,
    DeviceBroken,
    EdgeError,
    GenerationFailed,
    InvalidRequest,
    ModelLoadFailed,
    NonFiniteImage,
    OutOfMemory,
    QueueFull,
    ServerUnavailable,
    TaskCancelled,
)
from lad_rllib.edge.fit import DelayFit, DelayModel, fit_delay
from lad_rllib.edge.record import TaskRecord, TaskResult
from lad_rllib.edge.server import EdgeServer
from lad_rllib.edge.status import ServerHealth, ServerStatus, TaskProgress
from lad_rllib.edge.task import ImageTask
from lad_rllib.late import late_names

if TYPE_CHECKING:
    from lad_rllib.edge.client import ServerClient, edge_error
    from lad_rllib.edge.engines.diffusers import DiffusersEngine
    from lad_rllib.edge.remote import RemoteEdgeServer, edge_server_actor

__all__ = [
    "EDGE_ERRORS",
    "MEMORY_PROFILES",
    "DeadlineExceeded",
    "DelayFit",
    "DelayModel",
    "DeviceBroken",
    "DeviceProfile",
    "DiffusersEngine",
    "EdgeError",
    "EdgeServer",
    "EmulatedEngine",
    "Engine",
    "EngineDescription",
    "EngineOutput",
    "GenerationFailed",
    "ImageTask",
    "InvalidRequest",
    "ModelLoadFailed",
    "NonFiniteImage",
    "OutOfMemory",
    "PacedEngine",
    "QueueFull",
    "RemoteEdgeServer",
    "ServerClient",
    "ServerHealth",
    "ServerStatus",
    "ServerUnavailable",
    "TaskCancelled",
    "TaskProgress",
    "TaskRecord",
    "TaskResult",
    "edge_error",
    "edge_server_actor",
    "embedded_model_path",
    "fit_delay",
    "get_profile",
    "load_profiles",
]

__getattr__ = late_names(
    __name__,
    {
        "client": "ServerClient edge_error",
        "engines.diffusers": "DiffusersEngine",
        "remote": "RemoteEdgeServer edge_server_actor",
    },
)
