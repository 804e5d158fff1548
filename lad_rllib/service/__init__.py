"""Prompts in, images out: dispatch over edge servers by any scheduler."""

from lad_rllib.service.books import ServerBook
from lad_rllib.service.delivery import Delivery
from lad_rllib.service.dispatcher import Dispatcher
from lad_rllib.service.health import HealthWatch
from lad_rllib.service.pending import Server
from lad_rllib.service.work_model import WorkModel, fit_fleet

__all__ = ["Delivery", "Dispatcher", "HealthWatch", "Server", "ServerBook", "WorkModel", "fit_fleet"]
