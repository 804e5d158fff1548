"""The benchmark of faults counts what it says."""

import asyncio
import time

import numpy as np
import pytest

from benchmarks import service_faults
from benchmarks.faulty_service import STEPS, Watch, outcomes, poisson, repeating
from benchmarks.service_clients import BROKEN, keep_in_flight, send_at
from benchmarks.service_faults import Measured
from tests.api.running import service


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.extended
@pytest.mark.parametrize("part", ["kills", "ingress", "changes", "endurance"])
def test_a_smoke_run_of_a_part_leaves_its_figures(ray_cluster, part, tmp_path):
    assert service_faults.main(["--smoke", "--parts", part, "--output", str(tmp_path)]) in (0, 1)
    assert f"## {part.capitalize()}" in (tmp_path / "service_faults.md").read_text()


def test_parts_that_have_ended_outlive_a_run_and_one_that_broke_off_is_measured_again(monkeypatch, tmp_path, capsys):
    measured, fails = [], {"changes"}

    def part(name):
        def measure(options):
            measured.append(name)
            if name in fails:
                raise TimeoutError("no answer")
            return Measured({"requests": options.requests, "after, s": np.float64(0.5)}, {"none failed": True})

        return measure

    monkeypatch.setattr(service_faults, "PARTS", {name: part(name) for name in ("kills", "changes")})
    monkeypatch.setattr(service_faults.ray, "is_initialized", lambda: True)
    monkeypatch.setattr(service_faults.local_ray, "end", lambda: None)
    words = ["--parts", "kills", "changes", "--output", str(tmp_path)]
    assert service_faults.main(words) == 1 and "MISSED: the part ends (no answer)" in capsys.readouterr().out
    fails.clear()
    assert service_faults.main([*words, "--resume"]) == 0 and measured == ["kills", "changes", "changes"]
    page = (tmp_path / "service_faults.md").read_text()
    assert "| after, s | 0.5 |" in page and page.count("- reached: none failed") == 2
    assert service_faults.main([*words, "--resume", "--requests", "7"]) == 2
    assert "has rows of requests 1000, not 7" in capsys.readouterr().err


def test_requests_make_the_load_that_was_asked_for():
    asked, due_s = poisson(20_000, {"a": 0.1, "b": 0.2}, 0.6, np.random.default_rng(0))
    steps = [one["num_inference_steps"] for one in asked]
    assert np.mean(steps) / (1 / 0.1 + 1 / 0.2) * len(asked) / due_s[-1] == pytest.approx(0.6, rel=0.02)
    assert (min(steps), max(steps)) == STEPS


def test_clients_send_when_requests_are_due_and_tell_refusals_and_broken_connections_from_images():
    asked = [{"prompt": "x", "num_inference_steps": steps} for steps in (60, 1, 0)]
    with service([200]) as running:
        answers = asyncio.run(send_at(running.url, asked, [0.0, 0.1, 0.15]))
    assert [one.status for one in answers] == [200, 200, 422] and answers[2].reason
    assert answers[0].delay_s > 0.3 and answers[1].delay_s > 0.2  # behind the first
    assert max(one.late_s for one in answers) < 0.2
    [broken] = asyncio.run(send_at(running.url, asked[:1], [0.0]))
    assert (broken.status, broken.served) == (BROKEN, {})
    counted = outcomes([*answers, broken])
    assert (counted["requests"], counted["failed"], counted["different ids"]) == (4, 2, 2)


def test_so_many_requests_are_in_flight_and_each_is_answered_once():
    most = []
    with service([400]) as running:
        look = lambda _: most.append(len(running.gateway.jobs))  # noqa: E731
        answers = asyncio.run(keep_in_flight(running.url, [{"prompt": "x", "num_inference_steps": 4}] * 20, 3, look))
    assert sorted(one.number for one in answers) == list(range(20)) and {one.status for one in answers} == {200}
    assert max(most) <= 3


def test_something_is_done_again_and_again_and_its_failure_is_raised():
    times = []
    with repeating(0.02, lambda: times.append(time.monotonic())):
        time.sleep(0.2)
    assert 2 <= len(times) <= 10
    with pytest.raises(ZeroDivisionError), repeating(0.01, lambda: 1 / 0):
        time.sleep(0.1)


def test_a_server_is_out_from_the_first_look_that_finds_it_so_until_it_is_up_again():
    watch = Watch("http://127.0.0.1:1")
    watch.seen = [(1.0, "a", "up"), (5.0, "b", "down"), (6.0, "a", "down"), (9.5, "a", "up"), (20.0, "a", "down")]
    assert watch.out_and_back(4.5, "a") == (1.5, 5.0)
    assert watch.out_and_back(4.5, "b") == (0.5, None)
    assert watch.out_and_back(21.0, "a") == (None, None)
