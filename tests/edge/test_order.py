"""The order in which a server serves: by key, among the tasks that have arrived, without interruption."""

import time

import numpy as np
import pytest

from lad_rllib.edge import DeviceProfile, EdgeServer, EmulatedEngine, ImageTask
from lad_rllib.edge.queue import QueuedTask, TaskQueue
from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator.order import ORDERS, make_order
from tests.edge.engines import SteppedEngine, task

SPECS = ["fifo", "shortest_first", "aged:service_weight=2", "deadline", "priority"]
FAIR = {"name": "fair", "weights": {"b": 3.0}}
PER_STEP_S, TIME_SCALE = 0.25, 0.02
CLOCK = DeviceProfile(
    name="clock", overhead_s=0.0, per_step_s=PER_STEP_S, origin="assumption", source="made up", width=64, height=64
)


def random_tasks(rng, number):
    return [
        task(
            f"t{i}",
            int(rng.integers(1, 9)),
            deadline_s=float(rng.uniform(1, 50)) if rng.random() < 0.7 else None,
            priority=int(rng.integers(-2, 3)),
            tenant=str(rng.choice(["a", "b"])),
        )
        for i in range(number)
    ]


def queue_of(spec):
    return TaskQueue(make_order(spec), lambda asked, steps_left: steps_left * PER_STEP_S)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("spec", SPECS)
def test_the_queue_serves_what_a_sort_of_the_keys_says(spec, seed):
    rng = np.random.default_rng(seed)
    tasks = random_tasks(rng, 40)
    submitted = np.cumsum(rng.exponential(1.0, 40))
    arrives = submitted + rng.choice([0.0, 0.0, 3.0], 40)
    due = [np.inf if one.deadline_s is None else at + one.deadline_s for one, at in zip(tasks, submitted, strict=True)]
    service = [one.denoising_steps * PER_STEP_S for one in tasks]
    key = make_order(spec).key(arrives, service, due - arrives, [one.priority for one in tasks])
    entries = [QueuedTask(one, *when) for one, *when in zip(tasks, submitted, arrives, range(40), strict=True)]
    queue, served, expected, now, left = queue_of(spec), [], [], 0.0, set(range(40))
    while left:
        for entry in entries:
            if now <= entry.submitted_s and entry.submitted_s <= now + 1.0:
                queue.put(entry, entry.submitted_s)
        now += 1.0
        ready = sorted((key[i], i) for i in left if arrives[i] <= now)
        if ready:
            left.remove(ready[0][1])
            expected.append(ready[0][1])
        entry = queue.pop(now)
        served += [] if entry is None else [entry.number]
    assert served == expected and len(queue) == 0


def test_fair_queueing_gives_tenants_that_are_always_there_work_in_proportion_to_their_weights():
    queue, rng = queue_of(FAIR), np.random.default_rng(0)
    for number in range(400):
        queue.put(QueuedTask(task(f"t{number}", int(rng.integers(1, 9)), tenant="ab"[number % 2]), 0.0, 0.0, number), 0)
    work = {"a": 0, "b": 0}
    while all(any(entry.task.tenant == tenant for entry in queue) for tenant in work):
        one = queue.pop(0.0).task
        work[one.tenant] += one.denoising_steps
    assert work["b"] / work["a"] == pytest.approx(3.0, rel=0.03)


@pytest.mark.parametrize("spec", [*SPECS, FAIR])
def test_the_tasks_ahead_of_one_are_those_that_are_popped_before_it(spec):
    queue = queue_of(spec)
    entries = [QueuedTask(one, i, float(i), i) for i, one in enumerate(random_tasks(np.random.default_rng(1), 20))]
    for entry in entries:
        queue.put(entry, entry.submitted_s)
    ahead = {entry: len(queue.ahead_of(entry)) for entry in entries}
    assert [ahead[queue.pop(20.0)] for _ in entries] == list(range(20))


def test_a_task_on_its_way_over_the_link_cannot_be_served_and_one_that_is_served_is_not_interrupted():
    engine = SteppedEngine()
    with EdgeServer("s1", engine, link_rate_mbit_per_s=10, order="priority") as server:
        futures = [
            server.submit(task("far", input_mbit=2, priority=9)),
            server.submit(task("near", steps=2, input_mbit=0)),
        ]
        engine.wait_until_running()
        time.sleep(0.25)
        futures.append(server.submit(task("last", input_mbit=0, priority=1)))
        assert server.progress("far").tasks_ahead == 1 and server.progress("last").tasks_ahead == 2
        engine.permit(10)
        assert all(future.result(30) for future in futures)
    assert engine.order == ["near", "far", "last"]


ASKED = [  # steps, deadline, priority, tenant
    ("a", 8, 80.0, 0, "x"),
    ("b", 1, None, 0, "x"),
    ("c", 4, 50.0, 2, "x"),
    ("d", 2, 110.0, 1, "y"),
]
SERVED = {
    "fifo": "abcd",
    "shortest_first": "bdca",
    "aged:service_weight=3": "bacd",
    "deadline": "cadb",
    "priority": "cdab",
    "fair": "dabc",
}


def ask(server):
    """Have a task run and four wait; the names of those four as they are served, and their records."""
    begun = server.submit(ImageTask("begun", "x", 100))
    while server.status().running_task_id is None:
        time.sleep(0.005)
    futures = []
    for name, steps, deadline_s, priority, tenant in ASKED:
        one = ImageTask(name, "x", steps, deadline_s=deadline_s, priority=priority, tenant=tenant)
        futures.append(server.submit(one))
        time.sleep(2.1 * TIME_SCALE)
    records = [future.result(30).record for future in (begun, *futures)]
    return "".join(record.task_id for record in sorted(records[1:], key=lambda record: record.started)), records


def arrived_s(record):
    return record.started / TIME_SCALE - record.waiting_s


def expected(spec, records):
    """In which order the four are to be served; ageing goes by when they came, which a busy machine decides."""
    if not spec.startswith("aged"):
        return SERVED[spec]
    keys = {one.task_id: make_order(spec).key(arrived_s(one), one.steps_asked * PER_STEP_S) for one in records[1:]}
    return "".join(sorted(keys, key=keys.get))


@pytest.mark.parametrize("spec", SERVED)
def test_an_emulated_server_honours_its_order_and_predicts_the_task_that_came_last(spec):
    with EdgeServer("s1", EmulatedEngine(CLOCK, time_scale=TIME_SCALE, make_png=False), order=spec) as server:
        served, records = ask(server)
        assert served == expected(spec, records) and server.status().order == spec
    begun, *_, last = records
    ahead_s = sum(one.steps_asked for one in records[1:] if one.started <= last.started) * PER_STEP_S
    left_s = begun.steps_asked * PER_STEP_S - (arrived_s(last) - begun.started / TIME_SCALE)
    assert last.predicted_delay_s == pytest.approx(left_s + ahead_s, abs=3.0)


def test_all_orders_are_tested_here():
    assert [spec.partition(":")[0] for spec in SERVED] == list(ORDERS)


def test_keys_that_were_taken_before_anything_was_known_are_taken_anew_after_the_first_image():
    engine = SteppedEngine()
    with EdgeServer("s1", engine, order="aged:service_weight=2") as server:
        futures = [server.submit(task("first", 1000))]
        engine.wait_until_running()
        futures.append(server.submit(task("long", 100)))  # declared: 0.4 s more than the next one; measured: some ms
        time.sleep(0.1)
        futures.append(server.submit(task("short", 1)))
        assert server.progress("long").tasks_ahead == 2
        engine.permit(2000)
        assert all(future.result(30) for future in futures)
    assert engine.order == ["first", "long", "short"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("sjf", "unknown order of service 'sjf'; choose from fifo, shortest_first"),
        ("aged:service_weight=-1", "order.service_weight must be a number of at least 0"),
        ({"name": "fair", "weights": {"b": 0}}, "order.weights.b must be a number above 0"),
        (5, "order must be a text or a group of keys and values, got 5"),
    ],
)
def test_an_order_that_cannot_be_is_refused_in_one_line(spec, words):
    with pytest.raises(ConfigurationError) as caught:
        EdgeServer("s1", SteppedEngine(), order=spec)
    assert str(caught.value).startswith(words) and "\n" not in str(caught.value)
