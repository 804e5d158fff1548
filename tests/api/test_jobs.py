"""Jobs, repeated requests and streams: what is asked for once is served once, and is known while it is served."""

import base64
import io
import json
import time

import pytest
from PIL import Image

from lad_rllib.api.wire import Images, JobStatus
from lad_rllib.errors import ConfigurationError
from tests.api.running import Slow, refused, service
from tests.service.fleets import until


@pytest.fixture(scope="module")
def running():
    with service([1000, 2000]) as one:
        yield one


def create(running, steps, headers=None, **asked):
    """A new job."""
    asked = {"prompt": "a red seven", "num_inference_steps": steps, **asked}
    answer = running.client.post("/v1/images/jobs", json=asked, headers=headers)
    assert answer.status_code == 200, answer.text
    return JobStatus.model_validate(answer.json())


def status(running, job):
    """What a job is now."""
    return JobStatus.model_validate(running.client.get(f"/v1/images/jobs/{job.id}").json())


def ended(running, job):
    """What has become of a job."""
    until(lambda: status(running, job).status in ("completed", "failed"))
    return status(running, job)


def events(answer):
    """Names and data of the events of a stream."""
    found = []
    for block in answer.text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


def test_a_job_is_told_from_its_place_in_the_queue_to_its_images():
    with service([40], max_wait_s=1e6) as running:
        first, second = create(running, 200), create(running, 20, n=2, seed=5)
        assert second.status == "queued" and second.predicted_start_s == pytest.approx(5.0, abs=0.4)
        until(lambda: status(running, second).position == 1)
        until(lambda: (one := status(running, first)).status == "in_progress" and 2 < one.step < 200)
        middle = status(running, first)
        assert middle.server == "s0" and 0 < middle.progress < 100 and middle.steps == 200
        refused(running.client.get(f"/v1/images/jobs/{second.id}/content"), 409, "not_ready")
        assert running.client.delete(f"/v1/images/jobs/{first.id}").status_code == 200
        done = ended(running, second)
    assert (done.status, done.progress, done.n, done.seed, done.step) == ("completed", 100, 2, 5, 20)
    assert done.completed_at >= done.created_at and done.expires_at > time.time() and done.size == "512x512"


def test_the_images_of_a_job_are_fetched_one_by_one(running):
    job = ended(running, create(running, 3, n=2, seed=5, size="64x32"))
    fetched = [running.client.get(f"/v1/images/jobs/{job.id}/content?index={index}") for index in range(3)]
    assert [Image.open(io.BytesIO(one.content)).size for one in fetched[:2]] == [(64, 32)] * 2
    assert fetched[0].content != fetched[1].content
    assert fetched[0].headers["content-disposition"] == f'inline; filename="{job.id}-0.png"'
    refused(fetched[2], 404, "image_not_found")
    direct = running.draw(num_inference_steps=3, seed=5, size="64x32").json()["data"][0]["b64_json"]
    assert base64.b64decode(direct) == fetched[0].content


def test_a_job_that_is_deleted_stops_at_its_server_and_is_forgotten():
    with service([20]) as running:
        server, job = running.servers[0].inner, create(running, 200)
        until(lambda: server.status().running_step > 0)
        answer = running.client.delete(f"/v1/images/jobs/{job.id}")
        assert answer.json() == {"id": job.id, "object": "image.job.deleted", "deleted": True}
        until(lambda: server.status().running_task_id is None, 5.0)
        for path in (f"/v1/images/jobs/{job.id}", f"/v1/images/jobs/{job.id}/content", "/v1/images/jobs/img-0"):
            refused(running.client.get(path), 404, "job_not_found")


def test_a_job_goes_on_when_nobody_asks_for_it_and_a_request_that_waits_is_no_job(running):
    answer = running.draw(num_inference_steps=1)
    refused(running.client.get(f"/v1/images/jobs/{answer.json()['served']['id']}"), 404, "job_not_found")
    assert ended(running, create(running, 1)).status == "completed"


def test_a_job_that_fails_says_why():
    with service([20]) as running:
        running.gateway.dispatcher.loads[0].speed.over_expected = 0.1
        job = ended(running, create(running, 40, deadline_s=0.5))
        assert (job.status, job.error.code) == ("failed", "deadline_exceeded")
        refused(running.client.get(f"/v1/images/jobs/{job.id}/content"), 504, "deadline_exceeded")


def test_jobs_are_forgotten_after_a_while_with_their_images():
    with service([1000], job_s=0.5) as running:
        job = create(running, 1)
        until(lambda: running.client.get(f"/v1/images/jobs/{job.id}").status_code == 404)
        assert len(running.gateway.pictures) == 0


def test_images_that_had_to_make_room_are_said_to_be_gone():
    with service([1000], max_kept_bytes=1024) as running:
        jobs = [ended(running, create(running, 1, seed=seed)) for seed in range(20)]
        refused(running.client.get(f"/v1/images/jobs/{jobs[0].id}/content"), 404, "image_not_found")
        assert running.client.get(f"/v1/images/jobs/{jobs[-1].id}/content").status_code == 200


def test_a_request_that_comes_again_with_its_key_is_served_once(running):
    before = sum(running.gateway.statistics.served.values())
    answers = [running.draw(num_inference_steps=2, headers={"idempotency-key": "k1"}) for _ in range(3)]
    images = [Images.model_validate(answer.json()) for answer in answers]
    assert len({one.served.id for one in images}) == len({one.data[0].b64_json for one in images}) == 1
    assert sum(running.gateway.statistics.served.values()) == before + 1
    other = running.draw(num_inference_steps=3, headers={"idempotency-key": "k1"})
    refused(other, 422, "idempotency_key_reused", "Idempotency-Key")
    jobs = [create(running, 2, headers={"idempotency-key": "k2"}) for _ in range(2)]
    assert jobs[0].id == jobs[1].id
    assert running.draw(headers={"idempotency-key": "k" * 256}).status_code == 422


def test_of_two_that_wait_with_one_key_the_last_to_leave_cancels():
    with service([40]) as running:
        server, headers = running.servers[0].inner, {"Idempotency-Key": "k"}
        first = Slow(running, 200, headers=headers)
        second = Slow(running, 200, headers=headers, comes=False)
        [job] = running.gateway.jobs.in_flight
        until(lambda: job.waiters == 2)
        first.leave()
        until(lambda: job.waiters == 1)
        assert server.status().running_task_id is not None and not job.is_left
        second.leave()
        until(lambda: server.status().running_task_id is None, 5.0)
        assert running.draw(num_inference_steps=200, headers=headers | {"x": "y"}, deadline_s=1.0).status_code == 422
        answer = running.draw("x", num_inference_steps=1, headers={"Idempotency-Key": "l"})
        assert answer.status_code == 200


def test_a_key_of_a_request_that_was_left_or_refused_begins_anew():
    with service([40], max_wait_s=1.0) as running:
        headers = {"Idempotency-Key": "k"}
        slow = Slow(running, 100)
        refused(running.draw(num_inference_steps=1, headers=headers), 429, "busy")
        slow.leave()
        until(lambda: len(running.gateway.jobs) == 0)
        assert running.draw(num_inference_steps=1, headers=headers).status_code == 200


def test_a_stream_ends_in_the_images_and_tells_of_steps_only_if_asked():
    with service([40]) as running:
        asked = {"num_inference_steps": 20, "stream": True, "n": 2, "seed": 3}
        plain, told = running.draw(**asked), running.draw(**asked, progress=True)
    assert plain.headers["content-type"].startswith("text/event-stream")
    assert [name for name, _ in events(plain)] == ["image_generation.completed"] * 2
    images = [data for _, data in events(plain)]
    assert [(image["type"], image["index"], image["seed"]) for image in images] == [
        ("image_generation.completed", 0, 3),
        ("image_generation.completed", 1, 4),
    ]
    assert Image.open(io.BytesIO(base64.b64decode(images[0]["b64_json"])))
    progress = [data for name, data in events(told) if name == "image_generation.progress"]
    steps = [data["step"] for data in progress]
    assert steps == sorted(set(steps)) and 0 < steps[-1] <= 20 and len(steps) > 2 and progress[-1]["steps"] == 20
    assert [name for name, _ in events(told)][-2:] == ["image_generation.completed"] * 2


def test_a_stream_tells_of_a_failure_and_one_that_is_left_frees_its_server():
    with service([20]) as running:
        server = running.servers[0].inner
        slow = Slow(running, 200, stream=True, progress=True)
        until(lambda: server.status().running_step > 0)
        slow.leave()
        until(lambda: server.status().running_task_id is None, 5.0)
        running.gateway.dispatcher.loads[0].speed.over_expected = 0.1
        [(name, data)] = events(running.draw(num_inference_steps=40, deadline_s=0.5, stream=True))
        assert name == "error" and data["error"]["code"] == "deadline_exceeded"
        refused(running.draw(n=11, stream=True), 422, "over_limit", "n")


def test_jobs_survive_the_end_of_their_process(tmp_path):
    kept = {"jobs_file": str(tmp_path / "jobs.sqlite"), "max_wait_s": 1e6}
    with service([1000], **kept) as running:
        done = ended(running, create(running, 3, n=2, seed=5, size="64x32"))
        image = running.client.get(f"/v1/images/jobs/{done.id}/content?index=1").content
        forgotten = ended(running, create(running, 1))
        running.client.delete(f"/v1/images/jobs/{forgotten.id}")
    with service([20], **kept) as running:
        broken_off = [create(running, 200, seed=8), create(running, 4, seed=9, size="64x32")]
        until(lambda: status(running, broken_off[0]).step > 0)
    with service([1000], **kept) as running:
        again = status(running, done)
        assert (again.status, again.server, again.size, again.created_at) == (
            "completed",
            "s0",
            "64x32",
            done.created_at,
        )
        assert running.client.get(f"/v1/images/jobs/{done.id}/content?index=1").content == image
        refused(running.client.get(f"/v1/images/jobs/{forgotten.id}"), 404, "job_not_found")
        assert [ended(running, one).status for one in broken_off] == ["completed"] * 2
        redrawn = running.client.get(f"/v1/images/jobs/{broken_off[1].id}/content").content
        direct = running.draw(num_inference_steps=4, seed=9, size="64x32").json()["data"][0]["b64_json"]
        assert redrawn == base64.b64decode(direct)
    assert (tmp_path / "jobs.sqlite").stat().st_mode & 0o077 == 0


def test_what_a_job_failed_of_is_remembered_and_old_jobs_are_not(tmp_path):
    kept = {"jobs_file": str(tmp_path / "jobs.sqlite")}
    with service([20], **kept) as running:
        running.gateway.dispatcher.loads[0].speed.over_expected = 0.1
        failed = ended(running, create(running, 40, deadline_s=0.5))
        until(lambda: running.gateway._store.saved()[0].ended is not None)
    with service([20], **kept) as running:
        assert status(running, failed).error.code == "deadline_exceeded"
    with service([20], **kept, job_s=0.1) as running:
        refused(running.client.get(f"/v1/images/jobs/{failed.id}"), 404, "job_not_found")
        assert running.gateway._store.saved() == []


def test_a_file_that_cannot_keep_jobs_is_refused_and_one_that_fails_later_is_told(tmp_path, monkeypatch):
    with pytest.raises(ConfigurationError, match="jobs cannot be kept in .*: "), service([20], jobs_file=str(tmp_path)):
        pass
    (tmp_path / "text").write_text("this is no database, but a text of more than a hundred characters" * 3)
    with (
        pytest.raises(ConfigurationError, match="jobs cannot be kept"),
        service([20], jobs_file=str(tmp_path / "text")),
    ):
        pass
    with service([20], jobs_file=str(tmp_path / "jobs.sqlite")) as running:
        running.gateway._store.close()
        answer = running.client.post("/v1/images/jobs", json={"prompt": "x", "num_inference_steps": 200})
        refused(answer, 503, "job_not_kept")
        until(lambda: len(running.gateway.jobs) == 0, 5.0)
