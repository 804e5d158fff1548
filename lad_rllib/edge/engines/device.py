"""The device that a real engine computes on: which one, its memory, and when it is done."""

from __future__ import annotations

import gc
import resource
import sys

from lad_rllib.edge.failures import is_out_of_memory
from lad_rllib.errors import ConfigurationError


def find_device(device: str) -> str:
    """``auto`` becomes CUDA where there is one, else the CPU; anything else stays as it is.

    Raises:
        ConfigurationError: for a CUDA device where there is none.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigurationError(f"device {device} asked for, but torch finds no CUDA device; take device auto or cpu")
    return device


class DeviceMemory:
    """Peak memory and synchronisation: CUDA devices by torch, others by the operating system.

    Args:
        device: torch device.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self._is_cuda = device.startswith("cuda")

    def synchronise(self) -> None:
        """Wait for the device, so that times and cancellation belong to the step that has just been done."""
        if self._is_cuda:
            import torch

            torch.cuda.synchronize(self.device)

    def reset_peak(self) -> None:
        """Measure the peak from now on; the peak of a process cannot be reset."""
        if self._is_cuda:
            import torch

            torch.cuda.reset_peak_memory_stats(self.device)

    def peak_mib(self) -> float:
        """Most memory in use [MiB]: of the CUDA device since ``reset_peak``, else of the process since its start."""
        if self._is_cuda:
            import torch

            return torch.cuda.max_memory_allocated(self.device) / 2**20
        unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20

    def is_broken(self) -> bool:
        """Whether the process has lost its CUDA device: then even waiting for it fails."""
        try:
            self.synchronise()
        except Exception as error:
            return not is_out_of_memory(error)
        return False

    def free(self) -> None:
        """Free unused memory."""
        gc.collect()
        if self._is_cuda:
            import torch

            torch.cuda.empty_cache()
