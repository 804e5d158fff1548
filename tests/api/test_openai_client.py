"""The official client of OpenAI, unchanged, against the service."""

import base64
import io
import threading

import httpx
import openai
import pytest
from PIL import Image

from lad_rllib.api import ApiSettings, Gateway, make_app
from lad_rllib.edge import DiffusersEngine, EdgeServer, embedded_model_path
from lad_rllib.scheduling import make_heuristic
from lad_rllib.service import Dispatcher
from tests.api.running import Slow, listening, service
from tests.service.fleets import WORK, network, until

KEY = "a-key-of-the-official-client"


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    keys = tmp_path_factory.mktemp("keys") / "keys.yaml"
    keys.write_text(f"keys: [{{name: shop, key: {KEY}}}]")
    with service([200, 400], models=("digits", "letters"), keys_file=str(keys), max_wait_s=2.0) as one:
        yield one


@pytest.fixture
def client(running):
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key=KEY, max_retries=0) as one:
        yield one


def picture(png):
    """The size of a PNG file."""
    return Image.open(io.BytesIO(png)).size


def test_images_are_generated_with_the_clients_own_words_and_with_extensions(client):
    answer = client.images.generate(
        prompt="a red seven",
        model="letters",
        n=2,
        size="64x64",
        response_format="b64_json",
        user="u1",
        quality="auto",
        output_format="png",
        extra_body={"num_inference_steps": 4, "seed": 7, "guidance_scale": 2.5, "negative_prompt": "fog"},
    )
    assert [picture(base64.b64decode(image.b64_json)) for image in answer.data] == [(64, 64)] * 2
    assert answer.size == "64x64" and answer.output_format == "png" and answer.created > 1e9
    assert answer.data[1].seed == 8 and answer.served["steps"] == 4  # extensions are there, too


def test_an_address_is_fetched(client):
    [image] = client.images.generate(prompt="a red seven", response_format="url", size="64x64").data
    assert image.b64_json is None and picture(httpx.get(image.url).content) == (64, 64)


def test_a_stream_is_read_to_its_image(client):
    asked = {"prompt": "a red seven", "size": "64x64", "stream": True}
    seen = list(client.images.generate(**asked))
    assert [type(event).__name__ for event in seen] == ["ImageGenCompletedEvent"]
    assert picture(base64.b64decode(seen[0].b64_json)) == (64, 64) and seen[0].usage.total_tokens == 0
    told = list(client.images.generate(**asked, extra_body={"progress": True, "num_inference_steps": 100}))
    assert told[0].type == "image_generation.progress" and told[-1].type == "image_generation.completed"


def test_models_are_listed_and_looked_up(client):
    assert [model.id for model in client.models.list()] == ["digits", "letters"]
    assert client.models.retrieve("letters").owned_by == "lad-rllib"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("sdxl")
    assert caught.value.code == "model_not_found"


def test_errors_are_the_clients_own(running, client):
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        client.images.generate(prompt="a red seven", size="7x7")
    assert (caught.value.param, caught.value.code, caught.value.type) == (
        "size",
        "invalid_parameter",
        "invalid_request_error",
    )
    with pytest.raises(openai.NotFoundError, match="there is no model 'sdxl'"):
        client.images.generate(prompt="a red seven", model="sdxl")
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").images.generate(prompt="a red seven")


def test_an_error_within_a_stream_is_raised(running, client):
    running.gateway.dispatcher.loads[0].speed.over_expected = running.gateway.dispatcher.loads[
        1
    ].speed.over_expected = 0.1
    asked = {"num_inference_steps": 200, "deadline_s": 0.2}
    with pytest.raises(openai.APIError, match="deadline") as caught:
        list(client.images.generate(prompt="x", stream=True, extra_body=asked))
    assert caught.value.code == "deadline_exceeded"
    for load in running.gateway.dispatcher.loads:
        load.speed.over_expected = 1.0


def test_a_client_that_is_refused_comes_back_when_it_was_told():
    refusals = []

    def note(response):
        if response.status_code == 429:
            refusals.append(response.headers["retry-after"])
            if len(refusals) == 2:
                slow.leave()

    with (
        service([40], max_wait_s=1.0) as running,
        openai.OpenAI(
            base_url=f"{running.url}/v1",
            api_key="none",
            max_retries=0,
            http_client=httpx.Client(event_hooks={"response": [note]}),
        ) as client,
    ):
        slow = Slow(running, 200)  # 5 s of work
        asked = {"prompt": "x", "extra_body": {"num_inference_steps": 1}}
        with pytest.raises(openai.RateLimitError):
            client.images.generate(**asked)
        assert refusals[0] in ("3", "4")
        assert len(client.with_options(max_retries=5).images.generate(**asked).data) == 1
    assert len(refusals) == 2


def test_a_client_that_gives_up_leaves_no_work_behind(running, client):
    until(lambda: len(running.gateway.jobs) == 0)
    with pytest.raises(openai.APITimeoutError):
        client.images.generate(prompt="x", timeout=0.2, extra_body={"num_inference_steps": 200})
    until(lambda: len(running.gateway.jobs) == 0, 5.0)
    until(lambda: all(one.inner.status().running_task_id is None for one in running.servers), 5.0)


def test_many_clients_at_once_get_each_their_own_image(running, client):
    answers = {}

    def draw(seed):
        asked = {"num_inference_steps": 2, "seed": seed}
        answers[seed] = client.images.generate(prompt="x", size="8x8", extra_body=asked).data[0]

    threads = [threading.Thread(target=draw, args=(seed,)) for seed in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {seed: image.seed for seed, image in answers.items()} == {seed: seed for seed in range(24)}
    assert len({image.b64_json for image in answers.values()}) == 24


@pytest.mark.slow
def test_the_embedded_model_draws_what_the_prompt_says():
    engine = DiffusersEngine(str(embedded_model_path()), device="cpu")
    with (
        EdgeServer("digits", engine) as server,
        Dispatcher([server], network([20.0]), WORK, make_heuristic("random")) as dispatcher,
    ):
        until(lambda: server.status().state == "ready", 300.0)
        gateway = Gateway(dispatcher, ApiSettings(default_steps=4), models=["digits"])
        with (
            listening(make_app(gateway, gateway.settings)) as url,
            openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client,
        ):
            asked = {"prompt": "a red seven", "model": "digits", "extra_body": {"seed": 3}}
            first, second = (base64.b64decode(client.images.generate(**asked).data[0].b64_json) for _ in range(2))
        gateway.close()
    assert picture(first) == (32, 32) and first == second
