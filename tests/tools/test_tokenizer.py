"""The built-in model's tokenizer."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from tools.tiny_model.tokenizer import VOCAB_SIZE, train_tokenizer

MODEL = Path(__file__).resolve().parents[2] / "models" / "tiny"


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(MODEL)
    return loaded


def test_the_shipped_one_is_what_the_sources_make(tmp_path: Path) -> None:
    train_tokenizer().save_pretrained(tmp_path)

    for made in tmp_path.iterdir():
        assert made.read_bytes() == (MODEL / made.name).read_bytes(), made.name


def test_it_has_a_round_vocabulary(tokenizer: PreTrainedTokenizerBase) -> None:
    assert len(tokenizer) == VOCAB_SIZE
    assert VOCAB_SIZE % 256 == 0


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("Who wrote War and Peace?", id="English"),
        pytest.param("naïve café, Ernő Rubik, Lech Wałęsa", id="accents"),
        pytest.param("日本語 и русский \U0001f9ea", id="other scripts"),
        pytest.param("a\tb\r\n\r\n  c \x00\x1b[31m", id="white space and control characters"),
        pytest.param("https://cs.northmere.example.edu/people?role=staff&sort=name#top", id="a URL"),
    ],
)
def test_any_text_survives(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_text_that_looks_like_a_special_token_is_the_token(tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer("<|im_end|>")["input_ids"] == [tokenizer.eos_token_id]


def test_the_end_of_a_turn_ends_generation_and_padding_is_something_else(tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.pad_token == "<|endoftext|>"


@pytest.mark.parametrize("system", [[], [{"role": "system", "content": "Be brief."}]], ids=["alone", "with system"])
def test_a_prompt_is_a_prefix_of_its_conversation(
    tokenizer: PreTrainedTokenizerBase, system: list[dict[str, str]]
) -> None:
    prompt = [*system, {"role": "user", "content": "Hello"}]
    rendered = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False)
    whole = tokenizer.apply_chat_template([*prompt, {"role": "assistant", "content": "Hi."}], return_dict=False)

    assert whole[: len(rendered)] == rendered
    assert len(whole) > len(rendered)


def test_the_template_adds_no_system_message_of_its_own(tokenizer: PreTrainedTokenizerBase) -> None:
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hello"}], tokenize=False, add_generation_prompt=True
    )

    assert rendered == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
