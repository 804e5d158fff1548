"""The record of a served task: every part of its delay, and how its image was made."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ImageRecord:
    """How an engine made the images of a task.

    Attributes:
        model: Image model or emulated device; empty: the engine's only one.
        loras: LoRAs that they were drawn with, separated by spaces.
        images: Images made.
        width: Width [pixel].
        height: Height [pixel].
        steps_done: Denoising steps done.
        denoiser_calls: Calls of the denoiser for them; some noise schedules make more.
        dtype: Number format of the computation.
        attempt: Attempt that succeeded, from 1; 2 after the device had run out of memory once.
        prompt_tokens_cut: Tokens of the prompt beyond the limit of a text encoder, which do not reach the image; the
            most of any encoder.
        prompt_cut_by: The encoders that cut it, separated by spaces.
        negative_prompt_tokens_cut: Tokens of the server's negative prompt that were cut; 0 where the guidance makes no
            use of it.
        negative_prompt_cut_by: The encoders that cut it.
        safety_check: What the model's safety checker said: ``none`` (there is none), ``passed`` or ``blanked`` (it
            replaced the image by a blank one).
        settings_ignored: Settings of the task that the model takes none of, separated by spaces.
        peak_memory_mib: Most memory in use [MiB]: of the CUDA device during the task, else of the process since its
            start; None if not measured.
        swap_s: Loading the model into the memory of a server with several, and LoRAs into the model [s].
        encode_s: Prompt to embeddings [s].
        denoise_s: All denoising steps [s].
        decode_s: Latent image to pixels [s].
        png_s: Pixels to PNG files [s].
    """

    model: str = ""
    loras: str = ""
    images: int = 1
    width: int
    height: int
    steps_done: int
    denoiser_calls: int = 0
    dtype: str
    attempt: int = 1
    prompt_tokens_cut: int = 0
    prompt_cut_by: str = ""
    negative_prompt_tokens_cut: int = 0
    negative_prompt_cut_by: str = ""
    safety_check: str = "none"
    settings_ignored: str = ""
    peak_memory_mib: float | None = None
    swap_s: float = 0.0
    encode_s: float = 0.0
    denoise_s: float = 0.0
    decode_s: float = 0.0
    png_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class TaskRecord(ImageRecord):
    """One served task. ``total = upload + waiting + computing + download``, as in the simulator.

    All durations are in the server's seconds (an emulated server may run faster than the wall clock). Between
    submission and delivery every instant belongs to exactly one of the four parts.

    Attributes:
        task_id: The task.
        server: Edge server that served it.
        seed: Seed of the image.
        steps_asked: Denoising steps that the task asked for.
        cold_start: Whether the task met a cold server: it paid or waited for the loading of the model, or was the
            first image without a warm-up.
        predicted_delay_s: ``total_s`` as predicted at submission [s]; None if the server knew nothing yet.
        upload_s: Time to send the request over the server's link [s].
        waiting_s: Time in the queue, and suspended for other tasks [s].
        suspended_s: Part of waiting: suspended [s].
        interruptions: How often it was suspended.
        load_s: Part of computing: loading the server's first model [s]; the engine's parts are the others.
        per_step_s: ``denoise_s`` over the steps done [s].
        computing_s: Time that the server worked on the task [s].
        download_s: Time to send the image back over the link [s].
        total_s: Service delay: submission to delivery [s].
        started: When the server began with the task [s since 1970, wall clock].
        finished: When the image was delivered [s since 1970, wall clock].
    """

    task_id: str
    server: str
    seed: int
    steps_asked: int
    cold_start: bool
    predicted_delay_s: float | None
    upload_s: float
    waiting_s: float
    suspended_s: float = 0.0
    interruptions: int = 0
    load_s: float
    per_step_s: float
    computing_s: float
    download_s: float
    total_s: float
    started: float
    finished: float

    @property
    def drawing_s(self) -> float:
        """Computing without the loading of models and LoRAs [s]."""
        return self.computing_s - self.load_s - self.swap_s

    def to_dict(self) -> dict[str, object]:
        """One row of a tidy table: the task's attributes, then the image's."""
        return {name: getattr(self, name) for name in (*TaskRecord.__annotations__, *ImageRecord.__annotations__)}


@dataclass(frozen=True)
class TaskResult:
    """What a served task returns.

    Attributes:
        record: How it was served.
        png: The image as a PNG file; None from an emulated server that draws none.
        more_pngs: Further images of the task.
    """

    record: TaskRecord
    png: bytes | None
    more_pngs: tuple[bytes, ...] = ()
