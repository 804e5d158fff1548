"""How good the embedded model's pictures are: against real ones, against many steps, and against what was asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from diffusers import StableDiffusion3Pipeline
from torch.nn.functional import avg_pool2d

from experiments.embedded.pictures import COLOURS, Digits, colour_table, draw
from experiments.embedded.prompts import DIGITS

PLAIN_WORDING = ("a handwritten {colour} {digit}",)
# Each has words that no training prompt has.
NEW_WORDING = (
    "could you sketch a {colour} {digit} for grandma",
    "the jersey of our goalkeeper shows {digit} painted {colour}",
    "{digit}, but please paint it {colour}",
    "typography poster, huge {colour} {digit}, minimalist",
    "i would love to receive a lovely {colour} {digit}",
)
_BATCH = 100
_REFERENCE_STEPS = 100
_REAL_PICTURES = 10_000
_READER_PICTURES = 6000


def generate(
    pipeline: StableDiffusion3Pipeline, prompts: Sequence[str], steps: int, guidance: float, first_seed: int = 0
) -> torch.Tensor:
    """Pictures (N, 3, 32, 32) in [0, 1]; the n-th comes from seed ``first_seed + n``.

    Args:
        pipeline: A loaded model.
        prompts: One for each picture.
        steps: Denoising steps.
        guidance: Classifier-free guidance; 1 for none.
        first_seed: Seed of the first picture.
    """
    pictures = []
    for start in range(0, len(prompts), _BATCH):
        batch = list(prompts[start : start + _BATCH])
        generators = [torch.Generator().manual_seed(first_seed + start + n) for n in range(len(batch))]
        result = pipeline(
            batch,
            num_inference_steps=steps,
            # diffusers' own schedule ends at the smallest noise level, so that N steps give N - 1 useful ones
            sigmas=np.linspace(1.0, 1.0 / steps, steps),
            guidance_scale=guidance,
            max_sequence_length=0,  # no zeros in place of T5's tokens: the model was trained without
            generator=generators,
            output_type="pt",
        )
        pictures.append(result.images.float())
    return torch.cat(pictures)


def all_kinds(wording: Sequence[str], count: int) -> tuple[list[str], torch.Tensor, torch.Tensor]:
    """``count`` prompts with their digits and colours (indices), all kinds and wordings in turn."""
    digits = torch.arange(count) % len(DIGITS)
    colours = torch.arange(count) // len(DIGITS) % len(COLOURS)
    names = list(COLOURS)
    prompts = [
        wording[n % len(wording)].format(colour=names[colours[n]], digit=DIGITS[digits[n]]) for n in range(count)
    ]
    return prompts, digits, colours


def frechet_distance(first: torch.Tensor, second: torch.Tensor) -> float:
    """Fréchet distance between two sets of pictures, each taken for a normal distribution (arXiv 1706.08500).

    The features are the pictures themselves at 8x8 pixels in three colours: the usual Inception network needs a
    download, and was trained on photographs.

    Args:
        first: Pictures (N, 3, 32, 32) in [0, 1].
        second: Pictures (M, 3, 32, 32) in [0, 1].
    """
    a, b = (avg_pool2d(pictures, 4).flatten(1).double().numpy() for pictures in (first, second))
    covariance_a, covariance_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    # tr (A B)^(1/2) from eigenvalues; those of a product of two covariances are real and at least 0.
    root_trace = np.sqrt(np.linalg.eigvals(covariance_a @ covariance_b).real.clip(min=0)).sum()
    shift = np.square(a.mean(axis=0) - b.mean(axis=0)).sum()
    return float(shift + np.trace(covariance_a) + np.trace(covariance_b) - 2 * root_trace)


def psnr_db(pictures: torch.Tensor, reference: torch.Tensor) -> float:
    """Peak signal-to-noise ratio of pictures in [0, 1], from the mean squared error over all of them, in dB."""
    return float(-10 * torch.log10((pictures - reference).square().mean()))


class Reader:
    """Reads digits with a support vector machine, and names colours.

    Args:
        digits: Scans to learn from.
        rng: Source of the random draws.
    """

    def __init__(self, digits: Digits, rng: torch.Generator) -> None:
        from sklearn.svm import SVC

        pictures, labels, _ = real_pictures(digits, _READER_PICTURES, rng)
        self._machine = SVC(C=10).fit(self._features(pictures), labels.numpy())

    @staticmethod
    def _features(pictures: torch.Tensor) -> np.ndarray:
        return avg_pool2d(pictures.amax(dim=1, keepdim=True), 2).flatten(1).numpy()

    def digits(self, pictures: torch.Tensor) -> torch.Tensor:
        """The digit that each picture shows, (N,)."""
        return torch.as_tensor(self._machine.predict(self._features(pictures)))

    @staticmethod
    def colours(pictures: torch.Tensor) -> torch.Tensor:
        """Index into ``COLOURS`` of the nearest hue of the ink, (N,)."""
        brightness = pictures.amax(dim=1, keepdim=True)
        ink = (pictures * brightness).sum(dim=(2, 3)) / brightness.sum(dim=(2, 3)).clamp_min(1e-6)
        return torch.cdist(ink / ink.amax(dim=1, keepdim=True).clamp_min(1e-6), colour_table()).argmin(dim=1)


def real_pictures(digits: Digits, count: int, rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Drawn scans (N, 3, 32, 32) in [0, 1], with their digits and colours."""
    chosen = torch.randint(len(digits), (count,), generator=rng)
    colours = torch.randint(len(COLOURS), (count,), generator=rng)
    return (draw(digits.ink[chosen], colours, rng) + 1) / 2, digits.labels[chosen], colours


def quality_rows(
    pipeline: StableDiffusion3Pipeline,
    digits: tuple[Digits, Digits],
    steps: Sequence[int],
    *,
    guidance: float,
    count: int,
    reference_count: int,
    seed: int,
) -> Iterator[dict[str, object]]:
    """One row for held-out real pictures, then one for each number of denoising steps.

    Args:
        pipeline: A loaded model.
        digits: Scans for training, and held-out ones.
        steps: Numbers of denoising steps.
        guidance: Classifier-free guidance.
        count: Pictures for the Fréchet distance and for reading.
        reference_count: Pictures for the PSNR, and of new wording.
        seed: Of the real pictures; generated pictures have the seeds 0, 1, ...
    """
    rng = torch.Generator().manual_seed(seed)
    reader = Reader(digits[0], rng)
    real = real_pictures(digits[0], _REAL_PICTURES, rng)[0]
    prompts, *asked = all_kinds(PLAIN_WORDING, count)
    new_prompts, *new_asked = all_kinds(NEW_WORDING, reference_count)

    def right(pictures: torch.Tensor, kinds: Sequence[torch.Tensor]) -> tuple[float, float]:
        """Shares of pictures with the digit and with the colour that were asked for."""
        digit, colour = reader.digits(pictures) == kinds[0], reader.colours(pictures) == kinds[1]
        return float(digit.float().mean()), float(colour.float().mean())

    held_out, *held_out_kinds = real_pictures(digits[1], count, rng)
    digit_share, colour_share = right(held_out, held_out_kinds)
    yield {
        "pictures": "held-out digits",
        "frechet_distance": frechet_distance(held_out, real),
        "digit_read_share": digit_share,
        "colour_read_share": colour_share,
    }
    reference = generate(pipeline, prompts[:reference_count], _REFERENCE_STEPS, guidance)
    for n in steps:
        pictures = generate(pipeline, prompts, n, guidance)
        digit_share, colour_share = right(pictures, asked)
        new_digit_share, new_colour_share = right(generate(pipeline, new_prompts, n, guidance), new_asked)
        yield {
            "pictures": "generated",
            "denoising_steps": n,
            "guidance_scale": guidance,
            "frechet_distance": frechet_distance(pictures, real),
            "psnr_to_100_steps_db": psnr_db(pictures[:reference_count], reference),
            "digit_read_share": digit_share,
            "colour_read_share": colour_share,
            "digit_read_share_new_wording": new_digit_share,
            "colour_read_share_new_wording": new_colour_share,
        }
