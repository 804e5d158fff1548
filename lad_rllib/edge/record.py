"""What is known about a task after it was served: every part of its delay, and what it was served with."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class TaskRecord:
    """One served task. ``total = upload + waiting + computing + download``, as in the simulator.

    All durations are in the server's seconds (an emulated server may run faster than the wall clock). Between
    submission and delivery every instant belongs to exactly one of the four parts.

    Attributes:
        task_id: The task.
        server: Edge server that served it.
        model: Image model or emulated device.
        width: Width of the image [pixel].
        height: Height of the image [pixel].
        seed: Seed of the image.
        steps_asked: Denoising steps that the task asked for.
        steps_done: Denoising steps that were done.
        denoiser_calls: Calls of the denoiser for them; some noise schedules make more.
        dtype: Number format that the model computed in.
        attempt: Attempt that succeeded; 2 after the device had run out of memory once.
        prompt_tokens_cut: Tokens of the prompt beyond the limit of a text encoder, which the image knows nothing of;
            the most of any encoder.
        prompt_cut_by: The encoders that cut it, separated by spaces.
        negative_prompt_tokens_cut: Tokens of the server's negative prompt that were cut; 0 where the guidance
            makes no use of it.
        negative_prompt_cut_by: The encoders that cut it.
        safety_check: What the model's safety checker said: ``none`` (there is none), ``passed`` or ``blanked`` (it
            replaced the image by a blank one).
        cold_start: Whether the task met a cold server: it paid or waited for the loading of the model, or was the
            first image without a warm-up.
        predicted_delay_s: ``total_s`` as predicted at submission [s]; None if the server knew nothing yet.
        peak_memory_mib: Most memory in use [MiB]: of the CUDA device during the task, else of the process since its
            start; None if not measured.
        upload_s: Time to send the request over the server's link [s].
        waiting_s: Time in the queue [s].
        load_s: Part of computing: loading the model [s].
        encode_s: Part of computing: prompt to embeddings [s].
        denoise_s: Part of computing: all denoising steps [s].
        per_step_s: ``denoise_s`` over the steps done [s].
        decode_s: Part of computing: latent image to pixels [s].
        png_s: Part of computing: pixels to a PNG file [s].
        computing_s: Time that the server worked on the task [s].
        download_s: Time to send the image back over the link [s].
        total_s: Service delay: submission to delivery [s].
        started: When the server began with the task [s since 1970, wall clock].
        finished: When the image was delivered [s since 1970, wall clock].
    """

    task_id: str
    server: str
    model: str
    width: int
    height: int
    seed: int
    steps_asked: int
    steps_done: int
    denoiser_calls: int
    dtype: str
    attempt: int
    prompt_tokens_cut: int
    prompt_cut_by: str
    negative_prompt_tokens_cut: int
    negative_prompt_cut_by: str
    safety_check: str
    cold_start: bool
    predicted_delay_s: float | None
    peak_memory_mib: float | None
    upload_s: float
    waiting_s: float
    load_s: float
    encode_s: float
    denoise_s: float
    per_step_s: float
    decode_s: float
    png_s: float
    computing_s: float
    download_s: float
    total_s: float
    started: float
    finished: float

    def to_dict(self) -> dict[str, object]:
        """One row of a tidy table, in the order of the attributes."""
        return asdict(self)


@dataclass(frozen=True)
class TaskResult:
    """What a served task returns.

    Attributes:
        record: How it was served.
        png: The image as a PNG file; None from an emulated server that draws none.
    """

    record: TaskRecord
    png: bytes | None
