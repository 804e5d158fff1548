"""A server kind of another package: it paints waves with NumPy, one for each denoising step."""

import io
import time
from typing import Annotated, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from lad_rllib.edge import EngineDescription, EngineOutput, InvalidRequest
from lad_rllib.fleet import ServerSpec


class WavesEngine:
    """Adds one wave of random direction and colour in each step."""

    time_scale = 1.0

    def __init__(self, side):
        self.side = side

    def load(self):
        self.y, self.x = np.mgrid[0:1:0.01, 0:1:0.01]

    def warm_up(self, sizes=None):
        pass

    def check(self, task):
        if task.width or task.height:
            raise InvalidRequest(f"waves are always {self.side} pixels wide and high")

    def generate(self, task, on_step):
        begin_s = time.perf_counter()
        rng, pixels = np.random.default_rng(task.seed), np.zeros((*self.x.shape, 3))
        for step in range(1, task.denoising_steps + 1):
            a, b, phase = rng.normal(size=3) * 10
            pixels += np.sin(a * self.x + b * self.y + phase)[..., None] * rng.normal(size=3)
            on_step(step)
        painted_s = time.perf_counter()
        png = io.BytesIO()
        colours = (255 / (1 + np.exp(-pixels))).astype(np.uint8)
        Image.fromarray(colours).resize((self.side, self.side)).save(png, "PNG")
        return EngineOutput(
            png=png.getvalue(),
            image_mbit=len(png.getvalue()) * 8e-6,
            width=self.side,
            height=self.side,
            steps_done=task.denoising_steps,
            dtype="float64",
            denoise_s=painted_s - begin_s,
            png_s=time.perf_counter() - painted_s,
        )

    def describe(self):
        return EngineDescription("waves", "waves", "cpu", "float64", "none", self.side, self.side)


class WavesServer(ServerSpec):
    """A painter of waves."""

    kind: Literal["waves"] = "waves"
    side: Annotated[int, Field(ge=8, le=512, multiple_of=8)] = 64
    """Width and height of images [pixel]."""

    def make_engine(self, time_scale):
        return WavesEngine(self.side)
