"""The text-to-image model that comes with the package, so that everything runs without a download."""

from __future__ import annotations

from importlib import resources
from pathlib import Path


def embedded_model_path() -> Path:
    """Folder of the embedded model: a diffusers pipeline of 1.5 MB that draws digits in colours, 32x32 pixels.

    It loads with ``StableDiffusion3Pipeline.from_pretrained(path, text_encoder_3=None, tokenizer_3=None)``. Call the
    pipeline with ``max_sequence_length=0`` and ``sigmas=np.linspace(1, 1 / steps, steps)``; the model's card
    (``README.md`` in the folder) gives the reasons, data, licence, and quality against denoising steps.
    """
    return Path(str(resources.files("lad_rllib.edge") / "embedded_model"))
