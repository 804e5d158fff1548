"""The latent action diffusion network: noise schedule, reverse step, denoiser."""

from lad_rllib.diffusion.latent_actor import LatentActionActor
from lad_rllib.diffusion.noise_schedule import ReverseStep, reverse_steps
from lad_rllib.diffusion.reference import TORCH, TorchBackend
from lad_rllib.diffusion.stacked import StackedMLP

__all__ = ["TORCH", "LatentActionActor", "ReverseStep", "StackedMLP", "TorchBackend", "reverse_steps"]
