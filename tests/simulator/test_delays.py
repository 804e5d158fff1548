"""Delay formulas and the queue update, against numbers by hand."""

import numpy as np

from lad_rllib.simulator import delays


def test_a_task_counts_its_work_and_a_local_server_needs_no_upload():
    work = delays.workload_gcycles(0.2, 10)
    assert work == 2.0
    assert delays.upload_delay_s(4.0, 400.0, is_local=False) == 0.01
    assert delays.upload_delay_s(4.0, 400.0, is_local=True) == 0.0
    assert delays.waiting_delay_s(10.0, 5.0, 20.0) == 0.75
    assert delays.computing_delay_s(work, 20.0) == 0.1
    assert delays.download_delay_s(0.8, 400.0) == 0.002


def test_formulas_broadcast_over_servers():
    np.testing.assert_array_equal(
        delays.computing_delay_s(np.array([[2.0], [4.0]]), [10.0, 20.0]), [[0.2, 0.1], [0.4, 0.2]]
    )


def test_formulas_keep_the_precision_of_their_arguments():
    ones = np.ones(3, dtype=np.float32)
    assert delays.waiting_delay_s(ones, ones, ones).dtype == np.float32
    assert delays.computing_delay_s(ones.astype(np.float64), ones.astype(np.float64)).dtype == np.float64


def test_a_queue_shrinks_by_one_slot_of_work_and_not_below_zero():
    queue = delays.next_queue_gcycles([10.0, 10.0, 0.0], [5.0, 0.0, 3.0], [10.0, 20.0, 10.0], slot_s=0.5)
    np.testing.assert_array_equal(queue, [10.0, 0.0, 0.0])


def test_work_before_a_task_is_what_earlier_tasks_sent_to_the_same_server():
    workload = np.array([[1.0, 2.0, 4.0, 0.0, 8.0]])
    before, sent = delays.work_before_in_slot_gcycles(workload, np.array([[0, 1, 0, 0, 0]]), num_servers=3)
    np.testing.assert_array_equal(before, [[0.0, 0.0, 1.0, 5.0, 5.0]])
    np.testing.assert_array_equal(sent, [[13.0, 2.0, 0.0]])
