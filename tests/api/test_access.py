"""Who may ask, how often, and who may change the service."""

import hashlib
import os
import threading

import httpx
import pytest

from lad_rllib.api.keys import KeyRing
from lad_rllib.errors import ConfigurationError
from tests.api.running import Slow, listening, refused, service
from tests.api.steering import Steering
from tests.service.fleets import until

ADMIN, SHOP, SLOW = "admin-key-0123456789abcdef", "shop-key-0123456789abcdef", "slow-key-0123456789abcdef"
KEYS = f"""
keys:
  - {{name: admin, key: {ADMIN}, admin: true, max_priority: 10}}
  - {{name: shop, sha256: {hashlib.sha256(SHOP.encode()).hexdigest()}, open_requests: 2}}
  - {{name: slow, key: {SLOW}, requests_per_minute: 2}}
"""


def bearer(key):
    """The header with a key."""
    return {"authorization": f"Bearer {key}"}


@pytest.fixture
def keys_file(tmp_path):
    path = tmp_path / "keys.yaml"
    path.write_text(KEYS)
    return path


@pytest.fixture
def running(keys_file):
    with service([100, 200], keys_file=str(keys_file), control=Steering()) as one:
        yield one


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    """A service with keys; those who have none change nothing, so it is one for all tests."""
    path = tmp_path_factory.mktemp("locked") / "keys.yaml"
    path.write_text(KEYS)
    with service([100, 200], keys_file=str(path), control=Steering()) as one:
        yield one


ASKED = [
    ("POST", "/v1/images/generations"),
    ("POST", "/v1/images/jobs"),
    ("GET", "/v1/images/jobs/img-1"),
    ("GET", "/v1/models"),
    ("GET", "/v1/fleet"),
    ("GET", "/events"),
    ("DELETE", "/v1/fleet/servers/s0"),
    ("GET", "/v1/nothing"),
    ("GET", "/v1/images/jobs/x/content"),
]


@pytest.mark.parametrize(("method", "path"), ASKED)
@pytest.mark.parametrize("header", [None, "Bearer", "Bearer wrong", f"Basic {ADMIN}", f"Bearer {ADMIN}x", "Bearer é"])
def test_without_a_known_key_nothing_is_told_and_no_body_is_read(locked, method, path, header):
    headers = {} if header is None else {"authorization": header.encode()}
    answer = locked.client.request(method, path, content=b"{", headers=headers)
    refused(answer, 401, "invalid_api_key")
    assert answer.headers["www-authenticate"] == "Bearer"


def test_health_and_the_document_and_images_by_their_addresses_need_no_key(running):
    address = running.draw(response_format="url", headers=bearer(SHOP)).json()["data"][0]["url"]
    assert [running.client.get(path).status_code for path in ("/healthz", "/docs", "/openapi.json", address)] == [
        200
    ] * 4


def test_a_key_draws_as_its_own_tenant_and_with_no_more_than_its_priority(running):
    seen = []
    running.gateway._observers = (seen.append,)
    assert running.draw(headers=bearer(SHOP), user="somebody-else").status_code == 200
    until(lambda: seen)
    assert seen[0].task.tenant == "shop"
    refused(running.draw(headers=bearer(SHOP), priority=1), 422, "over_limit", "priority")
    assert running.draw(headers=bearer(ADMIN), priority=10).status_code == 200


def test_jobs_are_for_those_who_asked(running):
    job = running.client.post("/v1/images/jobs", json={"prompt": "x"}, headers=bearer(SHOP)).json()["id"]
    assert running.client.get(f"/v1/images/jobs/{job}", headers=bearer(SHOP)).status_code == 200
    for method, path in (("GET", job), ("DELETE", job), ("GET", f"{job}/content")):
        answer = running.client.request(method, f"/v1/images/jobs/{path}", headers=bearer(ADMIN))
        refused(answer, 404, "job_not_found")


def test_a_key_has_so_many_requests_a_minute_and_so_many_open(running):
    answers = [running.draw(num_inference_steps=1, headers=bearer(SLOW)) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    refused(answers[2], 429, "rate_limit_exceeded")
    assert 20 <= int(answers[2].headers["retry-after"]) <= 30
    slow = [Slow(running, 200, headers={"Authorization": f"Bearer {SHOP}"}) for _ in range(2)]
    refused(running.draw(headers=bearer(SHOP)), 429, "too_many_open")
    assert running.draw(num_inference_steps=1, headers=bearer(ADMIN)).status_code == 200
    for one in slow:
        one.leave()
    until(lambda: running.draw(num_inference_steps=1, headers=bearer(SHOP)).status_code == 200)


def test_many_at_once_are_no_more_than_a_key_may_have(running):
    statuses = []

    def draw():
        statuses.append(running.draw(num_inference_steps=60, headers=bearer(SHOP)).status_code)

    threads = [threading.Thread(target=draw) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses.count(200) == 2 and statuses.count(429) == 10


def test_only_an_admin_changes_the_fleet_and_watches(running):
    for method, path in (
        ("POST", "servers/s0/drain"),
        ("DELETE", "servers/s0"),
        ("PUT", "policy"),
        ("POST", "servers"),
    ):
        answer = running.client.request(method, f"/v1/fleet/{path}", json={"policy": "x"}, headers=bearer(SHOP))
        refused(answer, 403, "not_admin")
    refused(running.client.get("/events", headers=bearer(SHOP)), 403, "not_admin")
    assert running.client.put("/v1/fleet/policy", json={"policy": "x"}, headers=bearer(ADMIN)).status_code == 200
    assert running.client.get("/v1/fleet", headers=bearer(SHOP)).status_code == 200


def test_a_changed_file_counts_and_a_broken_one_leaves_the_old_keys(keys_file, monkeypatch, caplog):
    monkeypatch.setattr("lad_rllib.api.keys.LOOK_AGAIN_S", 0.0)
    ring = KeyRing(keys_file)
    assert ring.holder(SHOP).name == "shop" and ring.holder("other-key-0123456789") is None

    def write(text):
        keys_file.write_text(text)
        os.utime(keys_file, ns=(0, hash(text) & 0xFFFFFFFF))

    write("keys: [")
    assert ring.holder(SHOP).name == "shop" and "the API keys stay as they were" in caplog.text
    write("keys: [{name: new, key: other-key-0123456789}]")
    assert ring.holder("other-key-0123456789").name == "new" and ring.holder(SHOP) is None
    keys_file.unlink()
    assert ring.holder("other-key-0123456789").name == "new"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("keys: []", "keys must be a list of at least 1"),
        ("keys: [{name: a}]", "the key of a must be told once"),
        ("keys: [{name: a, key: short-secret}]", "the key of a is shorter than 20 characters"),
        (f"keys: [{{name: a, key: {SHOP}, sha256: {'ab' * 32}}}]", "the key of a must be told once"),
        (f"keys: [{{name: a, key: {SHOP}}}, {{name: a, key: {SLOW}}}]", "two keys have the same name"),
        (f"keys: [{{name: a, key: {SHOP}}}, {{name: b, key: {SHOP}}}]", "two keys have the same digest"),
        (f"keys: [{{name: a, key: {SHOP}, adminn: true}}]", "did you mean 'admin'"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_without_telling_a_key(tmp_path, text, message):
    path = tmp_path / "keys.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=message) as caught:
        KeyRing(path)
    assert SHOP not in str(caught.value) and "short-secret" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="cannot read API keys"):
        KeyRing(tmp_path / "none.yaml")


@pytest.fixture(scope="module")
def open_service():
    with service([1000], control=Steering()) as one:
        yield one


CHANGE = {"url": "/v1/fleet/policy", "json": {"policy": "x"}}


def test_without_keys_a_client_on_this_machine_may_change_the_service(open_service):
    assert open_service.client.put(**CHANGE).status_code == 200
    port = open_service.url.rpartition(":")[2]
    for host in ("localhost", f"localhost:{port}", f"127.0.0.1:{port}", "[::1]"):
        assert open_service.client.put(**CHANGE, headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example.org"},  # a name that was made to lead here
        {"host": "localhost.example.org"},
        {"host": "["},
        {"x-forwarded-for": "203.0.113.9"},  # a proxy on this machine passes it on
        {"forwarded": "for=203.0.113.9"},
        {"via": "1.1 proxy"},
    ],
)
def test_without_keys_nobody_else_may(open_service, headers):
    refused(open_service.client.put(**CHANGE, headers=headers), 403, "not_admin")
    refused(open_service.client.get("/events", headers=headers), 403, "not_admin")
    assert open_service.draw(headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{"origin": "https://evil.example.org"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}],
)
def test_without_keys_a_page_of_another_site_can_make_a_browser_do_nothing(open_service, headers):
    refused(open_service.client.put(**CHANGE, headers=headers), 403, "other_site")
    refused(open_service.client.post("/v1/fleet/servers/s0/drain", headers=headers), 403, "other_site")
    refused(open_service.draw(headers=headers), 403, "other_site")
    own = {"origin": open_service.url, "sec-fetch-site": "same-origin"}
    assert open_service.client.put(**CHANGE, headers=own).status_code == 200


def test_a_client_of_another_machine_may_draw_and_not_change(open_service):
    app = open_service.gateway

    async def far(scope, receive, send):
        await inner({**scope, "client": ("203.0.113.9", 5)}, receive, send)

    from lad_rllib.api import make_app

    inner = make_app(app, app.settings, control=Steering())
    with listening(far) as url, httpx.Client(base_url=url) as client:
        refused(client.put(**CHANGE), 403, "not_admin")
        assert client.post("/v1/images/generations", json={"prompt": "x"}).status_code == 200
