"""From a client's request to an image task, within the limits of the service."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from lad_rllib.api.clients import Client
from lad_rllib.api.errors import ApiError, unknown
from lad_rllib.api.settings import ApiSettings
from lad_rllib.api.wire import JobRequest
from lad_rllib.edge.errors import InvalidRequest
from lad_rllib.edge.task import ImageTask

UNSAID_PIXELS = 1024 * 1024
"""Pixels that an image without a size is counted with."""

MAX_DRAWN_SEED = 2**31

PARAMS = {"prompt": "prompt", "negative_prompt": "negative_prompt", "width": "size", "height": "size"}
"""Parameter of a request by the field of a task that can be wrong although the request looks well."""


class TaskMaker:
    """Makes the task of each request.

    Args:
        settings: The service's limits and defaults.
        num_stations: Base stations of the fleet.
    """

    def __init__(self, settings: ApiSettings, num_stations: int) -> None:
        self._settings, self._num_stations = settings, num_stations
        self._users: set[str] = set()

    def task(self, asked: JobRequest, task_id: str, client: Client, models: Sequence[str]) -> ImageTask:
        """The task of a request.

        Args:
            asked: The request.
            task_id: Name of the task.
            client: Who asks.
            models: Image models of the service; with one or none, tasks name no model.

        Raises:
            ApiError: for a request beyond a limit, with the parameter's name.
        """
        size = None if asked.size in (None, "auto") else [int(side) for side in str(asked.size).split("x")]
        self._check_limits(asked, size, client)
        if asked.model is not None and models and asked.model not in models:
            raise unknown("model", asked.model, "model")
        width, height = size or (None, None)
        try:
            return ImageTask(
                task_id,
                asked.prompt,
                asked.num_inference_steps or self._settings.default_steps,
                width,
                height,
                seed=secrets.randbelow(MAX_DRAWN_SEED) if asked.seed is None else asked.seed,
                guidance=asked.guidance_scale,
                deadline_s=asked.deadline_s,
                station=asked.station,
                images=asked.n or 1,
                model=asked.model if len(models) > 1 else None,
                priority=asked.priority,
                tenant=self._tenant(asked, client),
                negative_prompt=asked.negative_prompt,
            )
        except InvalidRequest as error:
            problem = str(error).removesuffix(f" (task {task_id})")
            raise ApiError(422, problem, "invalid_parameter", param=PARAMS.get(problem.split()[0])) from None

    def _check_limits(self, asked: JobRequest, size: Sequence[int] | None, client: Client) -> None:
        limits = self._settings
        pixels = UNSAID_PIXELS if size is None else size[0] * size[1]
        steps, images = asked.num_inference_steps or limits.default_steps, asked.n or 1
        for param, what, value, most in (
            ("prompt", "characters of the prompt", len(asked.prompt), limits.max_prompt_chars),
            ("negative_prompt", "its characters", len(asked.negative_prompt or ""), limits.max_prompt_chars),
            ("num_inference_steps", "denoising steps", steps, limits.max_steps),
            ("n", "images", images, limits.max_images),
            ("size", "pixels of an image", 0 if size is None else pixels, limits.max_pixels),
            ("guidance_scale", "guidance_scale", asked.guidance_scale or 0.0, limits.max_guidance),
            ("priority", "priority", asked.priority, client.max_priority),
            ("station", "base station", asked.station, self._num_stations - 1),
            ("num_inference_steps", "pixels x steps x images", pixels * steps * images, limits.max_pixel_steps),
        ):
            if value > most:
                raise ApiError(422, f"{what} may be at most {most:g}, got {value:g}", "over_limit", param=param)

    def _tenant(self, asked: JobRequest, client: Client) -> str:
        """On whose account it is served: the key's, or the user's as long as there are not too many to remember."""
        user = client.name or asked.user or asked.safety_identifier or ""
        if user not in self._users and len(self._users) < self._settings.max_tenants:
            self._users.add(user)
        return user if user in self._users else ""
