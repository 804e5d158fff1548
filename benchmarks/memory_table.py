"""Memory of the Stable Diffusion 3 medium pipeline by part and by memory profile: weights only, nothing downloaded.

The models are built from their published sizes on torch's meta device, which counts without allocating.
Activations come on top (some 0.4 GiB for one image of 1024x1024). ``python -m benchmarks.memory_table`` writes
benchmarks/results/sd3_memory.csv, from which the tables of docs/reference/edge-servers.md are made.
"""

from __future__ import annotations

from benchmarks.report import RESULTS, provenance, write_figures

GIB = 2**30


def build_models() -> dict:
    """The five networks of SD3-medium on the meta device, in float32. Sizes: configuration files of the model."""
    import torch
    from diffusers import AutoencoderKL, SD3Transformer2DModel
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection, T5Config, T5EncoderModel

    with torch.device("meta"):
        return {
            "MMDiT": SD3Transformer2DModel(
                sample_size=128,
                patch_size=2,
                in_channels=16,
                num_layers=24,
                attention_head_dim=64,
                num_attention_heads=24,
                joint_attention_dim=4096,
                caption_projection_dim=1536,
                pooled_projection_dim=2048,
                out_channels=16,
                pos_embed_max_size=192,
            ),
            "CLIP-L": CLIPTextModelWithProjection(_clip(CLIPTextConfig, 768, 3072, 12, 12, "quick_gelu")),
            "OpenCLIP bigG": CLIPTextModelWithProjection(_clip(CLIPTextConfig, 1280, 5120, 32, 20, "gelu")),
            "T5-XXL": T5EncoderModel(
                T5Config(
                    vocab_size=32128,
                    d_model=4096,
                    d_kv=64,
                    d_ff=10240,
                    num_layers=24,
                    num_heads=64,
                    feed_forward_proj="gated-gelu",
                    is_encoder_decoder=False,
                )
            ),
            "VAE": AutoencoderKL(
                block_out_channels=(128, 256, 512, 512),
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
                layers_per_block=2,
                latent_channels=16,
                sample_size=1024,
                use_quant_conv=False,
                use_post_quant_conv=False,
            ),
        }


def _clip(config, hidden, intermediate, layers, heads, activation):
    return config(
        vocab_size=49408,
        hidden_size=hidden,
        intermediate_size=intermediate,
        projection_dim=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        hidden_act=activation,
        max_position_embeddings=77,
    )


def parameters(model) -> int:
    """Number of parameters."""
    return sum(weights.numel() for weights in model.parameters())


def _bytes(model) -> int:
    return sum(weights.numel() * weights.element_size() for weights in model.parameters())


def _fp8_gib(model) -> float:
    """Memory with layerwise casting from fp16 to fp8; what diffusers leaves in fp16 (norms) counts as such."""
    import torch

    for weights in model.parameters():
        weights.data = weights.data.to(torch.float16)
    model.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float16)
    return _bytes(model) / GIB


def _four_bit_gib(t5) -> float:
    """T5 in NF4: half a byte a weight and a float32 scale per 64 of them; the embedding stays in fp16."""
    embedding = t5.get_input_embeddings().weight.numel()
    return ((parameters(t5) - embedding) * (0.5 + 4 / 64) + embedding * 2) / GIB


def _grouped_gib(model) -> float:
    """What is on the device at once with group offload and a stream: two blocks, and what belongs to no block."""
    import torch

    lists = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList) and len(module) > 1]
    blocks = max(lists, key=parameters)
    rest = parameters(model) - parameters(blocks)
    return (rest + sum(sorted((parameters(block) for block in blocks), reverse=True)[:2])) * 2 / GIB


def profile_gib(models: dict) -> dict[str, float]:
    """Weights on the device at once by memory profile [GiB], models computing in fp16.

    Args:
        models: From :func:`build_models`; the MMDiT is converted on the way.
    """
    half = {name: parameters(model) * 2 / GIB for name, model in models.items()}
    full = sum(half.values())
    no_t5 = full - half["T5-XXL"]
    offloaded = [name for name in half if name not in ("T5-XXL", "VAE")]
    return {
        "full": full,
        "no_t5": no_t5,
        "model_offload": max(half[name] for name in offloaded),
        "group_offload": half["VAE"] + max(_grouped_gib(models[name]) for name in offloaded),
        "nf4_t5": no_t5 + _four_bit_gib(models["T5-XXL"]),
        "fp8": no_t5 - half["MMDiT"] + _fp8_gib(models["MMDiT"]),  # last: converts
    }


def main() -> None:
    """Write ``benchmarks/results/sd3_memory.csv``: parameters of each model, weights on the device by profile."""
    models = build_models()
    figures = [("models", name, "parameters", parameters(model)) for name, model in models.items()]
    figures += [("profiles", name, "weights_gib", f"{gib:.4f}") for name, gib in profile_gib(models).items()]
    write_figures(RESULTS / "sd3_memory.csv", ("table", "row", "figure", "value"), figures, provenance("one thread"))


if __name__ == "__main__":
    main()
