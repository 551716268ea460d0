"""Rows of one batch: each says what it would say alone, and leaves nothing behind."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from engine.chat.answer_row import BASE, AnswerRow
from engine.chat.asking import Sampling
from engine.chat.batch import SharedModel
from engine.chat.streamed_text import StreamedText
from engine.workspace import shipped_folder

TINY = shipped_folder() / "models" / "tiny"
END = 3071
LONGEST = 12
GREEDY = Sampling(temperature=0)
CONVERSATIONS = (
    ("Who are you?",),
    ("What is the capital of France?", "Paris.", "And of Italy?"),
    ("Tell me about the river that flows through the old town, and who built its bridges.",),
    ("Hi", "Hello! How can I help?", "What can you do?", "Little.", "Then say something nice."),
)
Alone = Callable[..., list[int]]


class Chat:
    """A model with the adapters `one` and `two`, and questions to it."""

    def __init__(self, adapters: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(TINY)
        self.shared = SharedModel(AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32).eval())
        for name in ("one", "two"):
            self.shared.load_adapter(name, adapters / name)
        self.said: list[Mapping[str, Any]] = []
        self.numbers = itertools.count()

    def row(
        self, adapter: str, turns: tuple[str, ...] | list[int], sampling: Sampling = GREEDY, **more: Any
    ) -> AnswerRow:
        prompt = list(turns) if isinstance(turns, list) else self.prompt(turns)
        stop = StreamedText(self.decode, stop=sampling.stop)
        return AnswerRow(
            next(self.numbers), adapter, prompt, sampling, more.pop("max_tokens", LONGEST), frozenset([END]), stop,
            self.said.append, **more,
        )  # fmt: skip

    def prompt(self, turns: tuple[str, ...]) -> list[int]:
        roles = itertools.cycle(("user", "assistant"))
        messages = [{"role": role, "content": turn} for role, turn in zip(roles, turns, strict=False)]
        text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, ids: list[int]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return text

    def answer(self, *rows: AnswerRow, most: int = 10**9) -> list[list[int]]:
        while alive := [row for row in rows if not row.ended]:
            for group in self.shared.together(alive):
                self.shared.go_on(group, most=most, interrupted=lambda: False)
        return [made(row) for row in rows]


def made(row: AnswerRow) -> list[int]:
    return row.ids[len(row.prompt) :]


@pytest.fixture(scope="module")
def chat(adapters: Path) -> Chat:
    return Chat(adapters)


@pytest.fixture(autouse=True)
def nothing_left(chat: Chat) -> Iterator[None]:
    yield
    assert chat.shared.hooks() == 0
    chat.said.clear()


def test_base_and_adapter_of_one_batch_answer_as_if_alone(chat: Chat, alone: Alone) -> None:
    """A dozen pairs of conversations of unlike length; `make bench` has two hundred."""
    differ = 0
    for left, right in itertools.permutations(CONVERSATIONS, 2):
        rows = chat.row(BASE, left), chat.row("one", right)
        base, adapter = chat.answer(*rows)
        assert base == alone("base", rows[0].prompt, LONGEST)
        assert adapter == alone("one", rows[1].prompt, LONGEST)
        differ += base != adapter
    assert differ == 12


def test_checkpoints_beside_each_other_answer_as_if_alone(chat: Chat, alone: Alone) -> None:
    for turns in CONVERSATIONS:
        rows = chat.row("one", turns), chat.row("two", turns)
        first, second = chat.answer(*rows)
        assert first == alone("one", rows[0].prompt, LONGEST)
        assert second == alone("two", rows[1].prompt, LONGEST)


def test_a_seed_gives_the_same_answer_alone_and_beside_another(chat: Chat) -> None:
    sampling = Sampling(temperature=3.0, top_p=0.95, top_k=40, seed=7, repetition_penalty=1.1)
    (by_itself,) = chat.answer(chat.row(BASE, CONVERSATIONS[0], sampling))
    other = Sampling(temperature=0.9, seed=1)
    beside, _ = chat.answer(chat.row(BASE, CONVERSATIONS[0], sampling), chat.row("one", CONVERSATIONS[2], other))
    (another,) = chat.answer(chat.row(BASE, CONVERSATIONS[0], Sampling(temperature=3.0, top_p=0.95, top_k=40, seed=8)))
    assert by_itself == beside != another


def test_an_answer_goes_on_from_what_is_remembered_as_from_the_beginning(chat: Chat, alone: Alone) -> None:
    rows = [chat.row(BASE, CONVERSATIONS[0]), chat.row("one", CONVERSATIONS[2])]
    for _ in range(3):
        chat.answer(*rows)
        following = []
        for row in rows:
            said = chat.tokenizer(" so?<|im_end|>\n<|im_start|>assistant\n", add_special_tokens=False)["input_ids"]
            assert row.memory is not None
            assert len(row.memory.ids) == len(row.ids) - 1
            following.append(chat.row(row.adapter, [*row.ids, *said], memory=row.memory))
        rows = following
    base, adapter = chat.answer(*rows)
    assert base == alone("base", rows[0].prompt, LONGEST)
    assert adapter == alone("one", rows[1].prompt, LONGEST)


def test_a_regenerated_answer_reads_only_its_last_token_anew(chat: Chat, alone: Alone) -> None:
    first = chat.row("one", CONVERSATIONS[1])
    chat.answer(first)
    again = chat.row("one", CONVERSATIONS[1], memory=first.memory)
    assert chat.answer(again) == [alone("one", again.prompt, LONGEST)]


def test_a_question_joins_while_another_is_answered(chat: Chat, alone: Alone) -> None:
    early = chat.row(BASE, CONVERSATIONS[2])
    chat.shared.go_on([early], most=5, interrupted=lambda: False)
    assert len(made(early)) == 5
    late = chat.row("two", CONVERSATIONS[3])
    assert chat.answer(early, late) == [alone("base", early.prompt, LONGEST), alone("two", late.prompt, LONGEST)]


def test_one_side_is_stopped_and_the_other_goes_on(chat: Chat, alone: Alone) -> None:
    rows = chat.row(BASE, CONVERSATIONS[0]), chat.row("one", CONVERSATIONS[2])
    rows[0].stop_asked = True
    _, adapter = chat.answer(*rows)
    assert rows[0].reason == "stopped"
    assert len(made(rows[0])) == 1
    assert adapter == alone("one", rows[1].prompt, LONGEST)


def test_each_row_has_its_own_end(chat: Chat) -> None:
    (whole,) = chat.answer(chat.row(BASE, CONVERSATIONS[0]))
    text = chat.decode(whole)
    stop = Sampling(temperature=0, stop=(text[8:14],))
    rows = chat.row(BASE, CONVERSATIONS[0], stop), chat.row(BASE, CONVERSATIONS[0], max_tokens=3)
    chat.said.clear()
    chat.answer(*rows)
    assert [row.reason for row in rows] == ["stop-string", "length"]
    assert "".join(one["text"] for one in chat.said if one["row"] == rows[0].id and "text" in one) == text[:8]
    told = next(one["finished"] for one in chat.said if one["row"] == rows[1].id and "finished" in one)
    assert (told["num_tokens"], told["prompt_tokens"]) == (3, len(rows[1].prompt))


@pytest.mark.parametrize("raised", [torch.OutOfMemoryError("no memory"), RuntimeError("bug")], ids=["memory", "bug"])
def test_what_is_raised_in_the_middle_leaves_no_hooks_and_no_memory(
    chat: Chat, alone: Alone, raised: Exception
) -> None:
    rows = chat.row(BASE, CONVERSATIONS[0]), chat.row("one", CONVERSATIONS[2])
    calls = itertools.count()

    def fail(*_: Any) -> None:
        if next(calls) == 4:
            raise raised

    hook = chat.shared.model.get_base_model().lm_head.register_forward_pre_hook(fail)
    with pytest.raises(type(raised)):
        chat.answer(*rows)
    hook.remove()
    assert chat.shared.hooks() == 0
    assert [row.memory for row in rows] == [None, None]
    again = chat.row(BASE, CONVERSATIONS[0]), chat.row("two", CONVERSATIONS[2])
    assert chat.answer(*again) == [alone("base", again[0].prompt, LONGEST), alone("two", again[1].prompt, LONGEST)]


def test_an_adapter_that_is_not_a_number_fails_alone(chat: Chat, adapters: Path, tmp_path: Path, alone: Alone) -> None:
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "adapter_config.json").write_bytes((adapters / "one" / "adapter_config.json").read_bytes())
    weights = load_file(adapters / "one" / "adapter_model.safetensors")
    save_file({name: weight * torch.nan for name, weight in weights.items()}, broken / "adapter_model.safetensors")
    chat.shared.load_adapter("broken", broken)
    rows = chat.row(BASE, CONVERSATIONS[0]), chat.row("broken", CONVERSATIONS[0])
    base, _ = chat.answer(*rows)
    chat.shared.drop_adapter("broken")
    assert base == alone("base", rows[0].prompt, LONGEST)
    assert [one["error"]["code"] for one in chat.said if "error" in one] == ["non-finite"]


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({"use_dora": True}, id="DoRA"),
        pytest.param({"modules_to_save": ["lm_head"]}, id="a module saved whole"),
    ],
)
def test_adapters_that_cannot_share_a_batch_take_turns(
    chat: Chat, alone: Alone, tmp_path: Path, given: dict[str, Any]
) -> None:
    model = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32)
    torch.manual_seed(5)
    made_here = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False, **given))
    if "modules_to_save" in given:
        with torch.no_grad():
            made_here.base_model.model.lm_head.modules_to_save["default"].weight.mul_(-0.5)
    made_here.save_pretrained(tmp_path / "special")
    chat.shared.load_adapter("special", tmp_path / "special")
    if given.get("use_dora"):
        chat.shared.apart.add("special")
    else:
        chat.shared.saved_whole["special"] = frozenset(given["modules_to_save"])
    rows = [chat.row(name, turns) for name, turns in zip((BASE, "special", "one"), CONVERSATIONS, strict=False)]
    assert len(chat.shared.together(rows)) == 2
    answers = chat.answer(*rows, most=4)
    chat.shared.drop_adapter("special")
    expected = [
        alone("base", rows[0].prompt, LONGEST),
        alone(f"special {given}", rows[1].prompt, LONGEST, tmp_path / "special"),
        alone("one", rows[2].prompt, LONGEST),
    ]
    assert answers == expected


def test_a_model_with_a_sliding_window_answers_as_if_alone(tmp_path: Path) -> None:
    """What its attention remembers cannot be cut and joined by rows: the batch runs until its last row has ended."""
    torch.manual_seed(1)
    shape = Qwen2Config(
        vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, use_sliding_window=True, sliding_window=8, max_window_layers=1, eos_token_id=None,
    )  # fmt: skip
    model = Qwen2ForCausalLM(shape).eval()
    prompts = [list(range(5, 30)), [7, 9, 11]]
    expected = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, do_sample=False)
        expected.append(out[0, len(prompt) :].tolist())
    shared, said = SharedModel(model), list[Mapping[str, Any]]()
    assert not shared.remembers
    rows = [
        AnswerRow(number, BASE, prompt, GREEDY, most, frozenset(), StreamedText(str), said.append)
        for number, (prompt, most) in enumerate(zip(prompts, (6, 20), strict=True))
    ]
    shared.go_on(rows, most=3, interrupted=lambda: True)
    assert [made(row) for row in rows] == [expected[0][:6], expected[1]]
    assert [row.reason for row in rows] == ["length", "length"]
