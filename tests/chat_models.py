"""Tokenizers of bytes with the special tokens and the chat templates of well-known models."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.util import find_spec
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
    shipped: str = ""
    """Name of the template among those TRL has, which are its publisher's; empty for one that is nowhere there."""


FAMILIES = (
    Family("chatml", ("<|endoftext|>", "<|im_start|>", "<|im_end|>"), "<|im_end|>"),
    Family(
        "llama-3",
        ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|eot_id|>",
        bos="<|begin_of_text|>",
        ends=("<|end_of_text|>", "<|eot_id|>"),
        shipped="llama3",
    ),
    Family(
        "qwen2.5",
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        "<|im_end|>",
        ends=("<|im_end|>",),
        shipped="qwen2_5",
    ),
    Family("mistral", ("<unk>", "<s>", "</s>"), "</s>", bos="<s>", system=False),
    Family(
        "phi-3",
        ("<unk>", "<s>", "<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>"),
        "<|endoftext|>",
        bos="<s>",
        ends=("<|endoftext|>", "<|end|>"),
        shipped="phi3",
    ),
    Family(
        "gemma",
        ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"),
        "<eos>",
        bos="<bos>",
        ends=("<eos>", "<end_of_turn>"),
        system=False,
        shipped="gemma",
    ),
)
"""Each behaves in another way: a beginning or none, an end of its own, a system's message or none."""
_LLAMA_3_1 = (
    "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>",
)  # fmt: skip
LATER = (
    Family("llama-3.1", _LLAMA_3_1, "<|eot_id|>", "<|begin_of_text|>", _LLAMA_3_1[1::4], shipped="llama3_1"),
    Family("llama-3.2", _LLAMA_3_1, "<|eot_id|>", "<|begin_of_text|>", _LLAMA_3_1[1::4], shipped="llama3_2"),
    Family(
        "phi-3.5",
        ("<unk>", "<s>", "<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>"),
        "<|endoftext|>",
        "<s>",
        ("<|endoftext|>", "<|end|>"),
        shipped="phi3_5",
    ),
    Family(
        "gemma-3",
        ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"),
        "<eos>",
        "<bos>",
        ("<eos>", "<end_of_turn>"),
        shipped="gemma3",
    ),
)
"""Their templates are longer, write a date, or fold the system's message into the user's; read from TRL."""


def shipped_template(family: Family) -> str:
    """Return the template as TRL has it, without importing it."""
    spec = find_spec("trl")
    assert spec is not None
    assert spec.origin is not None
    return (Path(spec.origin).parent / "chat_templates" / f"{family.shipped}.jinja").read_text(encoding="utf-8")


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
    kept = TEMPLATES / f"{family.name}.jinja"
    own = template if template is not None else kept.read_text("utf-8") if kept.exists() else shipped_template(family)
    fast.chat_template = own or None
    fast.save_pretrained(folder)
    ends = [vocabulary[token] for token in family.ends]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends} if ends else {}))
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return folder
