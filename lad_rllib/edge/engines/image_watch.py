"""Follows one image through a pipeline: reports its steps, counts the calls, and stops at values that are not finite.

Values have to be looked at before they become pixels: the conversion to 8 bits turns NaN into black and infinity into
white, and a dark picture is legal.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from lad_rllib.edge.errors import NonFiniteImage


class ImageWatch:
    """What happens inside a pipeline's call.

    Args:
        pipeline: The diffusers pipeline.
        accepted: Names of the arguments that its call accepts.
        steps: Denoising steps that were asked for.
        dtype: Number format of the computation, for messages.
        after_call: Called after each call of the denoiser with the number of denoising steps done so far, which
            never exceeds ``steps``.

    Attributes:
        calls: Calls of the denoiser so far, one for each of the noise schedule's timesteps.
    """

    def __init__(
        self, pipeline: Any, accepted: frozenset[str], steps: int, dtype: str, after_call: Callable[[int], None]
    ) -> None:
        self.calls = 0
        self._pipeline = pipeline
        self._accepted = accepted
        self._asked = steps
        self._dtype = dtype
        self._after_call = after_call

    @contextmanager
    def following(self) -> Iterator[dict[str, Any]]:
        """Watch the call that is made inside; yields further arguments of it."""
        with ExitStack() as stack:
            for module in decoders_of(self._pipeline):
                stack.enter_context(_wrapped(module, "decode", self._check_decoded))
            if "callback_on_step_end" in self._accepted:
                yield {"callback_on_step_end": self._callback}
                return
            stack.enter_context(_wrapped(self._pipeline.scheduler, "step", self._count))
            yield {}

    def _callback(self, pipeline: Any, index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        self._count(tensors.get("latents"))
        return tensors  # the pipeline goes on with these

    def _count(self, latents: Any) -> None:
        self.calls += 1
        timesteps = max(self.calls, len(self._pipeline.scheduler.timesteps))
        self._after_call(self._asked * self.calls // timesteps)
        self._check(latents, f"after call {self.calls} of the denoiser")

    def _check_decoded(self, image: Any) -> None:
        self._check(image, "after decoding")

    def _check(self, output: Any, moment: str) -> None:
        tensor = _tensor_of(output)
        if tensor is not None and not tensor.isfinite().all():
            raise NonFiniteImage(
                f"the image's values are not finite {moment} ({self._dtype} overflows); start the server with dtype "
                "bfloat16 or float32"
            )


def decoders_of(pipeline: Any) -> list[Any]:
    """The networks that turn latent images into pixels, by whatever name the pipeline has for them."""
    import torch

    modules = [module for module in pipeline.components.values() if isinstance(module, torch.nn.Module)]
    return [module for module in modules if callable(getattr(module, "decode", None))]


def _tensor_of(output: Any) -> Any:
    """The tensor of a scheduler's or decoder's output, or None."""
    for name in ("prev_sample", "sample"):
        output = getattr(output, name, output)
    if isinstance(output, (tuple, list)):
        output = output[0] if output else None
    return output if hasattr(output, "isfinite") else None


@contextmanager
def _wrapped(owner: Any, name: str, see: Callable[[Any], None]) -> Iterator[None]:
    """Show ``see`` what a method returns."""
    original, had_own = getattr(owner, name), name in vars(owner)

    @functools.wraps(original)  # pipelines look at the signature, and pass a generator only where there is one
    def method(*arguments: Any, **named: Any) -> Any:
        output = original(*arguments, **named)
        see(output)
        return output

    setattr(owner, name, method)
    try:
        yield
    finally:
        if had_own:
            setattr(owner, name, original)
        else:
            delattr(owner, name)
