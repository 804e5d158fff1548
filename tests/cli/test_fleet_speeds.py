"""What the commands take for the speed of a fleet's servers, and which images they send to learn it."""

import pytest

from lad_rllib.edge import EdgeServer
from lad_rllib.fleet import Fleet, load_fleet
from lad_rllib.fleet.hosts import LocalHost
from lad_rllib.runs.live import fleet_model
from tests.edge.engines import SteppedEngine, task

SPEC = load_fleet(
    {"name": "two", "servers": [{"name": name, "kind": "emulated", "profile": "a100"} for name in ("a", "b")]}
)


class CountedEngine(SteppedEngine):
    """Every step takes the same seconds of a clock that only steps move, as if on a machine that does nothing else."""

    def __init__(self, step_s):
        super().__init__(free=True)
        self.step_s = step_s
        self.now_s = 0.0

    def generate(self, task, on_step):
        self.now_s += (1 + task.denoising_steps) * self.step_s
        return super().generate(task, on_step)


def counted_server(name, step_s):
    engine = CountedEngine(step_s)
    server = EdgeServer(name, engine)
    server.clock.now_s = lambda: engine.now_s
    return server


@pytest.fixture
def fleet():
    """Two servers that know nothing of their own speed: 1 and 2 ms for a denoising step, and an overhead of one."""
    with counted_server("a", 0.001) as a, counted_server("b", 0.002) as b:
        yield Fleet(SPEC, [a, b], LocalHost())


def serve_some(server):
    for steps in (10, 15, 20):
        server.generate(task(f"steps-{steps}", steps))


def test_what_every_server_has_served_is_its_measurement_and_no_image_is_sent(fleet, capsys):
    for server in fleet.servers:
        serve_some(server)
    model = fleet_model(fleet, None)
    assert [server.status().tasks_served for server in fleet.servers] == [3, 3]
    assert [model.predict_s(server, 10) for server in (0, 1)] == pytest.approx([0.011, 0.022])
    assert capsys.readouterr().err == ""


def test_images_that_measure_are_said_with_their_number_and_only_for_servers_that_need_them(fleet, capsys):
    serve_some(fleet.servers[0])
    fleet.servers[1].generate(task(steps=10))  # says nothing of the overhead
    fleet_model(fleet, None)
    assert [server.status().tasks_served for server in fleet.servers] == [3, 13]
    assert "measuring unknown speeds: 12 images on each of b\n" in capsys.readouterr().err


def test_an_emulated_device_is_as_fast_as_its_profile_says(capsys):
    with Fleet.start(SPEC, in_process=True) as fleet:
        model = fleet_model(fleet, None)
        assert [server.status().tasks_served for server in fleet.servers] == [0, 0]
    profile = SPEC.servers[0].profile
    assert model.predict_s(0, 10) == pytest.approx(profile.overhead_s + 10 * profile.per_step_s)
