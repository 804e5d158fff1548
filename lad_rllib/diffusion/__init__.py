"""The latent action diffusion network: noise schedule, reverse step, denoiser.

Names load their module when they are first used: the schedule alone needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lad_rllib.late import late_names

if TYPE_CHECKING:
    from lad_rllib.diffusion.latent_actor import LatentActionActor
    from lad_rllib.diffusion.noise_schedule import ReverseStep, reverse_steps
    from lad_rllib.diffusion.reference import TORCH, TorchBackend
    from lad_rllib.diffusion.stacked import StackedMLP

__all__ = ["TORCH", "LatentActionActor", "ReverseStep", "StackedMLP", "TorchBackend", "reverse_steps"]

__getattr__ = late_names(
    __name__,
    {
        "latent_actor": "LatentActionActor",
        "noise_schedule": "ReverseStep reverse_steps",
        "reference": "TORCH TorchBackend",
        "stacked": "StackedMLP",
    },
)
