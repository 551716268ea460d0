"""Tokenizers recognised by their structure. Those of the real models, as `tokenizers` builds them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from engine.export.pre_tokenizers import in_words, known_pre_tokenizer
from engine.workspace import shipped_folder

QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3 = QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|"
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def rules(*steps: Any, ignore_merges: bool = False, normalizer: Any = None, **bpe: Any) -> dict[str, Any]:
    """Return a tokenizer with these steps as `tokenizer.json` has it."""
    tokenizer = Tokenizer(models.BPE(vocab={"a": 0}, merges=[], ignore_merges=ignore_merges, **bpe))
    if steps:
        tokenizer.pre_tokenizer = steps[0] if len(steps) == 1 else pre_tokenizers.Sequence(list(steps))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    read: dict[str, Any] = json.loads(tokenizer.to_str())
    return read


def split(regex: str) -> tuple[Any, Any]:
    return (
        pre_tokenizers.Split(Regex(regex), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    )


@pytest.mark.parametrize(
    ("tokenizer", "name"),
    [
        pytest.param(rules(*split(QWEN2), normalizer=normalizers.NFC()), "qwen2", id="Qwen2"),
        pytest.param(rules(*split(LLAMA3), ignore_merges=True), "llama-bpe", id="Llama 3"),
        pytest.param(rules(*split(LLAMA3)), "smaug-bpe", id="Llama 3's rules, merged as usual"),
        pytest.param(rules(*split(O200K)), "gpt-4o", id="GPT-4o"),
        pytest.param(rules(*split(TEKKEN), ignore_merges=True), "tekken", id="Mistral's Tekken"),
        pytest.param(rules(pre_tokenizers.ByteLevel(add_prefix_space=False)), "gpt-2", id="GPT-2"),
        pytest.param(
            rules(pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)),
            "smollm",
            id="SmolLM",
        ),
    ],
)
def test_a_vocabulary_of_ones_own_with_known_rules_is_recognised(tokenizer: dict[str, Any], name: str) -> None:
    assert known_pre_tokenizer(tokenizer) == name


@pytest.mark.parametrize(
    "tokenizer",
    [
        pytest.param(rules(*split(QWEN2), ignore_merges=True), id="Qwen2's rules, words taken whole"),
        pytest.param(rules(*split(QWEN2 + "|x")), id="almost Qwen2"),
        pytest.param(rules(*split(QWEN2), normalizer=normalizers.Lowercase()), id="lower case"),
        pytest.param(rules(pre_tokenizers.ByteLevel(add_prefix_space=True)), id="a space before the text"),
        pytest.param(rules(pre_tokenizers.Whitespace()), id="white space"),
        pytest.param(rules(), id="nothing"),
        pytest.param(rules(pre_tokenizers.ByteLevel(add_prefix_space=False), byte_fallback=True), id="byte fallback"),
        pytest.param({"model": {"type": "Unigram"}}, id="no BPE"),
        pytest.param({"model": None, "pre_tokenizer": {"type": "Sequence", "pretokenizers": 3}}, id="nonsense"),
        pytest.param({}, id="empty"),
    ],
)
def test_rules_that_are_only_almost_known_are_not(tokenizer: dict[str, Any]) -> None:
    assert known_pre_tokenizer(tokenizer) is None
    assert in_words(tokenizer)


def test_the_built_in_models_tokenizer_is_recognised() -> None:
    text = (shipped_folder() / "models" / "tiny" / "tokenizer.json").read_text("utf-8")
    assert known_pre_tokenizer(json.loads(text)) == "qwen2"
