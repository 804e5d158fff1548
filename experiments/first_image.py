"""A service from its command to the first image over HTTP, timed; then its policy tuned and swapped while it serves.

    python -m experiments.first_image                                           the embedded pipelines, with any-fleet
    python -m experiments.first_image --setting results/digits/requests.yaml    and tuned for a simulator of them

Starts ``lad-rllib serve`` as a process, asks it for images by OpenAI's client, and ends it. With --setting, which
``lad-rllib fleet calibrate`` leaves, the policy is tuned beside the service and swapped in. Written into --output: the
first image (first_image.png), what was timed (first_image.csv) and, where Chromium and its driver are installed, the
service's page while it serves (page.png).
"""

from __future__ import annotations

import base64
import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import openai
import pandas as pd
from pydantic import Field

from experiments.page_picture import browsing
from lad_rllib import durable
from lad_rllib.cli.program import Program
from lad_rllib.errors import ConfigurationError
from lad_rllib.runs.options import Count, Options, option
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.provenance import machine
from lad_rllib.service import read_prompts

STEPS = (10, 30)
"""Denoising steps of the images, as many of each kind."""


class FirstImageOptions(Options):
    """Which service is started, and what it is asked for."""

    command: ClassVar[str] = "first_image"
    title = "run"

    fleet: str = option("digits", "fleet that serves", "NAME|FILE")
    checkpoint: str = option("any-fleet", "policy that decides at first", "DIR|NAME")
    setting: str | None = option(None, "tune the policy for this simulator of the fleet, and swap it in", "FILE")
    episodes: Count = option(10, "episodes of tuning")
    images: Count = option(40, "images that are asked for while the page is looked at")
    gap: Annotated[float, Field(gt=0)] = option(0.17, "mean time between two of them [s]", "S")
    output: str = option("results/first_image", "output folder", "DIR")


def run(options: FirstImageOptions) -> int:
    """Start, ask, tune, write, end; returns the exit status."""
    output, port, began_s = writable_folder(options.output), free_port(), time.perf_counter()
    serve = ["serve", "--fleet", options.fleet, "--checkpoint", options.checkpoint, "--port", str(port)]
    with serving(said(serve)) as url:
        ready_s = time.perf_counter() - began_s
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", timeout=120.0)
        png = drawn(client, "a red seven", 20)
        first_s = time.perf_counter() - began_s
        durable.write_file(output / "first_image.png", png)
        print(f"the first image came {first_s:.1f} s after the command: {output / 'first_image.png'}", flush=True)
        row = {"ready_s": ready_s, "first_image_s": first_s} | machine()
        pd.DataFrame([row]).to_csv(output / "first_image.csv", index=False)
        with browsing(url) as picture:
            asked(client, options, lambda: picture(output / "page.png"))
        if options.setting is not None:
            tune(options, output / "tuned", url)
            drawn(client, "a green two", 20)
            print("the tuned policy has sent a request", flush=True)
    return 0


def tune(options: FirstImageOptions, folder: Path, url: str) -> None:
    """Tune the policy beside the service and swap it in."""
    train = ["train", "--algorithm", "lad-dispatch", "--init-from", options.checkpoint, "--setting", options.setting]
    subprocess.run(
        said([*train, "--episodes", str(options.episodes), "--output", str(folder), "--overwrite"]), check=True
    )
    subprocess.run(said(["serve", "swap", str(folder / "checkpoint"), "--url", url]), check=True)


def said(words: Sequence[str]) -> list[str]:
    """The command of these words, which is printed."""
    print("\n$ lad-rllib", *words, flush=True)
    return [sys.executable, "-m", "lad_rllib.cli", *words]


def free_port() -> int:
    """A port where nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving(command: Sequence[str]) -> Iterator[str]:
    """The address of a service that runs in a process of its own; it ends with the context."""
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    try:
        url = ""
        for line in running.stdout:
            print(line, end="", flush=True)
            url = line.split()[1].rstrip("/") if line.startswith("page:") else url
            if line.startswith("end it:"):
                break
        else:
            raise ConfigurationError("the service did not start; it says why above")
        yield url
    finally:
        running.terminate()
        running.wait()


def drawn(client: openai.OpenAI, prompt: str, steps: int) -> bytes:
    """An image that the service has drawn, as PNG."""
    answer = client.images.generate(prompt=prompt, extra_body={"num_inference_steps": steps})
    return base64.b64decode(answer.data[0].b64_json)


def asked(client: openai.OpenAI, options: FirstImageOptions, at_end: Callable[[], None]) -> None:
    """Ask for images at random moments; ``at_end`` is called when the last one is asked for, before all are drawn."""
    rng = np.random.default_rng(0)
    with ThreadPoolExecutor(options.images) as pool:
        for prompt in islice(cycle(read_prompts()), options.images):
            pool.submit(drawn, client, prompt, int(rng.choice(STEPS)))
            time.sleep(rng.exponential(options.gap))
        at_end()


main = Program(run, FirstImageOptions, __doc__, {"fleet": "emulated", "images": 5})

if __name__ == "__main__":
    sys.exit(main())
