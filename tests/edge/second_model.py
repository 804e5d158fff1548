"""A second model beside the embedded one, and a LoRA for both: made from the embedded model's own weights."""

import shutil
from pathlib import Path

from lad_rllib.edge import embedded_model_path


def make_negative(folder: Path) -> Path:
    """Write the embedded model with a decoder that inverts: dark ink in the complementary colour on white."""
    from diffusers import AutoencoderTiny

    shutil.copytree(embedded_model_path(), folder)
    vae = AutoencoderTiny.from_pretrained(folder / "vae")
    last = vae.decoder.layers[-1]
    last.weight.data.neg_()
    last.bias.data.neg_().add_(1.0)  # y becomes 1 - y
    vae.save_pretrained(folder / "vae")
    return folder


def make_lora(folder: Path, seed: int = 0) -> Path:
    """Write a LoRA of random weights for the embedded model's denoiser: 10 kB."""
    import torch
    from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    transformer = SD3Transformer2DModel.from_pretrained(embedded_model_path() / "transformer")
    transformer.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_v"]))
    weights = get_peft_model_state_dict(transformer)
    generator = torch.Generator().manual_seed(seed)
    weights = {name: 0.3 * torch.randn(one.shape, generator=generator) for name, one in weights.items()}
    StableDiffusion3Pipeline.save_lora_weights(folder, transformer_lora_layers=weights)
    return folder / "pytorch_lora_weights.safetensors"
