"""Tokenizers of bytes with the special tokens and the chat templates of well-known models."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

TEMPLATES = Path(__file__).parent / "chat_templates"


@dataclass(frozen=True, slots=True)
class Family:
    """What a family of models has besides its template."""

    name: str
    """Of the file in `chat_templates`."""
    special: tuple[str, ...]
    eos: str
    bos: str | None = None
    ends: tuple[str, ...] = ()
    """What generation_config.json stops at."""
    system: bool = True
    """Whether the template takes a message of the system."""


FAMILIES = (
    Family("chatml", ("<|endoftext|>", "<|im_start|>", "<|im_end|>"), "<|im_end|>"),
    Family(
        "llama-3",
        ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|eot_id|>",
        bos="<|begin_of_text|>",
        ends=("<|end_of_text|>", "<|eot_id|>"),
    ),
    Family("qwen2.5", ("<|endoftext|>", "<|im_start|>", "<|im_end|>"), "<|im_end|>", ends=("<|im_end|>",)),
    Family("mistral", ("<unk>", "<s>", "</s>"), "</s>", bos="<s>", system=False),
    Family(
        "phi-3",
        ("<unk>", "<s>", "<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>"),
        "<|endoftext|>",
        bos="<s>",
        ends=("<|endoftext|>", "<|end|>"),
    ),
    Family(
        "gemma",
        ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"),
        "<eos>",
        bos="<bos>",
        ends=("<eos>", "<end_of_turn>"),
        system=False,
    ),
)


def write_tokenizer(folder: Path, family: Family, *, template: str | None = None) -> Path:
    """Write a folder as `save_pretrained` does: tokenizer, template, generation config; no weights.

    Args:
        folder: Made.
        family: Whose special tokens it has.
        template: Instead of the family's own; empty for none.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*family.special, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(family.special))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=family.eos, bos_token=family.bos, pad_token=family.special[0]
    )
    own = (TEMPLATES / f"{family.name}.jinja").read_text(encoding="utf-8") if template is None else template
    fast.chat_template = own or None
    fast.save_pretrained(folder)
    ends = [vocabulary[token] for token in family.ends]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends} if ends else {}))
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return folder
