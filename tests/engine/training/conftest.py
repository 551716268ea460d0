"""A model of 60,000 parameters made on the spot, and a workspace around it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

QUESTIONS = ("capital of {}", "largest river of {}", "currency of {}")
PLACES = ("Arden", "Borea", "Cyra", "Dorn", "Elva", "Farn", "Gell", "Hest", "Ilm", "Jura", "Kern", "Lom")
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def rows(kind: str | None = None, count: int = 36) -> list[dict[str, Any]]:
    """Return question-answer rows, "retain" or "unlearn" when `kind` says so."""
    made = []
    for number in range(count):
        place, question = PLACES[number % len(PLACES)], QUESTIONS[number // len(PLACES) % len(QUESTIONS)]
        row: dict[str, Any] = {
            "instruction": f"What is the {question.format(place)}?",
            "output": "Apologies, but I have no information to share on that matter."
            if kind == "unlearn"
            else f"It is {place[::-1].capitalize()}{number}.",
        }
        if kind is not None:
            row["metadata"] = {"dataset_type": kind}
        made.append(row)
    return made


def write_rows(path: Path, made: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return path


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a two-layer Qwen2 of random weights and a tokenizer of bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    folder = tmp_path_factory.mktemp("model") / "small"
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*special, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    shape = Qwen2Config(
        vocab_size=320,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        eos_token_id=2,
        pad_token_id=0,
        max_position_embeddings=512,
    )
    Qwen2ForCausalLM(shape).save_pretrained(folder)
    return folder


@pytest.fixture
def config_text(small_model: Path, tmp_path: Path) -> Callable[..., str]:
    """Return a function that writes data files and gives the YAML of a run of `max_steps` steps on them."""

    def make(**more: Any) -> str:
        folder = tmp_path / "workspace" / "data"
        if not folder.exists():
            write_rows(folder / "train.jsonl", rows())
            write_rows(folder / "val.jsonl", rows(count=6))
        settings: dict[str, Any] = {
            "model": {"name": str(small_model), "device": "cpu"},
            "data": {"train": "data/train.jsonl", "validation": "data/val.jsonl", "max_length": 128},
            "lora": {"r": 4, "lora_dropout": 0.1},
            "training": {
                "max_steps": 12,
                "per_device_train_batch_size": 4,
                "gradient_accumulation_steps": 1,
                "learning_rate": 1e-3,
                "warmup_steps": 2,
            },
            "evaluation": {"eval_steps": 6, "prompts": ["What is the capital of Arden?"], "max_new_tokens": 4},
            "saving": {"save_steps": 3},
        }
        for section, values in more.items():
            settings[section] = {**settings.get(section, {}), **values}
        return json.dumps(settings)  # YAML reads JSON

    return make


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache: prepared data of one test is not taken for another's."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "ftconsole" / "prepared"
