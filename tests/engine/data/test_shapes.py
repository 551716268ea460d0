"""Shapes: every spelling that other tools write is recognised without configuration, and read as one row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.data.row import Problem, Row
from engine.data.shapes import SHAPES, from_mapping, recognise, row_of

PATH = Path("data.jsonl")
USER, ASSISTANT = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
WORSE = {"role": "assistant", "content": "c"}
SYSTEM = {"role": "system", "content": "s"}
TURNS = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r"}]
HUMAN, GPT = {"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}


def read(record: dict[str, Any]) -> tuple[str, Row]:
    recognised = recognise([record])
    row = row_of(record, recognised, PATH, 1)
    assert isinstance(row, Row), row
    assert (recognised.share, recognised.others, recognised.kind) == (1.0, [], row.kind)
    return recognised.shape, row


@pytest.mark.parametrize(
    ("record", "shape", "prompt"),
    [
        pytest.param({"instruction": "a", "input": "", "output": "b"}, "alpaca", [USER], id="alpaca"),
        pytest.param(
            {"instruction": "a", "output": "b", "system": "s", "history": [["q", "r"]]},
            "alpaca", [SYSTEM, *TURNS, USER], id="alpaca with system and history",
        ),
        pytest.param({"Question": "a", " Answer ": "b"}, "question-answer", [USER], id="names of a spreadsheet"),
        pytest.param(
            {"query": "a", "response": "b", "history": [["q", "r"]]}, "question-answer", [*TURNS, USER], id="ms-swift"
        ),
        pytest.param(
            {"instruction": "a", "context": "x", "response": "b", "category": "open_qa"},
            "question-answer", [{"role": "user", "content": "a\n\nx"}], id="Dolly",
        ),
        pytest.param(
            {"id": "1", "system_prompt": "s", "question": "a", "response": "b"},
            "question-answer", [SYSTEM, USER], id="OpenOrca",
        ),
        pytest.param({"problem": "a", "solution": "b"}, "question-answer", [USER], id="problem and solution"),
        pytest.param({"prompt": "a", "completion": "b"}, "prompt-completion", [USER], id="prompt and completion"),
        pytest.param({"prompt": [USER], "completion": [ASSISTANT]}, "prompt-completion", [USER], id="as messages"),
        pytest.param(
            {"prompt": "no_robots", "messages": [USER, ASSISTANT], "category": "x"}, "messages", [USER], id="messages"
        ),
        pytest.param({"conversations": [HUMAN, GPT], "system": "s"}, "sharegpt", [SYSTEM, USER], id="ShareGPT"),
        pytest.param(
            {"conversations": [{"from": "user", "value": "a"}, {"from": "assistant", "value": "b"}]},
            "sharegpt", [USER], id="ShareGPT with the other names",
        ),
        pytest.param(
            {"conversation": [{"human": "q", "assistant": "r"}, {"human": "a", "assistant": "b"}]},
            "sharegpt", [*TURNS, USER], id="ms-swift's ShareGPT",
        ),
        pytest.param({"messages": [HUMAN, GPT]}, "sharegpt", [USER], id="ShareGPT's words in messages"),
        pytest.param(
            {"messages": [{"role": "User", "content": [{"type": "text", "text": "a"}]}, ASSISTANT]},
            "messages", [USER], id="content in parts",
        ),
        pytest.param(
            {"messages": "[{'role': 'user', 'content': 'a'}, {'role': 'assistant', 'content': 'b'}]"},
            "messages", [USER], id="messages as Python's text in a table",
        ),
    ],
)  # fmt: skip
def test_a_question_and_its_answer(record: dict[str, Any], shape: str, prompt: list[dict[str, str]]) -> None:
    found, row = read(record)
    assert (found, row.kind, row.prompt, row.completion) == (shape, "sft", prompt, [ASSISTANT])


@pytest.mark.parametrize(
    ("record", "shape"),
    [
        pytest.param({"prompt": "a", "chosen": "b", "rejected": "c"}, "preference", id="TRL, texts"),
        pytest.param(
            {"prompt": [USER], "chosen": [ASSISTANT], "rejected": [WORSE]}, "preference-messages", id="TRL, messages"
        ),
        pytest.param(
            {"chosen": [USER, ASSISTANT], "rejected": [USER, WORSE]},
            "preference-messages", id="the question in both: Argilla",
        ),
        pytest.param(
            {"prompt": "a", "chosen": [USER, ASSISTANT], "rejected": [USER, WORSE], "messages": [USER, ASSISTANT]},
            "preference-messages", id="UltraFeedback",
        ),
        pytest.param(
            {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"},
            "preference", id="Anthropic HH",
        ),
        pytest.param({"text": "human: a\nbot: b", "rejected_text": "human: a\nbot: c"}, "preference", id="AutoTrain"),
        pytest.param({"instruction": "a", "input": "", "chosen": "b", "rejected": "c"}, "preference", id="LF alpaca"),
        pytest.param({"instruction": "a", "output": ["b", "c"]}, "preference-messages", id="LF ranking"),
        pytest.param(
            {"conversations": [HUMAN], "chosen": GPT, "rejected": {"from": "gpt", "value": "c"}},
            "preference-messages", id="LF ShareGPT",
        ),
        pytest.param(
            {"instruction": "a", "chosen_response": "b", "rejected_response": "c"}, "preference", id="chatml.argilla"
        ),
        pytest.param({"input": "a", "chosen": "b", "rejected": "c"}, "preference", id="chatml.icr"),
        pytest.param({"question": "a", "chosen": "b", "rejected": "c"}, "preference", id="chatml.intel"),
        pytest.param(
            {"messages": [USER], "chosen": ASSISTANT, "rejected": WORSE},
            "preference-messages", id="chat_template.default",
        ),
        pytest.param(
            {"messages": [USER, ASSISTANT], "rejected_response": "c"}, "preference-messages", id="ms-swift, messages"
        ),
        pytest.param({"query": "a", "response": "b", "rejected_response": "c"}, "preference", id="ms-swift, texts"),
        pytest.param({"category": "x", "prompt": "a", "bad": "c", "good": "b"}, "bad-good", id="bad and good"),
        pytest.param(
            {"question": "a", "bad_response": "c", "good_response": "b"}, "bad-good", id="bad_ and good_response"
        ),
    ],
)  # fmt: skip
def test_a_better_and_a_worse_answer(record: dict[str, Any], shape: str) -> None:
    found, row = read(record)
    assert (found, row.kind) == (shape, "preference")
    assert (row.prompt, row.completion, row.rejected) == ([USER], [ASSISTANT], [WORSE])


@pytest.mark.parametrize(
    "record",
    [
        pytest.param({"prompt": "a", "completion": "b", "label": False}, id="TRL"),
        pytest.param({"prompt": "a", "completion": "b", "label": "0"}, id="a table"),
        pytest.param({"instruction": "a", "input": "", "output": "b", "kto_tag": "false"}, id="LLaMA-Factory"),
        pytest.param({"messages": [USER, ASSISTANT], "label": False}, id="ms-swift"),
        pytest.param({"conversations": [HUMAN, GPT], "kto_tag": False}, id="ShareGPT"),
    ],
)
def test_an_answer_with_a_mark(record: dict[str, Any]) -> None:
    found, row = read(record)
    assert (found, row.prompt, row.completion, row.label) == ("kto", [USER], [ASSISTANT], False)


def test_a_class_is_no_mark() -> None:
    assert read({"question": "a", "answer": "b", "label": 1})[0] == "question-answer"
    assert read({"text": "a", "label": 1})[0] == "text"


def test_token_ids_and_plain_text() -> None:
    record: dict[str, Any] = {"input_ids": [1, 2, 3], "attention_mask": [1, 1, 1], "labels": [-100, 2, 3], "text": "x"}
    shape, row = read(record)
    assert (shape, row.kind, row.input_ids, row.labels) == ("tokenised", "tokenised", [1, 2, 3], [-100, 2, 3])
    assert read({"input_ids": [1]})[1].labels is None
    shape, row = read({"text": "b"})
    assert (shape, row.kind, row.prompt, row.completion) == ("text", "text", [], [ASSISTANT])


def test_every_shape_recognises_its_own_example() -> None:
    for shape in SHAPES.values():
        assert shape.example.startswith('{"'), shape.name
    assert set(SHAPES) >= {"alpaca", "question-answer", "messages", "sharegpt", "prompt-completion", "text"}
    assert set(SHAPES) >= {"preference", "preference-messages", "bad-good", "kto", "tokenised"}


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"prompt": "a", "chosen": "", "rejected": "c"}, "chosen is empty"),
        ({"prompt": "a", "chosen": "b", "rejected": None}, "rejected is null, not text"),
        ({"prompt": "a", "chosen": [], "rejected": "c"}, "chosen is empty"),
        ({"prompt": "a", "chosen": [USER], "rejected": "c"}, "chosen: the last message is user's, not the assistant's"),
        ({"prompt": " ", "chosen": "b", "rejected": "c"}, "prompt is empty"),
        ({"chosen": "b", "rejected": "c"}, "there is no question beside chosen and rejected, nor at the beginning"),
        ({"prompt": "a", "completion": "b", "kto_tag": "perhaps"}, "kto_tag is 'perhaps', neither true nor false"),
        ({"input_ids": [1, 2], "labels": [1]}, "1 labels for 2 token ids"),
        ({"input_ids": [1, "x"]}, "input_ids is a list, not a list of whole numbers"),
        ({"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [1]}]}, "message 2 calls a tool"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}, ASSISTANT]},
            "has a part that is not text",
        ),
        ({"instruction": "a", "output": "b", "history": "x"}, "history is text, not a list"),
        ({"text": 5}, "text is a number, not text"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_row_is_told(record: dict[str, Any], said: str) -> None:
    kinds = [{"prompt": "a", "completion": "b", "kto_tag": True}] if "kto_tag" in record else []
    kinds += [{"prompt": "a", "chosen": "b", "rejected": "c"}] if "rejected" in record else []
    found = row_of(record, recognise([*kinds, record]), PATH, 7)
    assert isinstance(found, Problem)
    assert said in found.reason
    assert (found.line, found.malformed) == (7, False)


def test_the_shape_of_a_file_is_that_of_most_rows_and_the_others_are_named() -> None:
    pairs: list[dict[str, Any]] = [{"instruction": "a", "output": "b"}] * 6
    mixed: list[dict[str, Any]] = [{"messages": [USER, ASSISTANT]}] * 3
    found = recognise([*pairs, *mixed, {"x": 1}])
    assert (found.shape, found.share, found.others) == ("alpaca", 0.6, ["messages"])
    row = row_of(mixed[0], found, PATH, 1)
    assert isinstance(row, Row)
    assert row.completion == [ASSISTANT]
    assert recognise([]).shape == recognise([{"x": 1}]).shape == "unknown"


def test_columns_that_only_some_rows_have_are_shown_and_read() -> None:
    records: list[dict[str, Any]] = [
        {"instruction": "a", "output": "b"},
        {"instruction": "a", "output": "b", "system": "s"},
    ]
    found = recognise(records)
    assert found.columns == {"prompt": "instruction", "completion": "output", "system": "system"}
    late = row_of({"instruction": "a", "output": "b", "input": "x"}, found, PATH, 3)
    assert isinstance(late, Row)
    assert late.prompt == [{"role": "user", "content": "a\n\nx"}]


@pytest.mark.parametrize(
    "record",
    [
        {"metadata": {"dataset_type": "retain", "category": "x"}},
        {"metadata": '{"dataset_type": "retain", "category": "x"}'},
        {"dataset_type": "retain", "category": "x"},
        {"metadata.dataset_type": "retain", "metadata.category": "x"},
    ],
    ids=["object", "JSON in a table", "columns", "flattened"],
)
def test_retain_and_unlearn_are_told_apart_however_it_is_written(record: dict[str, Any]) -> None:
    _, row = read({"instruction": "a", "output": "b", **record})
    assert (row.dataset_type, row.category) == ("retain", "x")


@pytest.mark.parametrize(
    ("mapping", "shape"),
    [
        ({"prompt": "x", "completion": "y"}, "prompt-completion"),
        ({"prompt": "x", "completion": "y", "label": "z"}, "kto"),
        ({"messages": "x"}, "messages"),
        ({"text": "x"}, "text"),
        ({"prompt": "x", "chosen": "y", "rejected": "z"}, "preference"),
        ({"messages": "x", "rejected": "z"}, "preference"),
        ({"input_ids": "x"}, "tokenised"),
    ],
    ids=str,
)
def test_columns_named_by_the_user_make_a_shape(mapping: dict[str, str], shape: str) -> None:
    found = from_mapping(mapping)
    assert (found.shape, found.columns, found.given) == (shape, mapping, True)


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ({"answer": "x"}, "'answer' is none of prompt, context, completion"),
        ({"prompt": "x"}, "name the columns of prompt and completion"),
        ({"chosen": "x"}, "needs chosen and rejected"),
        ({"label": "x"}, "a label needs"),
    ],
    ids=str,
)
def test_columns_that_make_no_row_are_refused(mapping: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        from_mapping(mapping)
