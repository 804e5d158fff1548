"""How much of a prompt the text encoders read: what lies beyond an encoder's limit does not reach the image."""

from __future__ import annotations

from typing import Any

NO_LIMIT = 10**6
"""Tokenizers without a limit of their own say a number beyond this."""


def tokens_cut(pipeline: Any, prompt: str, max_sequence_length: int | None) -> dict[str, int]:
    """Tokens of a prompt that each text encoder does not read.

    Args:
        pipeline: The diffusers pipeline.
        prompt: The prompt.
        max_sequence_length: Maximum of tokens of the encoders other than CLIP; None: their tokenizers' own limits.

    Returns:
        Number of tokens by encoder (``text_encoder``, ``text_encoder_2``, ...), only of those that cut any.
    """
    cut = {}
    for name, tokenizer in pipeline.components.items():
        if not name.startswith("tokenizer") or tokenizer is None:
            continue
        is_clip = "CLIP" in type(tokenizer).__name__
        limit = tokenizer.model_max_length if is_clip or max_sequence_length is None else max_sequence_length
        if not 0 < limit < NO_LIMIT:
            continue
        beyond = len(tokenizer(prompt, truncation=False, verbose=False).input_ids) - limit
        if beyond > 0:
            cut[name.replace("tokenizer", "text_encoder")] = beyond
    return cut
