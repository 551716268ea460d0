"""Settings changed in a text: what else a person wrote there stays, and the text says what it should."""

from __future__ import annotations

import pytest

from engine.config.load import loads
from screens.configure.yaml_edit import drop, put, write

TEXT = """\
# my run
preset: demo   # below

model:
  name: tiny  # small
training: {learning_rate: 1e-3, seed: 1}
# about data
data:
  train:
    - a.jsonl
    - b.jsonl
  limit: 5
"""


def values(text: str) -> dict[str, object]:
    return {key: setting.value for key, setting in loads(text, "it").settings.items() if not setting.preset}


@pytest.mark.parametrize(
    ("key", "value", "old", "new"),
    [
        pytest.param("model.name", "my/model", "name: tiny  # small", "name: my/model  # small", id="a value"),
        pytest.param("data.limit", None, "limit: 5", "limit: null", id="null"),
        pytest.param(
            "data.train", ["c.jsonl"], "train:\n    - a.jsonl\n    - b.jsonl", "train: [c.jsonl]", id="a list"
        ),
        pytest.param("data.packing", True, "  limit: 5\n", "  limit: 5\n  packing: true\n", id="one more"),
        pytest.param("lora.r", 8, "training: {", "lora:\n  r: 8\ntraining: {", id="one more section, in order"),
        pytest.param("preset", "domain-voice", "demo   #", "domain-voice  #", id="the preset"),
        pytest.param(
            "training.seed", 3, "training: {learning_rate: 1e-3, seed: 1}",
            "training:\n  learning_rate: 0.001\n  seed: 3", id="a section on one line",
        ),
        pytest.param("data.dev", 'say "hi": # 1', "limit: 5\n", 'limit: 5\n  dev: "say \\"hi\\": # 1"\n', id="quotes"),
    ],
)  # fmt: skip
def test_one_setting_changes_and_nothing_else(key: str, value: object, old: str, new: str) -> None:
    assert put(TEXT, key, value) == TEXT.replace(old, new)
    if key != "preset":
        assert values(put(TEXT, key, value)) == {**values(TEXT), key: value}


@pytest.mark.parametrize(
    ("key", "old", "new"),
    [
        pytest.param("data.train", "  train:\n    - a.jsonl\n    - b.jsonl\n", "", id="a list"),
        pytest.param("model.name", "model:\n  name: tiny  # small\n", "", id="the last of a section"),
        pytest.param("preset", "preset: demo   # below\n", "", id="the preset"),
        pytest.param("lora.r", "", "", id="what is not there"),
    ],
)
def test_one_setting_goes_and_nothing_else(key: str, old: str, new: str) -> None:
    assert drop(TEXT, key) == TEXT.replace(old, new)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing yet\n",
        "model:\n",
        "model: {}\n",
        "model:\n  name: |\n    a\n    b\n  revision: x\n",
        "model:\n  'name': x\n  revision: {a: 1,\n    b: 2}\n",
        "model: {name: a,\n  revision: b}\n",
        '"model":\n    name: x',
        "model:\r\n  name: x\r\n",
        "model: 3\n",
        "nonsense: [1, 2]\nmodel:\n  name: x # y\n",
    ],
)
def test_whatever_the_text_looks_like_it_says_the_new_value_and_the_old_others(text: str) -> None:
    before = values(text) if text.strip("# \nothingye") else {}
    before.pop("model", None)
    after = put(text, "model.name", "new: #")
    assert values(after) == {**before, "model.name": "new: #"}
    before.pop("model.name", None)
    dropped = drop(after, "model.name")
    assert (values(dropped) if dropped.strip() and not dropped.startswith("# n") else {}) == before


def test_long_lists_are_written_an_item_a_line() -> None:
    text = put("", "data.train", [f"a/long/path/to/file-{number}.jsonl" for number in range(4)])
    assert text.splitlines()[1:3] == ["  train:", "    - a/long/path/to/file-0.jsonl"]
    assert write({"data": {"train": ["a"]}, "preset": "demo"}) == "data:\n  train: [a]\npreset: demo\n"
