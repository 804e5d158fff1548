"""Prompts in, images out: dispatch over edge servers by any scheduler."""

from lad_rllib.service.decision_log import DecisionLog
from lad_rllib.service.delivery import Delivery
from lad_rllib.service.dispatcher import Dispatcher
from lad_rllib.service.health import HealthWatch
from lad_rllib.service.in_flight import Server, TaskHandle
from lad_rllib.service.live_run import LiveRun, serve
from lad_rllib.service.offer import Offer
from lad_rllib.service.progress import Progress
from lad_rllib.service.prompts import image_tasks, read_prompts, tasks_of_arrivals, tasks_of_episode, tasks_of_requests
from lad_rllib.service.request_model import RequestModel
from lad_rllib.service.server_load import ServerLoad
from lad_rllib.service.work_model import WorkModel, fit_fleet

__all__ = [
    "DecisionLog",
    "Delivery",
    "Dispatcher",
    "HealthWatch",
    "LiveRun",
    "Offer",
    "Progress",
    "RequestModel",
    "Server",
    "ServerLoad",
    "TaskHandle",
    "WorkModel",
    "fit_fleet",
    "image_tasks",
    "read_prompts",
    "serve",
    "tasks_of_arrivals",
    "tasks_of_episode",
    "tasks_of_requests",
]
