"""Limits and defaults of the HTTP API, declared once."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field

from lad_rllib.declared import Declared, Text
from lad_rllib.edge.task import MAX_DENOISING_STEPS, MAX_GUIDANCE, MAX_IMAGES

VERDICTS = 4
"""The last verdict on a policy that is tried is on so many times ``canary_requests``."""

Count = Annotated[int, Field(ge=1)]
Bytes = Annotated[int, Field(ge=1024)]
Seconds = Annotated[float, Field(gt=0, le=1e9)]


class ApiSettings(Declared):
    """What the service takes from its clients, and how long it keeps what it made for them."""

    max_body_bytes: Bytes = 256 * 1024
    """Longest body of a request [byte]; counted while it is read, so a false length helps nobody."""
    body_s: Seconds = 10.0
    """Longest time in which a body must arrive [s]."""
    max_prompt_chars: Count = 4000
    """Longest prompt, and longest negative prompt [characters]."""
    default_steps: Annotated[int, Field(ge=1, le=MAX_DENOISING_STEPS)] = 20
    """Denoising steps of a request that does not say."""
    max_steps: Annotated[int, Field(ge=1, le=MAX_DENOISING_STEPS)] = 200
    """Most denoising steps."""
    max_guidance: Annotated[float, Field(ge=1, le=MAX_GUIDANCE)] = 20.0
    """Largest guidance scale."""
    max_images: Annotated[int, Field(ge=1, le=MAX_IMAGES)] = 10
    """Most images of one request."""
    max_pixels: Count = 2048 * 2048
    """Most pixels of an image [pixel]."""
    max_pixel_steps: Count = 1_000_000_000
    """Most pixels × steps × images of one request, an image without a size counted as 1024 × 1024: about a thousand
    steps of an image of a megapixel."""
    max_wait_s: Seconds = 120.0
    """Longest predicted wait before an image is begun [s]; beyond it requests are refused with 429."""
    max_in_flight: Count = 1000
    """Requests that may be in flight at once, all clients together."""
    slo_s: Seconds = 60.0
    """Delay that a request without a deadline should meet [s]; the share that does is shown."""
    url_s: Seconds = 3600.0
    """How long the address of an image works [s]."""
    job_s: Seconds = 3600.0
    """How long a job, and the answer to an ``Idempotency-Key``, is remembered after its end [s]."""
    max_kept_bytes: Bytes = 512 * 1024 * 1024
    """Images that are kept in memory, all together [byte]; the oldest go first."""
    max_kept_jobs: Count = 10_000
    """Jobs that are remembered; of those that have ended, the oldest go first."""
    jobs_file: Text | None = None
    """File in which jobs and their images are kept, prompts included, so that they survive a restart: those that had
    not ended are served again; null: in memory alone."""
    max_tenants: Count = 1000
    """Names of users (``user``) that are told apart; later ones share one name."""
    max_watchers: Count = 100
    """Streams of events that may be open at once."""
    show_images: bool = True
    """Whether the events name the address of each image that is made, for the page of the service."""
    canary_share: Annotated[float, Field(gt=0, le=0.5)] = 0.1
    """Share of the requests for which a policy that is tried decides, after it has decided in shadow [1]."""
    shadow_requests: Count = 200
    """Requests that a policy that is tried decides in shadow, without effect."""
    canary_requests: Count = 100
    """Requests of its share after which there is a verdict; if that is undecided, after twice as many, and so on."""
    trial_s: Seconds = 21_600.0
    """Longest trial of a policy, which is rejected then [s]."""
    go_back_after_s: Seconds = 600.0
    """Longest time for which the policy in charge may have a worse mean or 99th percentile than least work left or the
    policy before it would have had [s]; then that takes its place."""
    look_s: Seconds = 5.0
    """Time between two looks at the policy in charge and the one that is tried [s]; longer where a look takes more than
    a twentieth of it."""
    policies_file: Text | None = None
    """File to which a record of each trial, each change of the policy in charge and each return is added, a JSON object
    in each line; null: in memory alone."""
    keys_file: Text | None = None
    """File of API keys; null: everyone who reaches the port may ask, and changes are for this machine alone."""
    public_url: Text | None = None
    """What addresses of images begin with, such as ``https://images.example.org``; null: as the client called us."""

    @property
    def requests_remembered(self) -> int:
        """Latest requests that are remembered: as many as the last verdict on a policy that is tried takes."""
        return max(2000, math.ceil(1.2 * VERDICTS * self.canary_requests / self.canary_share))
