"""From a folder or a hub name to a diffusers pipeline on a device, laid out as a memory profile says."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from lad_rllib.edge.engines.memory import MemoryProfile
from lad_rllib.edge.errors import ModelLoadFailed, one_line
from lad_rllib.errors import ConfigurationError

_LOADING = threading.Lock()  # the offline switch below is one for the whole process


@contextmanager
def hub_offline() -> Iterator[None]:
    """Keep a local folder local: libraries otherwise ask the hub about tokenizers even so."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries from drawing progress bars and from advice about packages: a server has no screen."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries = (diffusers_logging, transformers_logging)
    before = [library.get_verbosity() for library in libraries]
    for library in libraries:
        library.disable_progress_bar()
        library.set_verbosity_error()
    try:
        yield
    finally:
        for library, verbosity in zip(libraries, before, strict=True):
            library.enable_progress_bar()
            library.set_verbosity(verbosity)


def looks_like_path(model: str) -> bool:
    """Whether a model can only be meant as a path, not as ``owner/name`` of the hub.

    >>> looks_like_path("./pipeline"), looks_like_path("stabilityai/stable-diffusion-3-medium-diffusers")
    (True, False)
    """
    return model.startswith((".", "/", "~")) or model.count("/") > 1


def model_folder(model: str, folder: str | Path, what: str = "model folder") -> str:
    """The folder (of a LoRA also the file) that a model names, as an absolute path; a name of the hub stays as it is.

    Args:
        model: A path, relative to ``folder`` or else to the current folder, or a name of the hub.
        folder: Folder of the file that names the model.
        what: What it is, for the message.

    Raises:
        ConfigurationError: for a relative path that is neither here nor there.
    """
    path = os.path.expanduser(model)
    if os.path.isabs(path):
        return path
    places = list(dict.fromkeys(os.path.abspath(os.path.join(start, path)) for start in (folder, Path.cwd())))
    found = next(filter(os.path.exists, places), None)
    if found is None and looks_like_path(model):
        raise ConfigurationError(f"no {what} {' or '.join(places)}; name an existing one, or owner/name of the hub")
    return found or model


def load_pipeline(model: str, profile: MemoryProfile, device: str, dtype: Any) -> Any:
    """Load any text-to-image pipeline and lay it out.

    Args:
        model: Folder with a ``model_index.json``, or a name of the Hugging Face hub.
        profile: Memory profile, already checked for the device.
        device: torch device.
        dtype: torch dtype that the pipeline computes in.

    Returns:
        The diffusers pipeline, its progress bar off.

    Raises:
        ModelLoadFailed: one line, for whatever goes wrong.
    """
    is_folder = os.path.isdir(os.path.expanduser(model)) or looks_like_path(model)
    path = os.path.expanduser(model) if is_folder else model
    if is_folder and not (Path(path) / "model_index.json").is_file():
        raise ModelLoadFailed(f"{path} is not the folder of a diffusers pipeline: it has no model_index.json")
    with _LOADING, quiet(), hub_offline() if is_folder else nullcontext():
        try:
            pipeline = _from_pretrained(path, profile, dtype, is_folder)
            _lay_out(pipeline, profile, device, dtype)
        except ModelLoadFailed:
            raise
        except Exception as error:
            advice = "is the folder complete?" if is_folder else "is the name right, and the hub reachable?"
            raise ModelLoadFailed(f"cannot load {path}: {one_line(error)}; {advice}") from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _from_pretrained(path: str, profile: MemoryProfile, dtype: Any, is_folder: bool) -> Any:
    from diffusers import DiffusionPipeline

    config = DiffusionPipeline.load_config(path, local_files_only=is_folder)
    if isinstance(config, tuple):
        config = config[0]
    has_t5 = config.get("text_encoder_3", [None, None])[0] is not None
    arguments: dict[str, Any] = {"dtype": dtype, "local_files_only": is_folder}
    if "text_encoder_3" in config and not (has_t5 and profile.keeps_t5):
        arguments |= {"text_encoder_3": None, "tokenizer_3": None}  # else diffusers calls the folder incomplete
    if profile.name == "nf4_t5":
        if not has_t5:
            raise ModelLoadFailed(f"{path} has no T5 text encoder to put in 4 bits; take memory profile full")
        arguments["quantization_config"] = _four_bit_t5(dtype)
    if is_folder and _has_fp16_only(Path(path)):
        arguments["variant"] = "fp16"
    return DiffusionPipeline.from_pretrained(path, **arguments)


def _has_fp16_only(folder: Path) -> bool:
    """Whether a part of the pipeline has its weights as variant ``fp16`` only, as in ``model.fp16.safetensors``."""
    for part in filter(Path.is_dir, folder.iterdir()):
        weights = [file.name for file in part.iterdir() if file.suffix in (".safetensors", ".bin")]
        if weights and all(".fp16." in name or ".fp16-" in name for name in weights):
            return True
    return False


def _four_bit_t5(dtype: Any) -> Any:
    from diffusers import PipelineQuantizationConfig
    from transformers import BitsAndBytesConfig

    four_bit = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
    return PipelineQuantizationConfig(quant_mapping={"text_encoder_3": four_bit})


def denoiser_of(pipeline: Any) -> Any:
    """The network that does the denoising steps: the transformer, or the U-Net of older pipelines."""
    return getattr(pipeline, "transformer", None) or getattr(pipeline, "unet", None)


def _lay_out(pipeline: Any, profile: MemoryProfile, device: str, dtype: Any) -> None:
    import torch

    if profile.name == "model_offload":
        pipeline.enable_model_cpu_offload(device=device)
        return
    if profile.name == "group_offload":
        pipeline.enable_group_offload(
            onload_device=torch.device(device),
            offload_type="block_level",
            num_blocks_per_group=1,
            use_stream=device.startswith("cuda"),
            exclude_modules=["vae"],  # small
        )
        return
    if profile.name == "fp8":
        denoiser_of(pipeline).enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=dtype)
    pipeline.to(device)
