"""The latest requests, played again with other schedulers."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from lad_rllib.api.admission import Prediction
from lad_rllib.api.shadow import FEWEST, RIVALS, SENT, Seen, from_least_work, past_of
from lad_rllib.api.wire import Replays
from lad_rllib.edge import ImageTask
from lad_rllib.edge.record import TaskRecord
from lad_rllib.scheduling.outages import Outage, play_again
from lad_rllib.scheduling.request_scheduler import REQUEST_SCHEDULERS, RequestScheduler
from lad_rllib.service import Delivery, Offer
from lad_rllib.service.guarded import GuardedScheduler
from lad_rllib.service.in_flight import TaskHandle
from lad_rllib.simulator.requests import LinearService, RequestServer, RequestWorld
from tests.api.running import Slow, refused, service
from tests.service.fleets import until

FIGURES = ("mean_s", "p50_s", "p95_s", "p99_s", "slo")


class Second(RequestScheduler):
    """Sends everything to the second server."""

    def choose(self, view, rng):
        """See the class."""
        return 1


def replays(running):
    """The rows by scheduler, and all that was told."""
    told = Replays.model_validate(running.client.get("/v1/fleet/shadow").json())
    return {row.scheduler: row for row in told.rows}, told


def test_reality_stands_beside_the_present_scheduler_and_its_rivals():
    decisions = []
    guarded = GuardedScheduler(REQUEST_SCHEDULERS["least-work-left"](), "least-work-left", decisions.append)
    with service([400, 200], guarded, slo_s=0.2) as running:
        steps = [4, 8, 40] * 10
        with ThreadPoolExecutor(4) as clients:
            drawn = list(clients.map(lambda number: running.draw(num_inference_steps=number).json(), steps))
        rows, told = replays(running)
        latest = running.client.get("/v1/fleet/shadow", params={"latest": FEWEST}).json()["requests"]
    assert (told.requests, told.outages) == (30, 0)
    assert len(decisions) <= 31  # one when it began; none of the replay
    assert list(rows) == ["as it was", "the present one", *RIVALS]
    delays_s = np.array([one["served"]["delay_s"] for one in drawn])
    assert rows["as it was"].mean_s == pytest.approx(delays_s.mean(), abs=1e-3)
    assert rows["as it was"].p95_s == pytest.approx(np.percentile(delays_s, 95), abs=1e-3)
    assert rows["as it was"].slo == pytest.approx((delays_s <= 0.2).mean(), abs=1e-3)
    assert FEWEST / 2 <= latest <= FEWEST
    present, same = rows["the present one"], rows["least-work-left"]
    assert [getattr(present, name) for name in FIGURES] == [getattr(same, name) for name in FIGURES]


def test_few_requests_say_nothing_and_a_scheduler_of_slots_is_not_played():
    with service([2000]) as running:
        for _ in range(FEWEST - 1):
            running.draw(num_inference_steps=1)
        assert replays(running)[1].rows == []
        running.draw(num_inference_steps=1)
        assert list(replays(running)[0]) == ["as it was", *RIVALS]


def test_requests_behind_one_in_flight_and_those_that_failed_are_left_out():
    with service([100, 10]) as running:
        for _ in range(FEWEST):
            running.draw(num_inference_steps=1)
        slow = Slow(running, 200)
        running.draw(num_inference_steps=1)
        assert replays(running)[1].requests == FEWEST
        slow.leave()
        until(lambda: not running.gateway.jobs.in_flight)
        assert replays(running)[1].requests == FEWEST + 1


def test_it_is_for_those_who_may_change_the_service():
    with service([2000]) as running:
        refused(running.client.get("/v1/fleet/shadow", headers={"via": "a proxy"}), 403, "not_admin")


def seen(number, arrival_s, states, server, drawing_s, between_s=0.0, attempts=1, chosen=""):
    """A request of ten steps that came to two servers, s0 with 1 s a step and s1 with 0.5 s."""
    service_s, nothing = np.array([10.0, 5.0]), np.zeros(2)
    up = np.array([state == "up" for state in states])
    prediction = Prediction(("s0", "s1"), states, service_s, nothing, up, nothing, service_s, nothing, 1.0)
    task = ImageTask(f"t{number}", "x", 10)
    values = {"task_id": task.task_id, "server": server, "computing_s": drawing_s, "width": 512, "height": 512}
    served = TaskRecord(**dict.fromkeys(TaskRecord.__dataclass_fields__, 0) | values)
    delivery = Delivery(task, 0, server, attempts, between_s, served, arrival_s=arrival_s)
    handle = TaskHandle(lambda: None)
    handle.chosen = chosen or server
    return Seen(prediction, task, handle, arrival_s, delivery)


def test_the_past_has_measured_times_servers_that_were_lost_and_those_that_drained():
    world = RequestWorld(tuple(RequestServer(name, {"": LinearService(per_step_s=1.0)}) for name in ("s0", "s1")))
    both = ("up", "up")
    requests = [
        seen(0, 100.0, both, "s0", 12.0, 0.25),
        seen(1, 101.0, ("down", "up"), "s1", 5.0, 4.0, attempts=2),
        seen(2, 105.0, ("up", "draining"), "s0", 10.0, 0.75),
    ]
    past = past_of(requests, world, ["s0", "s1"])
    assert past.requests.arrival_s.tolist() == [0.0, 1.0, 5.0]
    assert past.timing.actual_s.tolist() == [[12.0, 6.0], [10.0, 5.0], [10.0, 5.0]]
    assert past.up.tolist() == [[True, True], [False, True], [True, False]] and past.outages == [Outage(0, 1)]
    # The first goes to s1 and takes 6 s there; the second waits for it; the third has s0 to itself. On the way they are
    # as long as they were, the second, which was sent twice, as long as the others in the median.
    quick = play_again(REQUEST_SCHEDULERS["shortest-expected-delay"], past)
    assert quick.tolist() == pytest.approx([6.25, 10.5, 10.75])


def test_a_replay_begins_where_the_servers_had_least_to_do_in_the_first_half():
    requests = []
    for number, wait_s in enumerate([[5.0, 4.0], [1.0, 0.5], [0.5, 0.0], [2.0, 2.0], [0.0, 0.0], [0.0, 0.0]]):
        one = seen(number, float(number), ("up", "up"), "s0", 10.0)
        requests.append(replace(one, prediction=replace(one.prediction, wait_s=np.array(wait_s))))
    assert [one.task.task_id for one in from_least_work(requests)] == ["t2", "t3", "t4", "t5"]
    assert from_least_work(requests[:1]) == requests[:1]


def test_a_request_that_has_not_ended_is_taken_to_need_what_was_predicted():
    world = RequestWorld(tuple(RequestServer(name, {"": LinearService(per_step_s=1.0)}) for name in ("s0", "s1")))
    ended, open_one = (seen(number, float(number), ("up", "up"), "s0", 20.0, 0.5) for number in range(2))
    open_one.delivery = None
    past = past_of([ended, open_one], world, ["s0", "s1"])
    assert past.timing.actual_s.tolist() == [[20.0, 10.0], [10.0, 5.0]]
    assert past.timing.download_s.tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_requests_are_played_again_as_they_were_sent():
    with service([400, 200], GuardedScheduler(Second(), "second"), slo_s=0.2) as running:
        for _ in range(12):
            running.draw(num_inference_steps=20)
        shadow = running.gateway.shadow
        replays = shadow.played(shadow.since(0.0), {"quickest": REQUEST_SCHEDULERS["shortest-expected-delay"]})
        measured_s = np.array([one.delivery.service_delay_s for one in shadow.since(0.0)])
    assert {one.server for one in shadow.since(0.0)} == {"s1"}
    assert replays[SENT].delay_s == pytest.approx(measured_s, abs=0.03)
    assert replays[SENT].mean_s > 1.2 * replays["quickest"].mean_s


def test_the_past_knows_who_can_draw_what_also_of_a_server_that_was_down():
    world = RequestWorld(tuple(RequestServer(name, {"": LinearService(per_step_s=1.0)}) for name in ("s0", "s1")))
    requests = [seen(number, float(number), ("down", "up"), "s1", 5.0) for number in range(3)]
    for one, model in zip(requests, ("flux", "sdxl", None), strict=True):
        one.task = replace(one.task, model=model)
    past = past_of(requests, world, ["s0", "s1"], [Offer(models=("flux",)), Offer(models=("sdxl", "flux"))])
    assert past.has.tolist() == [[True, True], [False, True], [True, True]]
    assert past.up.tolist() == [[False, True]] * 3


def test_a_server_that_has_joined_since_is_absent_from_the_requests_before():
    world = RequestWorld(tuple(RequestServer(name, {"": LinearService(per_step_s=1.0)}) for name in ("s1", "new")))
    past = past_of([seen(0, 0.0, ("up", "up"), "s1", 5.0)] * 2, world, ["s1", "new"])
    assert past.up.tolist() == [[True, False]] * 2 and past.outages == []
    assert past.timing.predicted_s.tolist() == [[5.0, 5.0]] * 2
