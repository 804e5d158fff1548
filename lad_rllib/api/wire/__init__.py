"""What clients send and get: OpenAI's Images API with the extensions that other image servers have, too."""

from lad_rllib.api.wire.base import Answer, Error, ErrorDetail
from lad_rllib.api.wire.fleet import Changed, Fleet, FleetFile, Health, NewServer, Replay, Replays, ServerRow
from lad_rllib.api.wire.images import Deleted, Image, ImageRequest, Images, JobRequest, JobStatus, Model, Models, Served
from lad_rllib.api.wire.policies import NewPolicy, NewTrial, Policies, PolicyLook, PolicyRecord, Tried

__all__ = [
    "Answer",
    "Changed",
    "Deleted",
    "Error",
    "ErrorDetail",
    "Fleet",
    "FleetFile",
    "Health",
    "Image",
    "ImageRequest",
    "Images",
    "JobRequest",
    "JobStatus",
    "Model",
    "Models",
    "NewPolicy",
    "NewServer",
    "NewTrial",
    "Policies",
    "PolicyLook",
    "PolicyRecord",
    "Replay",
    "Replays",
    "Served",
    "ServerRow",
    "Tried",
]
