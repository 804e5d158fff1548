"""What a dispatcher predicts of servers that serve in an order, and in which order it gives them what it holds back."""

import contextlib

import numpy as np
import pytest

from lad_rllib.edge import EdgeServer, ImageTask
from lad_rllib.edge.queue import QueuedTask, TaskQueue
from lad_rllib.service import Dispatcher, ServerLoad
from lad_rllib.service.backlog import Backlog
from lad_rllib.service.in_flight import Attempt, InFlightTask, TaskHandle
from lad_rllib.simulator.order import make_order
from lad_rllib.simulator.requests import LinearService, RequestServer, RequestWorld, plain_requests
from lad_rllib.simulator.requests.play import RequestSimulation
from tests.edge.engines import SteppedEngine
from tests.service.fleets import WORK, Fixed, dispatched, emulated, network, running_at, until

SPECS = ["fifo", "shortest_first", "aged:service_weight=2", "deadline", "priority"]


def random_task(rng, number):
    return ImageTask(
        f"t{number}",
        "x",
        int(rng.integers(1, 9)),
        deadline_s=float(rng.uniform(1, 50)) if rng.random() < 0.7 else None,
        priority=int(rng.integers(-2, 3)),
        tenant=str(rng.choice(["a", "b"])),
    )


def in_flight(task, submitted_s, number):
    return InFlightTask(task, submitted_s, number, None, TaskHandle(lambda: None))


def key(order, task, arrival_s):
    deadline_s = np.inf if task.deadline_s is None else task.deadline_s
    return float(order.key(arrival_s, task.denoising_steps, deadline_s, task.priority))


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("seed", range(5))
def test_a_backlog_predicts_what_sorting_those_who_wait_says(spec, seed):
    rng, order = np.random.default_rng(seed), make_order(spec)
    backlog, waiting, running = Backlog(order), {}, None
    for number in range(150):
        now = float(number)
        if rng.random() < 0.6 or running is None:
            attempt = Attempt(in_flight(random_task(rng, number), now, number), 0)
            backlog.sent(attempt, float(attempt.entry.task.denoising_steps), now)
            waiting[key(order, attempt.entry.task, now), number] = attempt
        else:
            backlog.answered(running, now)
            running = None
        if running is None and waiting:
            running, since = waiting.pop(min(waiting)), now
        assert backlog.running is running
        one = random_task(rng, 0)
        own = (key(order, one, now), np.inf)
        ahead = [a.entry.task.denoising_steps for place, a in waiting.items() if place < own]
        assert backlog.line.met_by(one, now, one.denoising_steps) == (sum(ahead), len(waiting) - len(ahead))
        left = max(0.0, running.entry.task.denoising_steps - (now - since)) if running else 0.0
        assert backlog.queue_s(now) == left + sum(a.entry.task.denoising_steps for a in waiting.values())


def simulation(order, tasks, arrival_s, actual_over_predicted):
    """The same tasks in the simulator of requests, on one server that takes a second for a step."""
    requests = plain_requests(
        arrival_s,
        np.array([float(task.denoising_steps) for task in tasks]),
        deadline_s=[np.inf if task.deadline_s is None else task.deadline_s for task in tasks],
        priority=[task.priority for task in tasks],
        tenant=["ab".index(task.tenant) for task in tasks],
        tenants=("a", "b"),
        actual_over_predicted=actual_over_predicted,
    )
    server = RequestServer("s", {"": LinearService(per_step_s=1.0)})
    return RequestSimulation(RequestWorld((server,), order), requests)


@pytest.mark.parametrize("spec", [*SPECS, {"name": "fair", "weights": {"b": 3.0}}])
def test_simulator_edge_server_and_dispatcher_have_the_same_queue(spec):
    rng, order = np.random.default_rng(3), make_order(spec)
    tasks, arrival_s = [random_task(rng, i) for i in range(300)], np.cumsum(rng.exponential(4.8, 300))
    actual = rng.lognormal(0.0, 0.3, 300)
    first, again = (simulation(order, tasks, arrival_s, actual) for _ in range(2))
    for _ in first:
        first.send(0)
    served = first.finish()
    in_order = np.argsort(served.start_s)
    attempts = [Attempt(in_flight(task, at, i), 0) for i, (task, at) in enumerate(zip(tasks, arrival_s, strict=True))]
    backlog, queue, popped = Backlog(order), TaskQueue(order, lambda _, steps: steps), []
    ends = iter([(served.finish_s[i], i) for i in in_order])
    end_s, running = next(ends)
    for view, attempt, now_s in zip(again, attempts, arrival_s, strict=True):
        while end_s < now_s:
            assert backlog.running is attempts[running]
            backlog.answered(attempts[running], end_s)
            entry = queue.pop(end_s)
            popped += [] if entry is None else [entry.number]
            end_s, running = next(ends, (np.inf, None))
        task = attempt.entry.task
        ahead_s, overtaken = backlog.line.met_by(task, now_s, task.denoising_steps)
        left_s = backlog.running_left_s(now_s)
        np.testing.assert_allclose([left_s, left_s + ahead_s], [view.remaining_s[0], view.ahead_s[0]], atol=1e-6)
        assert backlog.queue_s(now_s) == pytest.approx(view.work_left_s[0])
        assert (overtaken, len(backlog)) == (view.overtaken[0], view.tasks[0])
        idle = backlog.running is None
        backlog.sent(attempt, task.denoising_steps, now_s)
        queue.put(QueuedTask(task, now_s, now_s, attempt.entry.number), now_s)
        popped += [queue.pop(now_s).number] if idle else []
        again.send(0)
    assert popped == in_order[: len(popped)].tolist() and len(popped) > 200


def test_a_task_keeps_its_place_at_a_server_that_was_silent():
    load = ServerLoad("s", Backlog(make_order({"name": "fair", "weights": {"b": 4.0}})))
    backlog = load.backlog
    attempts = [
        Attempt(in_flight(ImageTask(f"t{i}", "x", 4, tenant=tenant), 0.0, i), 0) for i, tenant in enumerate("aaab")
    ]
    for attempt in attempts:
        backlog.sent(attempt, 4.0, 0.0)
    before, running = list(backlog.line), backlog.running
    load.mark_down("silent")
    assert not list(backlog.line) and backlog.queue_s(0.0) == 0.0
    for attempt in load.mark_up():
        backlog.sent(attempt, 4.0, 1.0)
    assert list(backlog.line) == before and backlog.running is running is attempts[0]
    backlog.answered(attempts[0], 2.0)
    assert backlog.running is attempts[3]


def test_an_image_that_comes_out_of_turn_corrects_which_task_is_predicted_to_run():
    backlog = Backlog(make_order("shortest_first"))
    attempts = [Attempt(in_flight(ImageTask(f"t{i}", "x", steps), 0.0, i), 0) for i, steps in enumerate((1, 5, 2))]
    for attempt in attempts:
        backlog.sent(attempt, float(attempt.entry.task.denoising_steps), 0.0)
    backlog.answered(attempts[0], 1.0)
    assert backlog.running is attempts[2]
    backlog.answered(attempts[1], 6.0)  # the server saw it otherwise
    assert backlog.running is attempts[2] and backlog.queue_s(7.0) == 1.0
    backlog.answered(attempts[2], 8.0)
    assert backlog.running is None and backlog.queue_s(9.0) == 0.0


TASKS = [  # steps, priority, tenant
    ("a", 8, 0, "x"),
    ("b", 1, 0, "x"),
    ("c", 4, 2, "x"),
    ("d", 2, 1, "y"),
]
SERVED = {"fifo": "abcd", "shortest_first": "bdca", "priority": "cdab", "fair": "dabc"}


@pytest.mark.parametrize("spec", SERVED)
def test_tasks_that_are_held_back_go_to_the_server_in_its_order(spec):
    engine = SteppedEngine()
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(EdgeServer("s0", engine, queue_limit=1, order=spec))
        others = [server.submit(ImageTask(f"other-{i}", "x", 1, priority=9)) for i in range(2)]
        engine.wait_until_running()
        dispatcher = stack.enter_context(Dispatcher([server], network([10]), WORK, Fixed(0)))
        dispatcher.submit([ImageTask("first", "x", 1, priority=9)])
        until(lambda: dispatcher.loads[0].backlog.tasks_held == 1)
        asked = [
            ImageTask(name, "x", steps, priority=priority, tenant=tenant) for name, steps, priority, tenant in TASKS
        ]
        futures = dispatcher.submit(asked)
        until(lambda: dispatcher.loads[0].backlog.tasks_held == 5)
        engine.free = True
        engine.permit(1)
        assert all(future.result(20).error is None for future in futures) and all(other.result(20) for other in others)
    names = "".join(name.partition("@")[0] for name in engine.order[2:] if not name.startswith("first"))
    assert names == SERVED[spec]


@pytest.mark.parametrize(
    ("spec", "overtaken"), [("fifo", 0), ("shortest_first", 3), ("aged:service_weight=1000", 3), ("priority", 4)]
)
def test_the_view_of_a_task_is_what_it_then_meets(spec, overtaken):
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(emulated(f"s{i}", 20, order=spec)) for i in range(2)]
        dispatcher = stack.enter_context(Dispatcher(servers, network([20, 20]), WORK, Fixed(0)))
        others = dispatcher.submit([ImageTask("running", "x", 16)])
        until(lambda: running_at(servers[0]) == "running")
        others += dispatcher.submit([ImageTask(f"t{i}", "x", steps) for i, steps in enumerate((8, 2, 5, 7))])
        late = ImageTask("late", "x", 3, priority=1)
        seen = dispatcher.view(late)
        [future] = dispatcher.submit([late])
        record, records = future.result(20).record, [handle.result(20).record for handle in (*others, future)]
    before = [one for one in records[1:] if one.started < record.started]
    ahead_s = sum(one.steps_asked for one in before) / 20
    assert seen.way_s.max() < 1e-6 and seen.up.all()
    assert seen.overtaken.tolist() == [overtaken, 0] and seen.tasks.tolist() == [5, 0]
    assert seen.ahead_s[1] == seen.work_left_s[1] == 0.0 and seen.service_s.tolist() == pytest.approx([0.15, 0.15])
    assert 0 <= seen.remaining_s[0] <= 16 / 20
    assert seen.work_left_s[0] == pytest.approx(seen.remaining_s[0] + 22 / 20)
    assert seen.ahead_s[0] == pytest.approx(seen.remaining_s[0] + ahead_s)
    assert ahead_s + 0.15 <= record.predicted_delay_s <= ahead_s + 0.15 + 16 / 20


def test_an_order_that_a_server_says_nothing_of_is_first_in_first_out():
    with dispatched([10], Fixed(0)) as (dispatcher, _):
        assert dispatcher.loads[0].backlog.order == make_order("fifo")
