"""Tasks of slots as requests, decided one by one or at once."""

import numpy as np
import pytest

from lad_rllib.errors import ConfigurationError
from lad_rllib.scheduling.by_name import make_scheduler
from lad_rllib.scheduling.request_scheduler import play_requests
from lad_rllib.simulator.requests import request_setting


def test_tasks_of_a_slot_that_are_decided_at_once_all_take_the_queue_that_was_shortest_when_it_began():
    settings = [request_setting({"preset": "small", "at_once": at_once}) for at_once in (True, False)]
    assert "at once at the start of their slot" in settings[0].summary() and "one by one" in settings[1].summary()
    assert request_setting(settings[0].spec).world.at_once and "at_once" not in settings[1].spec
    requests = settings[0].draw(np.random.default_rng(0))
    servers = []
    for setting in settings:
        rule, rng = make_scheduler("join-shortest-queue", one_by_one=True), np.random.default_rng(0)
        servers.append(play_requests(rule, setting.world, requests, setting.history(), rng).server)
    of_slot = [np.unique(servers[0][requests.arrival_s == slot]) for slot in np.unique(requests.arrival_s)]
    assert {len(each) for each in of_slot} == {1} and len(np.unique(servers[0])) > 1
    assert len(np.unique(servers[1][requests.arrival_s == 0.0])) > 1


def test_what_is_neither_true_nor_false_is_refused():
    with pytest.raises(ConfigurationError, match="at_once must be true or false"):
        request_setting({"preset": "small", "at_once": "yes"})
