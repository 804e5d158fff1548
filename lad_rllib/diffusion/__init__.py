"""The latent action diffusion network (torch, and kernels by numba): noise schedule, reverse step, denoiser."""

from lad_rllib.diffusion.latent_actor import LatentActionActor
from lad_rllib.diffusion.noise_schedule import ReverseStep, reverse_steps
from lad_rllib.diffusion.stacked import StackedMLP

__all__ = ["LatentActionActor", "ReverseStep", "StackedMLP", "reverse_steps"]
