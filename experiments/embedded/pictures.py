"""Pictures to learn from: scikit-learn's handwritten digits, moved a little, enlarged and inked in seven colours."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn.functional import affine_grid, grid_sample, interpolate

# Red, green and blue of full ink in [0, 1]; the ground is black.
COLOURS: dict[str, tuple[float, float, float]] = {
    "white": (1.0, 1.0, 1.0),
    "red": (1.0, 0.15, 0.15),
    "green": (0.15, 1.0, 0.15),
    "blue": (0.25, 0.35, 1.0),
    "yellow": (1.0, 1.0, 0.1),
    "cyan": (0.1, 1.0, 1.0),
    "magenta": (1.0, 0.15, 1.0),
}
PICTURE_SIZE = 32
TRAINING_DIGITS = 1500  # of 1797; the rest is held out
_SPLIT_SEED = 0
_CONTRAST = 1.6  # enlarging 8x8 pixels blurs the strokes
_MAX_ROTATION_DEG, _MAX_SHIFT, _MIN_SIZE = 12.0, 0.08, 0.85


@dataclass(frozen=True)
class Digits:
    """Scanned digits.

    Attributes:
        ink: Share of ink of every pixel, (N, 1, 8, 8) in [0, 1].
        labels: Which digit it is, (N,) from 0 to 9.
    """

    ink: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)


def load_digits() -> tuple[Digits, Digits]:
    """Digits to train on, and held-out ones; needs scikit-learn, which contains the scans (no download).

    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, doi:10.24432/C50P49, CC BY 4.0.
    """
    from sklearn import datasets

    scans = datasets.load_digits()
    order = torch.randperm(len(scans.target), generator=torch.Generator().manual_seed(_SPLIT_SEED))
    ink = torch.tensor(scans.images / 16.0, dtype=torch.float32)[:, None][order]
    labels = torch.tensor(scans.target)[order]
    cut = TRAINING_DIGITS
    return Digits(ink[:cut], labels[:cut]), Digits(ink[cut:], labels[cut:])


def draw(ink: torch.Tensor, colours: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Coloured pictures of scanned digits, each turned, shrunk and shifted at random.

    Args:
        ink: (N, 1, 8, 8) in [0, 1].
        colours: Index into ``COLOURS`` of each picture, (N,).
        rng: Source of the random draws.

    Returns:
        (N, 3, 32, 32) in [-1, 1]: what diffusers' autoencoders take.
    """
    count = len(ink)
    large = interpolate(ink, size=(PICTURE_SIZE, PICTURE_SIZE), mode="bicubic", align_corners=False).clamp(0, 1)

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, generator=rng)

    angle = uniform(-math.radians(_MAX_ROTATION_DEG), math.radians(_MAX_ROTATION_DEG))
    stretch = 1 / uniform(_MIN_SIZE, 1.0)
    right, down = uniform(-_MAX_SHIFT, _MAX_SHIFT), uniform(-_MAX_SHIFT, _MAX_SHIFT)
    sine, cosine = stretch * angle.sin(), stretch * angle.cos()
    affine = torch.stack([cosine, -sine, right, sine, cosine, down], dim=1).view(count, 2, 3)
    moved = grid_sample(large, affine_grid(affine, list(large.shape), align_corners=False), align_corners=False)
    sharp = ((moved - 0.5) * _CONTRAST + 0.5).clamp(0, 1)
    return sharp * colour_table()[colours].view(count, 3, 1, 1) * 2 - 1


def colour_table() -> torch.Tensor:
    """Red, green and blue of every colour in [0, 1], (colour, 3)."""
    return torch.tensor(list(COLOURS.values()))
