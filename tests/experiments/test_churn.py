"""Servers that leave get nothing, slow ones get less, and the policy of the package lives with both."""

import numpy as np
import pandas as pd
import pytest

from experiments.churn import CHANGES, YARDSTICK, main, played, setting_of
from lad_rllib.algorithms.lad_dispatch import DispatchPolicy
from lad_rllib.scheduling.by_name import make_scheduler
from lad_rllib.scheduling.request_scheduler import RequestScheduler


class Watching(RequestScheduler):
    """Notes what another scheduler sees and decides."""

    def __init__(self, scheduler):
        self.scheduler, self.up, self.server = scheduler, [], []

    def begin(self, world, history):
        self.scheduler.begin(world, history)

    def choose(self, view, rng):
        self.up.append(view.up.copy())
        self.server.append(self.scheduler.choose(view, rng))
        return self.server[-1]


def test_a_server_that_left_gets_nothing_until_it_is_back_and_no_request_is_lost():
    watching = Watching(DispatchPolicy.pretrained("any-fleet"))
    delay_s = played(watching, setting_of(6, 0.5, "fifo", 900), "leave", seed=0)
    up, server = np.array(watching.up), np.array(watching.server)
    assert up[:300].all() and up[600:].all()
    assert not up[300:600, [0, 3]].any() and up[300:600, [1, 2, 4, 5]].all()
    assert not np.isin(server[300:600], [0, 3]).any() and np.isin(server[600:], [0, 3]).any()
    assert len(delay_s) == 900 and np.isfinite(delay_s).all()


def test_slowed_servers_get_fewer_requests_while_it_lasts():
    watching = Watching(DispatchPolicy.pretrained("any-fleet"))
    played(watching, setting_of(6, 0.5, "fifo", 900), "slow", seed=0)
    share = np.isin(watching.server, [1, 4]).reshape(3, 300).mean(axis=1)
    assert share[1] < 0.7 * min(share[0], share[2])


@pytest.mark.parametrize("change", CHANGES)
def test_the_policy_is_close_to_least_work_left_that_sees_the_same_changes(change):
    setting = setting_of(9, 0.5, "fifo", 2000)
    ours = played(DispatchPolicy.pretrained("any-fleet"), setting, change, seed=1).mean()
    assert ours < 1.05 * played(make_scheduler(YARDSTICK, one_by_one=True), setting, change, seed=1).mean()


def test_a_smoke_run_leaves_a_row_for_each_change(tmp_path, capsys):
    assert main(["--smoke", "--output", str(tmp_path)]) == 0
    rows = pd.read_csv(tmp_path / "churn.csv")
    assert rows["change"].tolist() == [change for change in CHANGES for _ in range(2)]
    assert "| 6 | 0.5 | fifo | slow |" in capsys.readouterr().out
