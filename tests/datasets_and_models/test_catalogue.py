"""The catalogue of base models."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import yaml
from transformers import AutoConfig, AutoModelForCausalLM

MODELS = Path(__file__).resolve().parents[2] / "models"
CATALOGUE: list[dict[str, Any]] = yaml.safe_load((MODELS / "catalogue.yaml").read_text("utf-8"))["models"]
FIELDS = ["name", "hub", "parameters", "architecture", "context_length", "licence", "gated", "target_modules", "notes"]


class Shape(NamedTuple):
    """What decides the number of weights in a published configuration."""

    model_type: str
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    vocab_size: int
    tie_word_embeddings: bool
    head_dim: int | None = None
    """None: hidden_size / num_attention_heads."""


SHAPES = {
    "qwen2.5-0.5b-instruct": Shape("qwen2", 896, 4864, 24, 14, 2, 151936, True),
    "qwen2.5-1.5b-instruct": Shape("qwen2", 1536, 8960, 28, 12, 2, 151936, True),
    "qwen2.5-3b-instruct": Shape("qwen2", 2048, 11008, 36, 16, 2, 151936, True),
    "qwen2.5-7b-instruct": Shape("qwen2", 3584, 18944, 28, 28, 4, 152064, False),
    "llama-3.2-1b-instruct": Shape("llama", 2048, 8192, 16, 32, 8, 128256, True),
    "llama-3.2-3b-instruct": Shape("llama", 3072, 8192, 28, 24, 8, 128256, True),
    "llama-3.1-8b-instruct": Shape("llama", 4096, 14336, 32, 32, 8, 128256, False),
    "phi-3-mini-4k-instruct": Shape("phi3", 3072, 8192, 32, 32, 32, 32064, False),
    "phi-2": Shape("phi", 2560, 10240, 32, 32, 32, 51200, False),
    "mistral-7b-instruct-v0.3": Shape("mistral", 4096, 14336, 32, 32, 8, 32768, False),
    "gemma-2-2b-it": Shape("gemma2", 2304, 9216, 26, 8, 4, 256000, True, head_dim=256),
}


def ids(entry: dict[str, Any]) -> str:
    return str(entry["name"])


@pytest.mark.parametrize("entry", CATALOGUE, ids=ids)
def test_an_entry_has_every_field_and_a_comment_explains_it(entry: dict[str, Any]) -> None:
    head = (MODELS / "catalogue.yaml").read_text("utf-8").partition("models:\n")[0]

    assert [field for field in entry if field not in ("path", "shape")] == FIELDS
    assert all(f"#   {field} " in head for field in entry)
    assert ("path" in entry) == (entry["hub"] is None) == ("shape" not in entry)
    assert isinstance(entry["gated"], bool)


def test_the_built_in_model_comes_first_and_is_there() -> None:
    assert CATALOGUE[0]["name"] == "tiny"
    assert (MODELS / CATALOGUE[0]["path"] / "config.json").is_file()


def test_names_and_repositories_are_unique() -> None:
    assert len({entry["name"] for entry in CATALOGUE}) == len(CATALOGUE)
    assert len({entry["hub"] for entry in CATALOGUE}) == len(CATALOGUE)


@pytest.mark.parametrize("entry", CATALOGUE, ids=ids)
def test_parameters_and_target_modules_are_those_of_the_architecture(entry: dict[str, Any]) -> None:
    if entry["hub"] is None:
        config = AutoConfig.from_pretrained(MODELS / entry["path"])
    else:
        published = {k: v for k, v in SHAPES[entry["name"]]._asdict().items() if v is not None}
        assert entry["shape"] == published
        config = AutoConfig.for_model(**published)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    linear = {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}

    assert type(model).__name__ == entry["architecture"]
    assert sum(weights.numel() for weights in model.parameters()) == entry["parameters"]
    assert set(entry["target_modules"]) == linear - {"lm_head"}
