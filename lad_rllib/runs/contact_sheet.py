"""All images of a run on one page, each with its prompt and what it took."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lad_rllib.errors import ConfigurationError
from lad_rllib.service.delivery import Delivery

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont, ImageFont

TILE = 160
TEXT_HEIGHT = 66
MARGIN = 8
LETTERS_PER_LINE = 27


def save_contact_sheet(
    deliveries: Sequence[Delivery], path: str | Path, columns: int = 5, max_images: int = 100
) -> None:
    """Write a PNG with the images in order, enlarged or reduced to one size.

    Below each: prompt, server, denoising steps and service delay; instead of one that is missing, its error.

    Args:
        deliveries: What to show.
        path: File to write.
        columns: Images in a row.
        max_images: Images on the page; the first ones are shown.

    Raises:
        ConfigurationError: if there is nothing to show.
    """
    from PIL import Image, ImageDraw, ImageFont

    shown = list(deliveries)[:max_images]
    if not shown:
        raise ConfigurationError("a contact sheet needs at least one task")
    columns = min(columns, len(shown))
    width, height = TILE + MARGIN, TILE + TEXT_HEIGHT + MARGIN
    page = Image.new("RGB", (MARGIN + columns * width, MARGIN + math.ceil(len(shown) / columns) * height), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(11)
    for number, delivery in enumerate(shown):
        left, top = MARGIN + number % columns * width, MARGIN + number // columns * height
        if delivery.png is not None:
            with Image.open(io.BytesIO(delivery.png)) as image:
                page.paste(image.convert("RGB").resize((TILE, TILE), _filter(image.width)), (left, top))
        else:
            pen.rectangle((left, top, left + TILE - 1, top + TILE - 1), outline="grey")
        _write_caption(pen, font, (left, top + TILE + 3), delivery)
    page.save(path)


def _filter(width: int) -> int:
    """Small pictures keep their pixels visible; large ones are reduced smoothly."""
    from PIL import Image

    return Image.Resampling.NEAREST if width < TILE else Image.Resampling.LANCZOS


def _write_caption(pen: object, font: FreeTypeFont | ImageFont, place: tuple[int, int], delivery: Delivery) -> None:
    prompt = textwrap.shorten(delivery.task.prompt, 2 * LETTERS_PER_LINE, placeholder="…")
    lines = textwrap.wrap(prompt, LETTERS_PER_LINE)
    if delivery.error is not None:
        lines.append(delivery.error.name)
    else:
        lines.append(f"{delivery.server}, {delivery.task.denoising_steps} steps")
        is_blank = delivery.record is not None and delivery.record.safety_check == "blanked"
        lines.append(f"{delivery.service_delay_s:.3g} s" + (", safety: blanked" if is_blank else ""))
    pen.multiline_text(place, "\n".join(lines), fill="black", font=font, spacing=2)  # type: ignore[attr-defined]
