"""Engines that do what a test tells them."""

import threading

from lad_rllib.edge import EngineDescription, EngineOutput, ImageTask


def output(png=b"png", image_mbit=0.8, steps=1, **others):
    """What an engine gives that measures nothing."""
    return EngineOutput(png=png, image_mbit=image_mbit, width=64, height=64, steps_done=steps, dtype="none", **others)


class SteppedEngine:
    """Does a denoising step for each permit that the test releases; ``free=True`` needs none."""

    def __init__(self, free=False, error=None, load_error=None, time_scale=1.0):
        self.time_scale = time_scale
        self.free = free
        self.error = error
        self.load_error = load_error
        self.loading = threading.Event()
        self.loading.set()
        self.permits = threading.Semaphore(0)
        self.started = threading.Semaphore(0)
        self.order = []
        self.warmed = []

    def load(self):
        assert self.loading.wait(30)
        if self.load_error:
            raise self.load_error

    def warm_up(self, sizes=None):
        self.warmed.append(sizes)

    def check(self, task):
        pass

    def generate(self, task, on_step):
        self.order.append(task.task_id)
        self.started.release()
        if self.error:
            raise self.error
        for step in range(1, task.denoising_steps + 1):
            assert self.free or self.permits.acquire(timeout=30)
            on_step(step)
        return output(steps=task.denoising_steps)

    def wait_until_running(self):
        assert self.started.acquire(timeout=30)

    def permit(self, steps):
        self.permits.release(steps)

    def describe(self):
        return EngineDescription("stepped", "stepped", "cpu", "none", "none", 64, 64)


def task(task_id="a", steps=1, **others):
    return ImageTask(task_id, "a grey cat", steps, **others)
