"""A Stable Diffusion 3 pipeline of random weights, so small that a denoising step takes milliseconds on a CPU."""

from pathlib import Path


def make_tiny_pipeline(folder: Path, seed: int = 0) -> Path:
    """Write the pipeline into ``folder``: two CLIP text encoders, no T5, images of 32x32 pixels, at most 64x64."""
    import torch
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel
    from diffusers import StableDiffusion3Pipeline as Pipeline
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    torch.manual_seed(seed)
    tokenizer = _letters()
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=37,
        projection_dim=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=64,
        pooled_projection_dim=64,
        out_channels=4,
        pos_embed_max_size=8,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=4,
        latent_channels=4,
        use_quant_conv=False,
        use_post_quant_conv=False,
        shift_factor=0.06,
        scaling_factor=1.5,
    )
    pipeline = Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        vae=vae,
        text_encoder=CLIPTextModelWithProjection(text),
        tokenizer=tokenizer,
        text_encoder_2=CLIPTextModelWithProjection(text),
        tokenizer_2=tokenizer,
        text_encoder_3=None,
        tokenizer_3=None,
    )
    pipeline.save_pretrained(folder)
    return folder


def _letters():
    """A tokenizer whose words are letters."""
    from transformers import CLIPTokenizer

    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=77)


def make_tiny_unet_pipeline(folder: Path, seed: int = 0, scheduler=None, blanks_all: bool | None = None) -> Path:
    """Write a pipeline of the first Stable Diffusion's kind: a U-Net, 16x16 pixels.

    Args:
        folder: Where to.
        seed: Of the weights.
        scheduler: Noise schedule; None: one of second order.
        blanks_all: Whether the safety checker objects to every image or to none; None: no safety checker.
    """
    import torch
    from diffusers import AutoencoderKL, HeunDiscreteScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(seed)
    tokenizer = _letters()
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    pipeline = StableDiffusionPipeline(
        vae=AutoencoderKL(
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=4,
        ),
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(8, 16),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            cross_attention_dim=16,
            attention_head_dim=2,
            norm_num_groups=4,
        ),
        scheduler=scheduler or HeunDiscreteScheduler(steps_offset=1),
        requires_safety_checker=blanks_all is not None,
        **_safety_checker(blanks_all),
    )
    pipeline.save_pretrained(folder)
    return folder


def _safety_checker(blanks_all: bool | None) -> dict[str, object]:
    """Stable Diffusion's own checker with random weights, and a threshold that every image or no image passes."""
    if blanks_all is None:
        return {"safety_checker": None, "feature_extractor": None}
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor

    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        vision_config={**small, "image_size": 16, "patch_size": 8}, text_config=small, projection_dim=16
    )
    checker = StableDiffusionSafetyChecker(config)
    checker.special_care_embeds_weights.data.fill_(2.0)  # similarities are between -1 and 1
    checker.concept_embeds_weights.data.fill_(-2.0 if blanks_all else 2.0)
    size = {"height": 16, "width": 16}
    return {"safety_checker": checker, "feature_extractor": CLIPImageProcessor(size=size, crop_size=size)}
