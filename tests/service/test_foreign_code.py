"""Whatever servers, schedulers and callbacks raise, a dispatcher goes on, and every task ends once."""

import contextlib
import random
import threading
from concurrent.futures import Future

import numpy as np
import pytest

from lad_rllib.edge import ImageTask, InvalidRequest, ServerHealth
from lad_rllib.errors import ConfigurationError
from lad_rllib.service import Dispatcher
from tests.service.fleets import WORK, Fixed, dispatched, emulated, network, tasks, until

ERRORS = (ValueError("odd"), KeyError("k"), UnicodeEncodeError("utf-8", "\ud83d", 0, 1, "no"), SystemExit(3))


class Chaotic:
    """A real server in front of which anything may be raised or answered instead."""

    def __init__(self, inner, seed, share=0.3):
        self.inner, self.name, self.share = inner, inner.name, share
        self.dice = random.Random(seed)
        self.quiet = False

    def odd(self):
        return not self.quiet and self.dice.random() < self.share

    def submit(self, task):
        if not self.odd():
            return self.inner.submit(task)
        case, answer = self.dice.randrange(5), Future()
        if case == 0:
            raise self.dice.choice(ERRORS)
        if case == 1:
            return None  # no future at all
        if case == 2:
            answer.cancel()
        elif case == 3:
            answer.set_result(self.dice.choice([None, b"png", {}, np.nan]))
        else:
            answer.set_exception(self.dice.choice(ERRORS))
        return answer

    def cancel(self, task_id):
        if self.odd():
            raise self.dice.choice(ERRORS[:3])
        return self.inner.cancel(task_id)

    def health(self):
        if not self.odd():
            return self.inner.health()
        if self.dice.random() < 0.5:
            raise self.dice.choice(ERRORS[:3])
        return self.dice.choice([None, 3, ServerHealth(False, "out for tests", float("nan"))])


class ChaoticScheduler(Fixed):
    """Decides anything."""

    def __init__(self, seed, servers):
        super().__init__(0)
        self.dice, self.servers = random.Random(seed), servers

    def decide(self, tasks, rng):
        case, shape = self.dice.randrange(8), tasks.mask.shape
        if case == 0:
            raise self.dice.choice(ERRORS)
        if case == 1:
            return self.dice.choice([None, [], np.zeros(3), "abc", np.zeros((2, *shape[1:]), int), object()])
        if case == 2:
            return np.full(shape, np.nan)
        if case == 3:
            return np.full(shape, self.dice.choice([-1, self.servers, 10**9]))
        return np.full(shape, self.dice.randrange(self.servers))


@pytest.mark.parametrize("seed", range(4))
def test_with_servers_and_a_scheduler_that_do_anything_every_task_ends_once_and_then_all_is_well(seed):
    ended = []
    with contextlib.ExitStack() as stack:
        inner = [stack.enter_context(emulated(f"s{i}", 5000, queue_limit=4)) for i in range(3)]
        servers = [Chaotic(server, seed * 10 + i) for i, server in enumerate(inner)]
        scheduler = ChaoticScheduler(seed, 3)
        options = {"health_period_s": 0.05, "patience_s": 5.0}
        dispatcher = stack.enter_context(Dispatcher(servers, network([5000] * 3), WORK, scheduler, **options))
        dice, futures = random.Random(seed), []
        for slot in range(30):
            named = [dice.randrange(3) for _ in range(6)] if dice.random() < 0.5 else None
            new = dispatcher.submit([ImageTask(f"{slot}-{i}", "x", 2, station=i % 3) for i in range(6)], named)
            for future in new:
                future.add_done_callback(lambda f: ended.append(f.result().task.task_id))
                future.add_done_callback(lambda f: 1 / 0)
            futures += new
            dispatcher.cancel(f"{slot}-{dice.randrange(6)}")
        deliveries = [future.result(60) for future in futures]
        for server in servers:
            server.quiet = True
        until(lambda: all(dispatcher.servers_up))
        well = dispatcher.run([ImageTask(f"well-{i}", "x", 1) for i in range(6)], 30, servers=[0, 1, 2] * 2)
        assert [d.error for d in well] == [None] * 6
        assert all(not load.backlog and not load.backlog.work_s for load in dispatcher.loads)
    assert sorted(ended) == sorted(d.task.task_id for d in deliveries) and len(ended) == 180
    assert all((d.record is not None) != (d.error is not None) for d in deliveries)
    assert sum(d.error is None for d in deliveries) > 50


@pytest.mark.parametrize("text", ["half an emoji \ud83d", "\udc80", "a\udfff b"])
def test_a_prompt_with_half_a_character_is_refused_by_name_where_the_task_is_made(text):
    with pytest.raises(InvalidRequest, match=r"prompt has half a character at position \d+; cut .*\(task a\)"):
        ImageTask("a", text, 1)
    with pytest.raises(InvalidRequest, match="task_id has half a character"):
        ImageTask(text, "a cat", 1)


def test_a_whole_emoji_is_a_prompt():
    with dispatched([1000], Fixed(0)) as (dispatcher, _):
        assert dispatcher.run([ImageTask("😀", "😀 in a hat", 1)], 20)[0].error is None


def test_what_is_no_task_is_refused_before_anything_is_sent():
    with dispatched([1000], Fixed(0)) as (dispatcher, _):
        with pytest.raises(ConfigurationError, match="tasks must be ImageTasks, got str"):
            dispatcher.submit([*tasks(1), "a cat"])
        assert dispatcher.run(tasks(1), 20)[0].error is None


class NeverDecides(Fixed):
    """A scheduler that hangs until the test ends, after its warm-up."""

    def __init__(self):
        self.warm = False
        super().__init__(0)
        self.asked, self.release = threading.Event(), threading.Event()

    def decide(self, tasks, rng):
        if self.warm:
            self.asked.set()
            self.release.wait(60)
        self.warm = True
        return super().decide(tasks, rng)


def test_closing_ends_all_tasks_even_while_a_scheduler_does_not_come_back():
    scheduler = NeverDecides()
    with emulated("s0", 1000) as server:
        dispatcher = Dispatcher([server], network([1000]), WORK, scheduler)
        futures = dispatcher.submit(tasks(3))
        assert scheduler.asked.wait(20)
        futures += dispatcher.submit([ImageTask("behind", "x", 1)])
        dispatcher.close()
        assert [future.result(0).error.name for future in futures] == ["server_unavailable"] * 4
        with pytest.raises(ConfigurationError, match="the dispatcher is closed"):
            _ = dispatcher.queue_s
        scheduler.release.set()
