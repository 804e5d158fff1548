"""The measurement of full-size pipelines, on tiny ones: same construction, same code path."""

import pytest

from benchmarks import sd3_memory_profiles as profiles


def tiny_models():
    """Networks of SD3's kinds, T5 included, on the meta device."""
    import torch
    from diffusers import AutoencoderKL, SD3Transformer2DModel
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection, T5Config, T5EncoderModel

    text = CLIPTextConfig(
        vocab_size=80,
        hidden_size=16,
        intermediate_size=16,
        projection_dim=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        bos_token_id=72,
        eos_token_id=73,
    )
    with torch.device("meta"):
        return {
            "MMDiT": SD3Transformer2DModel(
                sample_size=8,
                patch_size=2,
                in_channels=4,
                num_layers=1,
                attention_head_dim=8,
                num_attention_heads=2,
                caption_projection_dim=16,
                joint_attention_dim=32,
                pooled_projection_dim=32,
                out_channels=4,
                pos_embed_max_size=8,
            ),
            "CLIP-L": CLIPTextModelWithProjection(text),
            "OpenCLIP bigG": CLIPTextModelWithProjection(text),
            "T5-XXL": T5EncoderModel(T5Config(vocab_size=128, d_model=32, d_kv=8, d_ff=16, num_layers=1, num_heads=2)),
            "VAE": AutoencoderKL(
                block_out_channels=(8, 8),
                down_block_types=("DownEncoderBlock2D",) * 2,
                up_block_types=("UpDecoderBlock2D",) * 2,
                norm_num_groups=4,
                latent_channels=4,
                shift_factor=0.06,
            ),
        }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sd3")
    profiles.save_random_pipeline(tiny_models(), folder)
    return folder


def test_random_weights_are_a_pipeline_that_every_cpu_profile_runs(folder):
    rows = {name: profiles.measure(str(folder), name, "cpu", 16) for name in ("full", "no_t5", "group_offload")}
    assert all(row["peak_memory_mib"] > 0 for row in rows.values())
    assert "nan" not in profiles.as_markdown(rows)


def test_the_pipeline_has_its_t5_and_half_precision(folder):
    assert (folder / "text_encoder_3/config.json").is_file()
    size = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
    weights = sum(weights.numel() for model in tiny_models().values() for weights in model.parameters())
    assert 2 * weights <= size < 3 * weights  # two bytes each, and what the files say about themselves


def test_a_profile_that_cannot_run_says_so_in_the_table():
    table = profiles.as_markdown({"model_offload": "needs a CUDA device"})
    assert "| `model_offload` | not run: needs a CUDA device |" in table
