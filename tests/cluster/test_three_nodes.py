"""Five real pipelines, and five emulated servers, each over three nodes: where they run and what they answer."""

import time
from dataclasses import replace

import pytest

from lad_rllib.fleet import Fleet
from tests.cluster.fleets import PLACES, dispatcher_of, draw_tasks, emulated_fleet, node_ids, node_of

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.serial]

NUM_TASKS = 200
TRANSPORT_S = 0.03
"""Clocks are read by two processes of a busy machine, one after the other."""


@pytest.fixture(scope="module", params=["emulated", "real"])
def fleet(request, cluster):
    """Each of the fleets in turn."""
    if request.param == "real":
        yield request.getfixturevalue("real_pipelines")
    else:
        with Fleet.start(emulated_fleet()) as fleet:
            yield fleet


@pytest.fixture(scope="module")
def served(fleet):
    """What two hundred tasks ended with, and when the user had each of them [s since 1970]."""
    had_at = {}
    with dispatcher_of(fleet) as dispatcher:
        tasks = draw_tasks(NUM_TASKS, steps=(2, 4))
        handed_in_at = time.time()
        futures = dispatcher.submit(tasks)
        for future in futures:
            future.add_done_callback(lambda ended: had_at.update({ended.result().task.task_id: time.time()}))
        deliveries = [future.result(120) for future in futures]
    return deliveries, handed_in_at, had_at


def test_every_server_runs_on_the_node_that_its_resource_names(fleet):
    node = node_ids()
    assert len(set(node.values())) == 3
    assert [node_of(server) for server in fleet.servers] == [node[place] for place in PLACES]


def test_two_hundred_tasks_are_all_answered_by_the_servers_in_turn(fleet, served):
    deliveries, _, had_at = served
    assert [d.error for d in deliveries] == [None] * NUM_TASKS
    assert len(had_at) == len({d.record.task_id for d in deliveries}) == NUM_TASKS
    assert all(d.attempts == 1 and d.png.startswith(b"\x89PNG") for d in deliveries)
    assert all(d.record.steps_done == d.task.denoising_steps and d.record.server == d.server for d in deliveries)
    shares = [sum(d.server == server.name for d in deliveries) for server in fleet.servers]
    assert min(shares) > NUM_TASKS / len(shares) - 8 and sum(shares) == NUM_TASKS


def test_the_service_delay_of_every_task_is_the_sum_of_its_parts(fleet, served):
    deliveries, handed_in_at, had_at = served
    worked_s = dict.fromkeys((server.name for server in fleet.servers), 0.0)
    steps_s = dict(worked_s)
    for d in deliveries:
        record = d.record
        parts_s = record.upload_s + record.waiting_s + record.computing_s + record.download_s
        assert record.total_s == pytest.approx(parts_s, rel=0.02)
        there_s = record.finished - record.total_s - handed_in_at
        back_s = had_at[record.task_id] - record.finished
        assert there_s > -0.001 and back_s > -0.001
        assert d.service_delay_s == pytest.approx(there_s + parts_s + back_s, rel=0.02, abs=TRANSPORT_S)
        worked_s[d.server] += record.computing_s
        steps_s[d.server] += record.load_s + record.encode_s + record.denoise_s + record.decode_s + record.png_s
    assert steps_s == pytest.approx(worked_s, rel=0.02)


def test_a_task_draws_the_identical_image_on_every_server(fleet, served):
    first = {d.task.task_id: d.png for d in served[0][:5]}
    again = [replace(d.task, task_id=f"{d.task.task_id} on {i}") for d in served[0][:5] for i in range(len(PLACES))]
    with dispatcher_of(fleet) as dispatcher:
        deliveries = dispatcher.run(again, 60, servers=list(range(len(PLACES))) * len(first))
    assert [d.server for d in deliveries] == [server.name for server in fleet.servers] * len(first)
    for d in deliveries:
        assert d.png == first[d.task.task_id.split(" on ")[0]]
    assert len(set(first.values())) == len(first)
