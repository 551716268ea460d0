"""Tiny models of random weights of the architectures people fine-tune, with tokenizers of their own kind.

Used by `make bench ONLY=architectures` and by a test.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CORPUS = ROOT / "datasets" / "retain" / "retain_train.jsonl"
SHAPE: dict[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
}
"""Rows of multiples of 256. A wide start: with 0.02 the likeliest token is decided by rounding."""
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)


def build(name: str, folder: Path) -> Path:
    """Write a model of the architecture `name` into a new folder, and return it."""
    import torch
    import transformers

    folder.mkdir(parents=True)
    kind, tokenizer, more = ARCHITECTURES[name]
    vocabulary = tokenizer(folder)
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config" if kind != "Gemma3" else "Gemma3TextConfig")(
        **{**SHAPE, "vocab_size": vocabulary, **more}
    )
    model = getattr(transformers, f"{kind}ForCausalLM")(config)
    # Small beside what the layers add: else the likeliest token is the last one read, whatever the layers do.
    model.get_input_embeddings().weight.data.mul_(0.02)
    model.save_pretrained(folder)
    return folder


def _byte_level(folder: Path, regex: str | None = None, *, bos: bool = False, whole: bool = False) -> int:
    """Write the built-in model's vocabulary, perhaps with the rules of Llama 3."""
    from tokenizers import Regex, Tokenizer, pre_tokenizers, processors

    source = ROOT / "models" / "tiny" / "tokenizer.json"
    read = json.loads(source.read_text("utf-8"))
    read["model"]["ignore_merges"] = whole
    if regex is not None:
        read["normalizer"] = None
    tokenizer = Tokenizer.from_str(json.dumps(read))
    if regex is not None:
        split = pre_tokenizers.Split(Regex(regex), "isolated")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )
    first = "<|endoftext|>"
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{first} $A", special_tokens=[(first, tokenizer.token_to_id(first))]
        )
    tokenizer.save(str(folder / "tokenizer.json"))
    says = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "pad_token": first}
    (folder / "tokenizer_config.json").write_text(json.dumps({**says, **({"bos_token": first} if bos else {})}))
    return int(tokenizer.get_vocab_size())


def _llama3(folder: Path) -> int:
    return _byte_level(folder, _LLAMA3, bos=True, whole=True)


def _sentencepiece(folder: Path, *, control: tuple[str, ...] = ()) -> int:
    """Train a small SentencePiece vocabulary, and write it as SentencePiece and as transformers have it."""
    import sentencepiece
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

    lines = [json.loads(line)["output"] for line in CORPUS.read_text("utf-8").splitlines()]
    text = folder / "corpus.txt"
    text.write_text("\n".join(lines), "utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(folder / "tokenizer"), vocab_size=800, model_type="bpe", byte_fallback=True,
        pad_id=3, control_symbols=list(control), minloglevel=2,
    )  # fmt: skip
    text.unlink()
    (folder / "tokenizer.vocab").unlink()
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    vocabulary = {pieces.id_to_piece(number): number for number in range(pieces.get_piece_size())}
    merges = [
        (pieces.get_score(vocabulary[piece]), piece[:cut], piece[cut:])
        for piece in vocabulary
        for cut in range(1, len(piece))
        if piece[:cut] in vocabulary and piece[cut:] in vocabulary
    ]
    ordered = [(left, right) for _, left, right in sorted(merges, key=lambda merge: -merge[0])]
    tokenizer = Tokenizer(models.BPE(vocabulary, ordered, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.add_special_tokens([AddedToken(one, normalized=False) for one in ("<unk>", "<s>", "</s>", *control)])
    tokenizer.save(str(folder / "tokenizer.json"))
    says = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**says, "add_bos_token": True}))
    return len(vocabulary)


_ENDS = {"eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 3}
_BYTE_ENDS = {"eos_token_id": 3071, "bos_token_id": None, "pad_token_id": 3069}
_GEMMA = {"head_dim": 64, "query_pre_attn_scalar": 64, "sliding_window": 128, **_ENDS}

ARCHITECTURES: dict[str, tuple[str, Callable[[Path], int], dict[str, Any]]] = {
    "llama": ("Llama", _llama3, {"eos_token_id": 3071, "bos_token_id": 3069, "pad_token_id": 3069}),
    "mistral": ("Mistral", _sentencepiece, {"sliding_window": None, **_ENDS}),
    "qwen2": ("Qwen2", _byte_level, _BYTE_ENDS),
    "qwen3": ("Qwen3", _byte_level, {"head_dim": 64, **_BYTE_ENDS}),
    "gemma2": ("Gemma2", _sentencepiece, _GEMMA),
    "gemma3": ("Gemma3", _sentencepiece, _GEMMA),
    "phi3": ("Phi3", _sentencepiece, {"original_max_position_embeddings": 512, **_ENDS}),
}
"""Class in transformers, how its tokenizer is written, and what its configuration has beside `SHAPE`."""
