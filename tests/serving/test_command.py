"""``lad-rllib serve`` from its start to Ctrl-C, as a process of its own."""

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import openai
import psutil
import pytest

from lad_rllib.cli import main
from tests.service.fleets import until
from tests.serving.running import free_port

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@pytest.fixture
def port():
    """A port where nobody listens now."""
    return free_port()


def listening(process):
    """Addresses on which a process and all that it started accept connections."""
    found = set()
    for one in [process, *process.children(recursive=True)]:
        try:
            found |= {link.laddr.ip for link in one.net_connections("tcp") if link.status == psutil.CONN_LISTEN}
        except psutil.Error:  # it has ended
            continue
    return found


def said_by(file):
    """What a process has printed so far."""
    return Path(file).read_text()


def test_one_command_answers_an_images_request_on_this_machine_alone_and_ctrl_c_ends_it_all(port, tmp_path):
    command = [sys.executable, "-m", "lad_rllib.cli", "serve", "--fleet", "emulated", "--port", str(port)]
    with (tmp_path / "said").open("w+") as said:
        running = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            until(lambda: "Ctrl-C" in said_by(said.name) or running.poll() is not None, 300)
            assert running.poll() is None, said_by(said.name)
            url = re.search(r"^images: +(\S+)$", said_by(said.name), re.MULTILINE)[1]
            answer = httpx.post(url, json={"prompt": "a red seven", "seed": 7}, timeout=60)
            assert answer.status_code == 200 and answer.json()["data"][0]["b64_json"]
            client = openai.OpenAI(base_url=url.removesuffix("/images/generations"), api_key="none")
            drawn = client.images.generate(prompt="a red seven", extra_body={"seed": 7}).data[0]
            assert drawn.b64_json == answer.json()["data"][0]["b64_json"]
            page = httpx.get(url.removesuffix("/v1/images/generations") + "/")
            assert page.status_code == 200 and "<html" in page.text
            metrics = re.search(r"^metrics: +(\S+)$", said_by(said.name), re.MULTILINE)[1]
            until(lambda: "ray_lad_requests_total" in httpx.get(metrics, timeout=10).text, 60)
            process = psutil.Process(running.pid)
            assert {ip.removeprefix("::ffff:") for ip in listening(process)} <= {"127.0.0.1", "::1"}
            children = process.children(recursive=True)
            running.send_signal(signal.SIGINT)
            assert running.wait(60) == 130
            until(lambda: not [one for one in children if one.is_running() and one.status() != "zombie"], 30)
            assert said_by(said.name).rstrip().endswith("interrupted; the service has ended")
        finally:
            running.kill()


@pytest.mark.parametrize(
    ("settings", "more", "message"),
    [
        ("max_steps: 0", [], "max_steps"),
        ("max_stepz: 3", [], "max_steps"),
        ("keys_file: keys.yaml", ["--host", "0.0.0.0", "--fleet", "nothing"], "no fleet 'nothing'"),
        ("max_steps: 3", ["--host", "0.0.0.0"], "give --keys"),
    ],
)
def test_settings_of_the_api_come_from_a_file(settings, more, message, tmp_path, capsys):
    file = tmp_path / "api.yaml"
    file.write_text(settings)
    assert main(["serve", "--api-settings", str(file), *more]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_a_port_in_use_and_an_unknown_fleet_are_one_line_before_anything_is_started(port, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        assert main(["serve", "--port", str(port)]) == 2
    assert main(["serve", "--fleet", "nothing"]) == 2
    port_said, fleet_said = capsys.readouterr().err.splitlines()
    assert f"port {port}: Address already in use" in port_said and "no fleet 'nothing'" in fleet_said
