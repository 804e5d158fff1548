"""A stock ``StableDiffusion3Pipeline`` at one three-thousandth of its size, without the T5 encoder."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
from tokenizers import pre_tokenizers
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

from experiments.embedded.pictures import PICTURE_SIZE

PROMPT_TOKENS = 28  # longer prompts are cut; every token costs time in the transformer
_VOCABULARY = 900  # at most
_END = "</w>"  # marks the last letter of a word
_HALVINGS = 2  # 32x32 pixels become 8x8 latents
_TEXT_WIDTH = 32  # of each of the two text encoders
_WIDTH, _LAYERS, _HEADS, _PATCH = 64, 4, 4, 2  # of the transformer


def make_tokenizer(prompts: list[str]) -> CLIPTokenizer:
    """CLIP's byte-level tokenizer with a vocabulary learned from the prompts; any text can be encoded."""
    stock = CLIPTokenizer()._tokenizer
    words: Counter[str] = Counter()
    for prompt in prompts:
        split = stock.pre_tokenizer.pre_tokenize_str(stock.normalizer.normalize_str(prompt))
        words.update(word for word, _ in split)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    letters = [*alphabet, *(letter + _END for letter in alphabet)]
    merges = learn_merges(words, _VOCABULARY - len(letters) - 2)
    tokens = [*letters, *("".join(merge) for merge in merges), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: n for n, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=PROMPT_TOKENS)


def learn_merges(words: Counter[str], limit: int) -> list[tuple[str, str]]:
    """Byte-pair encoding (arXiv 1508.07909): join the most frequent pair of neighbours, again and again.

    ``tokenizers`` has a trainer, whose vocabulary differs from run to run. Here ties are broken by spelling.

    Args:
        words: How often each word occurs; words that occur less than ten times are left out.
        limit: Most merges to learn.
    """
    frequent = {word: times for word, times in words.items() if times >= 10}
    spelled = {word: [*word[:-1], word[-1] + _END] for word in frequent}
    merges: list[tuple[str, str]] = []
    while len(merges) < limit:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, times in frequent.items():
            for pair in pairwise(spelled[word]):
                pairs[pair] += times
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        spelled = {word: _joined(parts, best) for word, parts in spelled.items()}
    return merges


def _joined(parts: list[str], pair: tuple[str, str]) -> list[str]:
    """The parts of a word with every occurrence of a pair made one part, from the left."""
    result, n = [], 0
    while n < len(parts):
        joined = tuple(parts[n : n + 2]) == pair
        result.append("".join(pair) if joined else parts[n])
        n += 2 if joined else 1
    return result


def make_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModelWithProjection:
    """An untrained CLIP text encoder of two layers."""
    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=_TEXT_WIDTH,
            intermediate_size=2 * _TEXT_WIDTH,
            projection_dim=_TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=PROMPT_TOKENS,
            hidden_act="gelu",
            initializer_factor=5.0,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def make_transformer() -> SD3Transformer2DModel:
    """An untrained MMDiT whose blocks start as identities (adaLN-Zero, arXiv 2212.09748)."""
    side = PICTURE_SIZE >> _HALVINGS
    transformer = SD3Transformer2DModel(
        sample_size=side,
        patch_size=_PATCH,
        in_channels=3,
        out_channels=3,
        num_layers=_LAYERS,
        num_attention_heads=_HEADS,
        attention_head_dim=_WIDTH // _HEADS,
        caption_projection_dim=_WIDTH,
        joint_attention_dim=2 * _TEXT_WIDTH,
        pooled_projection_dim=2 * _TEXT_WIDTH,
        pos_embed_max_size=side // _PATCH,
        qk_norm="rms_norm",
    )
    zeros = [transformer.norm_out.linear, transformer.proj_out]
    for block in transformer.transformer_blocks:
        zeros += [block.norm1.linear, block.norm1_context.linear]
    for layer in zeros:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return transformer


def make_autoencoder() -> AutoencoderTiny:
    """An autoencoder with weights written by hand: the encoder averages 4x4 pixels, the decoder interpolates.

    Latents are pixels in [-1/2, 1/2]: small enough for the decoder's tanh bound to change them by at most one percent.
    The decoder raises the contrast by half, since averaging and interpolating blur.
    """
    channels = (3,) * (_HALVINGS + 1)
    autoencoder = AutoencoderTiny(
        encoder_block_out_channels=channels,
        decoder_block_out_channels=channels,
        num_encoder_blocks=(0,) * len(channels),
        num_decoder_blocks=(0,) * len(channels),
        latent_channels=3,
        upsample_fn="bilinear",
    )
    same = torch.zeros(3, 3, 3, 3)  # (channel out, channel in, row, column): copies the middle pixel
    same[range(3), range(3), 1, 1] = 1
    mean = torch.zeros(3, 3, 3, 3)  # with stride 2: mean of two by two pixels
    mean[range(3), range(3), 1:, 1:] = 0.25
    contrast = 1.5
    encoder = [layer for layer in autoencoder.encoder.layers if isinstance(layer, nn.Conv2d)]
    decoder = [layer for layer in autoencoder.decoder.layers if isinstance(layer, nn.Conv2d)]
    # The stock layers turn pixels from [-1, 1] to [0, 1] before the encoder, and back after the decoder.
    weights = [same, *[mean] * _HALVINGS, same, same, *[same] * _HALVINGS, contrast * same]
    biases = [0.0] * (len(encoder) - 1) + [-0.5, 0.5] + [0.0] * (len(decoder) - 2) + [(1 - contrast) / 2]
    for layer, weight, bias in zip([*encoder, *decoder], weights, biases, strict=True):
        layer.weight.data.copy_(weight)
        if layer.bias is not None:
            layer.bias.data.fill_(bias)
    return autoencoder.eval().requires_grad_(False)


def assemble(
    transformer: SD3Transformer2DModel,
    text_encoders: tuple[CLIPTextModelWithProjection, CLIPTextModelWithProjection],
    tokenizer: CLIPTokenizer,
    autoencoder: AutoencoderTiny,
) -> StableDiffusion3Pipeline:
    """The pipeline of trained parts."""
    return StableDiffusion3Pipeline(
        transformer=transformer.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        vae=autoencoder,
        text_encoder=text_encoders[0].eval(),
        tokenizer=tokenizer,
        text_encoder_2=text_encoders[1].eval(),
        tokenizer_2=tokenizer,
        text_encoder_3=None,
        tokenizer_3=None,
    )


def save(pipeline: StableDiffusion3Pipeline, folder: Path) -> None:
    """Write the pipeline folder with weights in half precision, which the pipeline given has afterwards as well."""
    for part in (pipeline.transformer, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2):
        part.half()
    pipeline.save_pretrained(folder, safe_serialization=True)
    # diffusers loads in single precision unless told otherwise, transformers in what this file says.
    for part in ("text_encoder", "text_encoder_2"):
        _edit_config(folder / part, lambda config: config | {"dtype": "float32"})
    # AutoencoderTiny writes this field, works it out again when loaded, and complains about it in between.
    _edit_config(folder / "vae", lambda config: {k: v for k, v in config.items() if k != "block_out_channels"})


def _edit_config(folder: Path, change: Callable[[dict[str, object]], dict[str, object]]) -> None:
    file = folder / "config.json"
    config = change(json.loads(file.read_text(encoding="utf-8")))
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load(folder: Path) -> StableDiffusion3Pipeline:
    """Read a pipeline folder, in single precision and without a network."""
    pipeline = StableDiffusion3Pipeline.from_pretrained(
        folder, text_encoder_3=None, tokenizer_3=None, dtype=torch.float32, local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
