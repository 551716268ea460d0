"""Which of llama.cpp's pre-tokenizers a byte-level BPE tokenizer has, told from its structure.

llama.cpp's converter knows a tokenizer by a hash over the token ids of one text, so that any vocabulary of one's own is
unknown to it, whatever its rules. Here the rules themselves are compared, and nothing less than equal counts: a
pre-tokenizer that is almost right gives a model that is almost right.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_LEAD = r"[^\r\n\p{L}\p{N}]?"
_SLASHED = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"

# By regular expression and by whether words of the vocabulary are taken whole (`ignore_merges`). The expressions are
# those that llama-vocab.cpp quotes as "original regex from tokenizer.json"; the flag is what it sets for the name.
_BY_REGEX: Final = {
    (_CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _REST, False): "qwen2",
    (_CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _REST, True): "llama-bpe",
    (_CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _REST, False): "smaug-bpe",
    (
        _CONTRACTIONS
        + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        False,
    ): "qwen35",
    (
        f"{_LEAD}{_UPPER}*{_LOWER}+{_CONTRACTIONS}?|{_LEAD}{_UPPER}+{_LOWER}*{_CONTRACTIONS}?"
        + r"|\p{N}{1,3}"
        + _SLASHED,
        False,
    ): "gpt-4o",
    (f"{_LEAD}{_UPPER}*{_LOWER}+|{_LEAD}{_UPPER}+{_LOWER}*" + r"|\p{N}" + _SLASHED, True): "tekken",
}


def known_pre_tokenizer(tokenizer: Mapping[str, Any]) -> str | None:
    """Return llama.cpp's name for the rules of a tokenizer; None when it has no such rules.

    Args:
        tokenizer: As in `tokenizer.json`.
    """
    model = _object(tokenizer.get("model"))
    if model.get("type") != "BPE" or any(
        model.get(key) for key in ("dropout", "byte_fallback", "continuing_subword_prefix", "end_of_word_suffix")
    ):
        return None
    # llama.cpp normalises nothing for these; upstream accepts NFC for Qwen, whose text is nearly always in it.
    if tokenizer.get("normalizer") not in (None, {"type": "NFC"}):
        return None
    whole = bool(model.get("ignore_merges"))
    match [_object(step) for step in _steps(_object(tokenizer.get("pre_tokenizer")))]:
        case [{"type": "Split", "behavior": "Isolated", "invert": False, "pattern": {"Regex": regex}}, last] if _bytes(
            last, splits=False
        ):
            return _BY_REGEX.get((regex, whole))
        case [last] if _bytes(last, splits=True) and not whole:
            return "gpt-2"
        case [{"type": "Digits", "individual_digits": True}, last] if _bytes(last, splits=True) and not whole:
            return "smollm"
    return None


def in_words(tokenizer: Mapping[str, Any]) -> str:
    """Return the rules of a tokenizer as its author would name them: "Split, ByteLevel"."""
    steps = [str(_object(step).get("type", "?")) for step in _steps(_object(tokenizer.get("pre_tokenizer")))]
    kind = str(_object(tokenizer.get("model")).get("type", "?"))
    return f"{kind} after {', '.join(steps)}" if steps else f"{kind} without a pre-tokenizer"


def _steps(pre_tokenizer: Mapping[str, Any]) -> list[Any]:
    if pre_tokenizer.get("type") == "Sequence":
        inner = pre_tokenizer.get("pretokenizers")
        return inner if isinstance(inner, list) else []
    return [pre_tokenizer] if pre_tokenizer else []


def _bytes(step: Mapping[str, Any], *, splits: bool) -> bool:
    """Return whether a step is the last one of all these: bytes as characters, no space put before the text."""
    return (
        step.get("type") == "ByteLevel"
        and step.get("add_prefix_space") is False
        and bool(step.get("use_regex", True)) is splits
    )


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
