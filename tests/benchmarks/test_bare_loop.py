"""The batched loop without RLlib does the work that the algorithm does."""

import numpy as np

from benchmarks.bare_loop import BareLoop


def test_the_bare_loop_decides_every_task_and_updates_every_warm_station():
    loop = BareLoop({"preset": "paper", "slots": 25, "network": {"stations": 3}})
    before = [p.detach().clone() for p in loop.networks.actor.parameters()]
    loop.train()
    assert loop.decisions == loop.env.simulator.arrivals.task_counts[:, :-1].sum()
    assert loop.buffer.count.sum() == loop.decisions
    assert 3 * 5 < loop.updates < 3 * 24
    moved = [
        np.abs((p - old).detach().numpy()).max()
        for p, old in zip(loop.networks.actor.parameters(), before, strict=True)
    ]
    assert min(moved) > 0
