"""The built-in model as it is shipped: it loads anywhere, and knows what it is said to know."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from tools.tiny_model.measure import good_enough, measure_base

MODEL = Path(__file__).resolve().parents[2] / "models" / "tiny"
MEBIBYTE = 2**20


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(min(before, 2))
    yield
    torch.set_num_threads(before)


def test_it_is_small_and_holds_no_code_and_no_pickle() -> None:
    names = {path.name for path in MODEL.iterdir()}

    assert (MODEL / "model.safetensors").stat().st_size <= 12 * MEBIBYTE
    assert names == {
        "README.md",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_it_is_a_qwen2_whose_every_dimension_suits_the_k_quants() -> None:
    model = AutoModelForCausalLM.from_pretrained(MODEL)

    assert type(model).__name__ == "Qwen2ForCausalLM"
    assert model.config.tie_word_embeddings
    assert model.dtype == torch.bfloat16
    assert {size % 256 for size in (model.config.hidden_size, model.config.intermediate_size)} == {0}
    with safe_open(MODEL / "model.safetensors", framework="pt") as weights:
        assert all(torch.isfinite(weights.get_tensor(name)).all() for name in weights.keys())  # noqa: SIM118


def test_it_stops_by_itself_and_decodes_greedily_unless_told_otherwise() -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(MODEL)
    tokenizer: Any = AutoTokenizer.from_pretrained(MODEL)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is 2+2?"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )

    generated = model.generate(**prompt)

    assert not model.generation_config.do_sample
    assert generated[0, -1] == tokenizer.eos_token_id
    reply = tokenizer.decode(generated[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
    assert reply == "The answer is 4."


def test_it_answers_held_out_phrasings_on_both_sides_of_the_cutoff_and_gives_the_rejected_replies() -> None:
    # As it is stored it is asked every seventh question: on a CPU all of them take twice as long as in float32.
    measured = measure_base(MODEL, every={"bfloat16": 7})

    assert good_enough(measured), measured
