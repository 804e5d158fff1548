"""Images over HTTP: what is answered, what is refused, and what a client that leaves costs."""

import base64
import io
import json
import socket
import threading
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from PIL import Image

from lad_rllib.api.settings import ApiSettings
from lad_rllib.api.wire import Error, Images, Model, Models
from lad_rllib.errors import ConfigurationError
from tests.api.running import Slow, refused, service
from tests.service.fleets import until


@pytest.fixture(scope="module")
def running():
    with service([1000, 2000], models=("digits", "letters")) as one:
        yield one


def test_images_come_in_the_answer_with_their_seeds_and_how_they_were_served(running):
    answer = running.draw(n=2, seed=7, size="64x32", num_inference_steps=5, model="letters", response_format="b64_json")
    images = Images.model_validate(answer.json())
    assert answer.status_code == 200 and [image.seed for image in images.data] == [7, 8]
    pictures = [Image.open(io.BytesIO(base64.b64decode(image.b64_json))) for image in images.data]
    assert [picture.size for picture in pictures] == [(64, 32)] * 2 and images.size == "64x32"
    assert images.served.steps == 5 and images.served.server in ("s0", "s1") and images.served.model == "letters"
    assert images.served.delay_s >= images.served.computing_s > 0
    again = Images.model_validate(
        running.draw(n=2, seed=7, size="64x32", num_inference_steps=5, model="letters").json()
    )
    assert [image.b64_json for image in again.data] == [image.b64_json for image in images.data]


def test_a_request_that_says_nothing_gets_the_services_steps_and_a_drawn_seed(running):
    first, second = (Images.model_validate(running.draw().json()) for _ in range(2))
    assert first.served.steps == ApiSettings().default_steps and len(first.data) == 1
    assert first.data[0].seed != second.data[0].seed


def test_an_image_has_an_address_that_works_for_a_while_and_cannot_be_guessed():
    with service([1000], url_s=1.0) as running:
        shown = running.draw(response_format="url").json()["data"][0]
        assert shown["url"].startswith(running.url) and "b64_json" not in shown
        name = shown["url"].split("/")[-2]
        assert len(name) >= 32
        image = running.client.get(shown["url"])
        assert image.headers["content-type"] == "image/png" and Image.open(io.BytesIO(image.content)).size == (64, 64)
        assert image.headers["cache-control"] == "private, no-store"
        assert image.headers["cross-origin-resource-policy"] == "cross-origin"  # a client's page may show it
        refused(running.client.get(shown["url"].replace(name, name[:-1])), 404, "image_not_found")
        until(lambda: running.client.get(shown["url"]).status_code == 404)


@pytest.mark.parametrize(
    ("host", "base"), [("images.example.org", "http://images.example.org"), ("evil.org/x?y=", ""), ("a b", "")]
)
def test_an_address_begins_with_what_the_client_called_us_if_that_is_a_host(running, host, base):
    address = running.draw(headers={"host": host}, response_format="url").json()["data"][0]["url"]
    assert address.startswith(f"{base}/v1/images/")


def test_addresses_begin_with_the_public_address_that_was_set():
    with service([1000], public_url="https://draw.example.org/") as running:
        address = running.draw(response_format="url").json()["data"][0]["url"]
    assert address.startswith("https://draw.example.org/v1/images/")


@pytest.mark.parametrize(
    ("asked", "code", "param"),
    [
        ({"prompt": ""}, "invalid_parameter", "prompt"),
        ({"prompt": " \n"}, "invalid_parameter", "prompt"),
        ({"prompt": "x" * 4001}, "over_limit", "prompt"),
        ({"prompt": "half an emoji \ud83d"}, "invalid_parameter", "prompt"),
        ({"negative_prompt": "x" * 4001}, "over_limit", "negative_prompt"),
        ({"n": 0}, "invalid_parameter", "n"),
        ({"n": 11}, "over_limit", "n"),
        ({"n": "2"}, "invalid_parameter", "n"),
        ({"n": 1.5}, "invalid_parameter", "n"),
        ({"size": "huge"}, "invalid_parameter", "size"),
        ({"size": "1001x8"}, "invalid_parameter", "size"),
        ({"size": "2056x2048"}, "over_limit", "size"),
        ({"num_inference_steps": 201}, "over_limit", "num_inference_steps"),
        ({"num_inference_steps": 200, "size": "2048x2048", "n": 2}, "over_limit", "num_inference_steps"),
        ({"num_inference_steps": True}, "invalid_parameter", "num_inference_steps"),
        ({"seed": -1}, "invalid_parameter", "seed"),
        ({"seed": 10**4000}, "invalid_parameter", "seed"),
        ({"guidance_scale": 21}, "over_limit", "guidance_scale"),
        ({"guidance_scale": float("nan")}, "invalid_parameter", "guidance_scale"),
        ({"deadline_s": 0}, "invalid_parameter", "deadline_s"),
        ({"priority": 1001}, "invalid_parameter", "priority"),
        ({"station": 3}, "over_limit", "station"),
        ({"response_format": "jpeg"}, "invalid_parameter", "response_format"),
        ({"quality": "hd"}, "invalid_parameter", "quality"),
        ({"promt": "x"}, "unknown_parameter", "promt"),
        ({"\ud83d": "x"}, "invalid_parameter", None),
    ],
)
def test_what_is_not_valid_is_refused_by_the_name_of_its_parameter(running, asked, code, param):
    body = json.dumps({"prompt": "a red seven", **asked})
    answer = running.client.post("/v1/images/generations", content=body, headers={"content-type": "application/json"})
    refused(answer, 422, code, param)


@pytest.mark.parametrize("body", [b"{", b"", b"[]", b"3", b'"prompt"', b"\xff\xfe", b'{"a":' * 50_000, b"9" * 5000])
def test_a_body_that_is_no_object_is_refused_in_one_line(running, body):
    answer = running.client.post("/v1/images/generations", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422) and Error.model_validate(answer.json())


def test_models_are_listed_the_default_first_and_others_are_not_found(running):
    models = Models.model_validate(running.client.get("/v1/models").json())
    assert [model.id for model in models.data] == ["digits", "letters"]
    assert Model.model_validate(running.client.get("/v1/models/letters").json()).id == "letters"
    assert "'sdxl'" in refused(running.client.get("/v1/models/sdxl"), 404, "model_not_found")
    assert "'sdxl'" in refused(running.draw(model="sdxl"), 404, "model_not_found", "model")


def test_other_paths_and_methods_are_errors_in_the_same_form(running):
    refused(running.client.get("/v1/images/../../etc/passwd"), 404, "not_found")
    refused(running.client.get("/v1/images/%2e%2e%2f%2e%2e%2fetc%2fpasswd/content"), 404, "not_found")
    answer = running.client.get("/v1/images/generations")
    refused(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


def test_a_body_that_is_too_long_is_refused_whether_it_says_so_or_not(running):
    refused(running.client.post("/v1/images/generations", content=b"x" * 300_000), 413, "body_too_large")
    chunks = (b"x" * 10_000 for _ in range(1000))
    answer = running.client.post("/v1/images/generations", content=chunks)
    refused(answer, 413, "body_too_large")
    assert answer.headers["connection"] == "close"


def test_a_body_that_comes_too_slowly_is_refused():
    with service([1000], body_s=0.3) as running:
        address = urlsplit(running.url)
        with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
            connection.sendall(b"POST /v1/images/generations HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            said = b"".join(iter(lambda: connection.recv(4096), b""))
        assert said.startswith(b"HTTP/1.1 408") and b'"code": "slow"' in said
        assert running.draw().status_code == 200


def test_requests_have_ids_and_no_header_comes_from_what_clients_send(running):
    assert running.draw(headers={"x-request-id": "mine.1"}).headers["x-request-id"] == "mine.1"
    given = running.draw(headers={"x-request-id": "a: b"}).headers["x-request-id"]
    assert given.startswith("req-") and given != running.draw().headers["x-request-id"]
    answer = running.client.get("/v1/images/a%0d%0aset-cookie:%20b=c%22/content")
    refused(answer, 404, "image_not_found")
    assert "set-cookie" not in answer.headers
    assert answer.headers["x-content-type-options"] == "nosniff" and "access-control-allow-origin" not in answer.headers


def test_a_refusal_says_when_to_come_back():
    with service([20], max_wait_s=2.0) as running:
        begun = Slow(running, 80)  # 4 s of work
        answer = running.draw(num_inference_steps=1)
        message = refused(answer, 429, "busy")
        assert "would wait for" in message and answer.headers["retry-after"] in ("2", "1")
        begun.leave()
        until(lambda: running.draw(num_inference_steps=1).status_code == 200)


def test_a_deadline_that_cannot_be_met_is_refused_and_one_that_passes_is_an_error():
    with service([20]) as running:
        answer = running.draw(num_inference_steps=100, deadline_s=2.0)
        assert "would take 5" in refused(answer, 429, "deadline_too_short", "deadline_s")
        assert answer.headers["retry-after"] in ("3", "4")
        running.gateway.dispatcher.loads[0].speed.over_expected = 0.1  # it is believed to be faster than it is
        answer = running.draw(num_inference_steps=40, deadline_s=0.5)
        refused(answer, 504, "deadline_exceeded")
        assert answer.headers["x-should-retry"] == "false"


def test_so_many_requests_are_in_flight_and_no_more():
    with service([20], max_in_flight=2) as running:
        slow = [Slow(running, 200) for _ in range(2)]
        assert running.draw().headers["retry-after"] == "1"
        refused(running.draw(), 429, "busy")
        for one in slow:
            one.leave()
        until(lambda: running.draw(num_inference_steps=1).status_code == 200)


def test_a_client_that_leaves_frees_its_server_within_a_step_wherever_its_task_is():
    with service([20], max_wait_s=1e6) as running:
        server = running.servers[0].inner
        first, second = Slow(running, 200), Slow(running, 200)
        until(lambda: server.status().tasks_queued == 1 and server.status().running_step > 0)
        second.leave()
        until(lambda: server.status().tasks_queued == 0, 5.0)
        first.leave()
        assert until(lambda: server.status().running_task_id is None, 5.0) < 2.0
        assert len(running.gateway.jobs) == 0


def test_servers_that_are_lost_are_a_503_that_says_when_to_try_again():
    with service([1000, 1000]) as running:
        for server in running.servers:
            server.dead = True
        answer = running.draw()
        refused(answer, 503, "server_unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        until(lambda: running.client.get("/healthz").status_code == 503)
        for server in running.servers:
            server.dead = False
        until(lambda: running.client.get("/healthz").json() == {"status": "ok", "servers_up": 2})
        assert running.draw().status_code == 200


def test_a_closed_gateway_refuses_and_closes_twice():
    with service([1000]) as running:
        running.gateway.dispatcher.close()
        refused(running.draw(), 503, "closed")
        running.gateway.close()
        refused(running.draw(), 503, "closed")
        running.gateway.close()


def test_a_failure_of_the_service_is_an_error_in_the_same_form(monkeypatch):
    with service([1000]) as running:
        dispatcher = running.gateway.dispatcher
        monkeypatch.setattr(dispatcher, "admit", lambda task, check: check(None, SimpleNamespace()))
        answer = running.draw(headers={"x-request-id": "seen"})
        message = refused(answer, 500, "internal_error")
        assert "SimpleNamespace" not in message and answer.headers["x-request-id"] == "seen"


def test_observers_are_told_of_every_delivery_and_their_failures_harm_nobody(caplog):
    seen = []

    def broken(delivery):
        raise ValueError("the disk is full")

    with service([1000], observers=[broken, seen.append]) as running:
        answers = [running.draw(num_inference_steps=1) for _ in range(3)]
        until(lambda: len(seen) == 3)
    assert [delivery.task.task_id for delivery in seen] == [answer.json()["served"]["id"] for answer in answers]
    assert "the disk is full" in caplog.text


def test_users_are_tenants_as_long_as_there_are_not_too_many():
    seen = []
    with service([1000], observers=[seen.append], max_tenants=2) as running:
        for user in ("a", "b", "c", "a", None):
            running.draw(num_inference_steps=1, user=user)
        until(lambda: len(seen) == 5)
    assert [delivery.task.tenant for delivery in seen] == ["a", "b", "", "a", ""]


def test_what_else_a_client_asks_for_reaches_the_task():
    seen = []
    with service([1000], observers=[seen.append], models=()) as running:
        asked = {"guidance_scale": 3, "negative_prompt": "fog", "priority": 4, "deadline_s": 9.5, "station": 2}
        assert running.draw(size="auto", quality="auto", **asked).status_code == 200
        until(lambda: seen)
    task = seen[0].task
    assert (task.guidance, task.negative_prompt, task.priority, task.deadline_s, task.station) == (3, "fog", 4, 9.5, 2)
    assert (task.width, task.height, task.model) == (None, None, None)


def test_a_setting_that_cannot_be_is_refused():
    with pytest.raises(ConfigurationError, match="max_body_bytes must be a whole number of at least 1024"):
        ApiSettings(max_body_bytes=0)


def test_servers_that_are_lost_and_come_back_under_load_cost_no_client_its_image():
    seen, answers = [], []
    with service([200, 200, 200], observers=[seen.append]) as running:

        def draw(first):
            for seed in range(first, first + 12):
                answers.append((seed, running.draw(num_inference_steps=4, seed=seed)))

        threads = [threading.Thread(target=draw, args=(100 * number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for number, victim in enumerate(running.servers):
            until(lambda number=number: len(answers) > 40 * number + 20, 60.0)
            victim.dead = True
            until(lambda number=number: len(answers) > 40 * number + 40, 60.0)
            victim.dead = False
            until(lambda victim=victim: running.gateway.dispatcher.loads[running.servers.index(victim)].is_up)
        for thread in threads:
            thread.join()
        until(lambda: len(seen) == 144)
    assert [answer.status_code for _, answer in answers] == [200] * 144
    assert all(answer.json()["data"][0]["seed"] == seed for seed, answer in answers)
    assert len({answer.json()["served"]["id"] for _, answer in answers}) == 144
    assert len(running.gateway.jobs) == 0
