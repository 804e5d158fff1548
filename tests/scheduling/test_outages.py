"""Requests played again with servers that were lost: numbers by hand, and the simulator's where nothing is lost."""

from dataclasses import replace

import numpy as np
import pytest

from lad_rllib.scheduling.outages import Outage, Past, play_again, play_as_sent
from lad_rllib.scheduling.request_scheduler import REQUEST_SCHEDULERS, RequestScheduler, play_requests
from lad_rllib.simulator.requests import LinearService, RequestServer, RequestWorld, plain_requests

LEAST = REQUEST_SCHEDULERS["least-work-left"]


class First(RequestScheduler):
    """Sends all to the first server that is up."""

    def choose(self, view, rng):
        """See the base."""
        return int(np.flatnonzero(view.up)[0])


def world_of(*per_step_s):
    """Servers that take so long for a step [s]."""
    servers = (RequestServer(f"s{i}", {"": LinearService(per_step_s=s)}) for i, s in enumerate(per_step_s))
    return RequestWorld(tuple(servers))


def past_of(world, requests, up=None, outages=()):
    """Requests on a world; without ``up`` all servers always were."""
    up = np.ones((len(requests), world.num_servers), bool) if up is None else np.array(up, bool)
    return Past(world, requests, world.timing(requests), up, outages)


@pytest.mark.parametrize("name", REQUEST_SCHEDULERS)
def test_without_outages_it_is_the_simulator(name):
    world, rng = world_of(0.1, 0.2, 0.3), np.random.default_rng(3)
    requests = plain_requests(np.cumsum(rng.exponential(0.8, 60)), steps=rng.integers(5, 40, 60).astype(float))
    rule = REQUEST_SCHEDULERS[name]
    expected = play_requests(rule(), world, requests, requests, np.random.default_rng(0)).delay_s
    np.testing.assert_allclose(play_again(rule, past_of(world, requests)), expected, atol=1e-9)


def test_a_lost_server_loses_what_it_has_and_others_serve_it_from_the_start():
    # 10 s of work each: at 0, 1 and 2 to s0. It is down at 4 for the request that comes then: the first has 6 s left.
    world, requests = world_of(1.0, 0.5), plain_requests([0.0, 1.0, 2.0, 4.0, 60.0], steps=10)
    up = [(1, 1), (1, 1), (1, 1), (0, 1), (1, 1)]
    delay_s = play_again(First, past_of(world, requests, up, [Outage(0, 3)]))
    # At s1, 5 s each: the first again from 4 to 9, the second to 14, the third to 19, the fourth to 24; s0 idle at 60.
    assert delay_s.tolist() == pytest.approx([9.0, 13.0, 17.0, 20.0, 10.0])


def test_a_server_that_drains_keeps_what_it_has():
    world, requests = world_of(1.0, 0.5), plain_requests([0.0, 1.0, 4.0], steps=10)
    delay_s = play_again(First, past_of(world, requests, [(1, 1), (1, 1), (0, 1)]))
    assert delay_s.tolist() == pytest.approx([10.0, 19.0, 5.0])


def test_what_a_server_lost_goes_to_one_that_has_its_model():
    # s0 and s2 have the model of the first and third request, s1 and s2 that of the second; s0 is lost at 4 s, with the
    # first, and the request that comes then is of the other model.
    world, requests = world_of(1.0, 1.0, 1.0), plain_requests([0.0, 4.0, 5.0], steps=10)
    has = np.array([(1, 0, 1), (0, 1, 1), (1, 0, 1)], bool)
    past = replace(past_of(world, requests, [(1, 1, 1), (0, 1, 1), (0, 1, 0)], [Outage(0, 1)]), has=has)
    # The first again at s2 from 4 to 14; the second at s1 from 4 to 14; for the third no server of its model is up:
    # it goes to s0 as if that were.
    assert play_again(First, past).tolist() == pytest.approx([14.0, 10.0, 10.0])
    assert play_as_sent(np.array([0, 1, 2]), past).tolist() == pytest.approx([14.0, 10.0, 19.0])
    assert past.open_to(0, 1).tolist() == [False, False, True] and past.open_to(2, 2).tolist() == [True, False, True]


def test_one_request_may_be_lost_twice():
    world, requests = world_of(1.0, 1.0, 1.0), plain_requests([0.0, 3.0, 6.0], steps=10)
    up = [(1, 1, 1), (0, 1, 1), (0, 0, 1)]
    delay_s = play_again(First, past_of(world, requests, up, [Outage(0, 1), Outage(1, 2)]))
    # The first: s0 to 3, s1 from 3 to 6, s2 from 6 to 16. The second waits at s1, then for s2 until 26.
    assert delay_s.tolist() == pytest.approx([16.0, 23.0, 30.0])


def test_the_decisions_before_an_outage_are_those_without_it():
    world, rng = world_of(0.1, 0.15), np.random.default_rng(5)
    requests = plain_requests(np.cumsum(rng.exponential(1.5, 80)), steps=rng.integers(5, 40, 80).astype(float))
    up = np.ones((80, 2), bool)
    up[40:60, 0] = False
    whole, cut = (play_again(LEAST, past_of(world, requests, up, lost)) for lost in ([], [Outage(0, 40)]))
    unlike = np.flatnonzero(~np.isclose(whole, cut))
    assert 30 <= unlike.min() < 40 and (cut >= whole - 1e-9).all()


def test_while_no_server_is_up_requests_are_sent_all_the_same():
    world, requests = world_of(1.0), plain_requests([0.0, 1.0], steps=10)
    assert play_again(First, past_of(world, requests, [(0,), (0,)])).tolist() == pytest.approx([10.0, 19.0])


def test_what_was_sent_is_played_and_what_a_server_lost_goes_where_it_is_done_first():
    # As with First above, but the last was sent to s1 although s0 was up again.
    world, requests = world_of(1.0, 0.5), plain_requests([0.0, 1.0, 2.0, 4.0, 60.0], steps=10)
    up = [(1, 1), (1, 1), (1, 1), (0, 1), (1, 1)]
    delay_s = play_as_sent(np.array([0, 0, 0, 1, 1]), past_of(world, requests, up, [Outage(0, 3)]))
    assert delay_s.tolist() == pytest.approx([9.0, 13.0, 17.0, 20.0, 5.0])
    assert play_as_sent(np.array([1, 1, 1, 1, 1]), past_of(world, requests)).tolist() == pytest.approx(
        [5.0, 9.0, 13.0, 16.0, 5.0]
    )
