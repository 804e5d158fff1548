"""A picture of samples: all digits in all colours, with few steps, and asked for in new words."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import StableDiffusion3Pipeline
from PIL import Image, ImageDraw

from experiments.embedded.pictures import COLOURS, PICTURE_SIZE
from experiments.embedded.prompts import DIGITS
from experiments.embedded.quality import NEW_WORDING, PLAIN_WORDING, generate

_ENLARGED = 2
_MARGIN = 90  # pixels left of the samples, for the name of the row


def save_sample_grid(pipeline: StableDiffusion3Pipeline, path: Path, guidance: float) -> None:
    """Draw the grid; ten digits in each row, every picture from another seed, no picture chosen by hand."""
    names = list(COLOURS)
    rows = [(colour, 15, [PLAIN_WORDING[0].format(colour=colour, digit=digit) for digit in DIGITS]) for colour in names]
    mixed = [PLAIN_WORDING[0].format(colour=names[n % len(names)], digit=digit) for n, digit in enumerate(DIGITS)]
    rows += [(f"{steps} step{'s' * (steps > 1)}", steps, mixed) for steps in (1, 2, 4, 8, 30)]
    new = [NEW_WORDING[n % 5].format(colour=names[n % len(names)], digit=digit) for n, digit in enumerate(DIGITS)]
    rows += [("new wording", 15, new)]
    side = PICTURE_SIZE * _ENLARGED
    canvas = Image.new("RGB", (_MARGIN + side * len(DIGITS), side * len(rows)))
    pen = ImageDraw.Draw(canvas)
    for r, (name, steps, prompts) in enumerate(rows):
        pen.text((6, r * side + side // 2 - 6), name, fill="white")
        # Rows that differ in steps only have the same seeds.
        pictures = generate(pipeline, prompts, steps, guidance, first_seed=len(DIGITS) * r if prompts != mixed else 0)
        for c, picture in enumerate(pictures):
            canvas.paste(_image(picture).resize((side, side), Image.Resampling.NEAREST), (_MARGIN + c * side, r * side))
    canvas.quantize(128).save(path, optimize=True)


def _image(picture: torch.Tensor) -> Image.Image:
    return Image.fromarray((picture.permute(1, 2, 0) * 255).round().byte().numpy())
