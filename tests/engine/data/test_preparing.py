"""Prepared data is kept and taken again, only ever from the same rows prepared in the same way."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from engine.data.doctor import Asked, examine_files
from engine.data.preparing import Preparation, PreparedCache, dataset_of, prepared_key
from engine.data.row import Row
from engine.data.rows import read_rows
from engine.errors import DataError
from tests.chat_models import FAMILIES, Family, write_tokenizer
from tests.engine.training.conftest import rows, write_rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("model") / "chatml", FAMILIES[0])


@pytest.fixture
def tokenizer(folder: Path) -> Any:
    from engine.training.loading import load_tokenizer

    return load_tokenizer(str(folder))


def arguments(tmp_path: Path, **more: Any) -> Any:
    from trl import SFTConfig

    return SFTConfig(**{"output_dir": str(tmp_path / "out"), "use_cpu": True, "bf16": False, "max_length": 64, **more})


def some_rows(tmp_path: Path, made: list[dict[str, Any]] | None = None) -> list[Row]:
    path = write_rows(tmp_path / "rows.jsonl", made if made is not None else rows(count=6))
    return [row for row in read_rows(path) if isinstance(row, Row)]


def test_everything_that_changes_what_is_learned_changes_the_key(tokenizer: Any, tmp_path: Path) -> None:
    given = dataset_of(some_rows(tmp_path))
    plain = arguments(tmp_path)
    keys = [
        prepared_key(given, tokenizer, plain, False),
        prepared_key(given, tokenizer, plain, True),
        prepared_key(given, tokenizer, arguments(tmp_path, max_length=65), False),
        prepared_key(given, tokenizer, arguments(tmp_path, completion_only_loss=False), False),
        prepared_key(given, tokenizer, arguments(tmp_path, truncation_mode="keep_end"), False),
        prepared_key(given, tokenizer, arguments(tmp_path, shuffle_dataset=True), False),
        prepared_key(given, tokenizer, arguments(tmp_path, shuffle_dataset=True, seed=7), False),
        prepared_key(dataset_of(some_rows(tmp_path, rows(count=5))), tokenizer, plain, False),
        prepared_key(dataset_of(some_rows(tmp_path, rows(count=6)[::-1])), tokenizer, plain, False),
    ]
    tokenizer.chat_template += " "
    keys.append(prepared_key(given, tokenizer, plain, False))
    tokenizer.add_tokens(["<|new|>"])
    keys.append(prepared_key(given, tokenizer, plain, False))
    assert len(set(keys)) == len(keys)


def test_what_cannot_change_it_does_not(tokenizer: Any, tmp_path: Path) -> None:
    other = {"learning_rate": 1.0, "seed": 7, "per_device_train_batch_size": 2, "max_steps": 3}
    keys = {
        prepared_key(dataset_of(some_rows(tmp_path)), tokenizer, given, False)
        for given in (arguments(tmp_path), arguments(tmp_path, **other))
    }
    assert len(keys) == 1


def test_what_was_kept_comes_back_with_its_facts(tmp_path: Path) -> None:
    dataset = Dataset.from_dict({"input_ids": [[1, 2], [3]], "labels": [[-100, 2], [3]], "row": [0, 1]})
    cache = PreparedCache(tmp_path / "prepared")
    assert cache.get("key") is None
    assert cache.put("key", dataset) is dataset
    cache.keep_facts(dataset, {"num_tokens": 3})
    again = PreparedCache(tmp_path / "prepared")
    found = again.get("key")
    assert found is not None
    assert found[:] == dataset[:]
    assert again.facts(found) == {"num_tokens": 3}
    assert again.facts(dataset) is None
    assert (again.hits, cache.misses) == (1, 1)


def test_a_damaged_entry_is_prepared_again(tmp_path: Path) -> None:
    dataset = Dataset.from_dict({"input_ids": [[1, 2]], "labels": [[1, 2]]})
    cache = PreparedCache(tmp_path / "prepared")
    cache.put("key", dataset)
    for file in (tmp_path / "prepared" / "key" / "data").glob("*.arrow"):
        file.write_bytes(file.read_bytes()[:40])
    assert PreparedCache(tmp_path / "prepared").get("key") is None
    assert not (tmp_path / "prepared" / "key").exists()


def test_the_entries_not_used_for_longest_make_room(tmp_path: Path) -> None:
    dataset = Dataset.from_dict({"input_ids": [list(range(5_000))], "labels": [list(range(5_000))]})
    PreparedCache(tmp_path / "prepared").put("probe", dataset)
    size = sum(file.stat().st_size for file in (tmp_path / "prepared").rglob("*") if file.is_file())
    cache = PreparedCache(tmp_path / "prepared", limit_bytes=size * 5 // 2)
    for number, name in enumerate(["probe", "old"]):
        cache.put(name, dataset)
        os.utime(tmp_path / "prepared" / name, (number, number))
    assert cache.get("probe") is not None  # used now, so that the other is older
    cache.put("new", dataset)
    assert sorted(entry.name for entry in (tmp_path / "prepared").iterdir()) == ["new", "probe"]


def test_where_nothing_can_be_kept_the_data_is_used_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "prepared").write_text("a file where the folder should be")
    dataset = Dataset.from_dict({"input_ids": [[1]], "labels": [[1]]})
    cache = PreparedCache(tmp_path / "prepared")
    assert cache.put("key", dataset) is dataset
    cache.keep_facts(dataset, {})
    assert cache.get("key") is None


def test_rows_of_several_kinds_are_not_taken_for_those_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    mixed = [
        Row(path, 1, [{"role": "user", "content": "a"}], [{"role": "assistant", "content": "b"}]),
        Row(path, 2, [], [{"role": "assistant", "content": "b"}], kind="text"),
    ]
    with pytest.raises(DataError, match="several kinds"):
        dataset_of(mixed)


@pytest.mark.parametrize("family", FAMILIES, ids=[family.name for family in FAMILIES])
def test_the_doctor_and_the_preparation_agree_on_every_row(family: Family, tmp_path: Path) -> None:
    from engine.training.loading import load_tokenizer

    model = write_tokenizer(tmp_path / family.name, family)
    made: list[dict[str, Any]] = rows(count=36)
    for number, row in enumerate(made):  # lengths on both sides of the limit, by one token each
        row["output" if number % 2 else "instruction"] += "x" * number
    read = some_rows(tmp_path, made)
    tokenizer, out = load_tokenizer(str(model)), str(tmp_path / "out")
    whole = Preparation(tokenizer, {"output_dir": out, "max_length": 8}, read[0]).prepare(read, whole=True)
    lengths = {example["row"]: len(example["input_ids"]) for example in whole}
    limit = sorted(lengths.values())[24]
    preparation = Preparation(tokenizer, {"output_dir": out, "max_length": limit}, read[0])
    kept = {example["row"] for example in preparation.prepare(read)}
    report = examine_files(Asked((str(tmp_path / "rows.jsonl"),), {}, str(model), max_length=limit))
    found = {one.code: {line - 1 for _, line in one.lines} for one in report.findings}
    assert found.pop("trains-on-nothing", set()) == set(range(36)) - kept
    assert found.pop("answer-cut") == {row for row in kept if lengths[row] > limit}
    assert report.rows_kept == len(kept)
    assert not found


def test_plain_text_and_token_ids_are_prepared_as_they_are(tokenizer: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    text = Row(path, 1, [], [{"role": "assistant", "content": "plain"}], kind="text")
    (example,) = Preparation(tokenizer, {"output_dir": str(tmp_path / "out"), "max_length": 64}, text).prepare([text])
    assert tokenizer.decode(example["input_ids"]) == "plain<|im_end|>"
    assert example["labels"] == example["input_ids"]
    ids = Row(path, 1, [], [], kind="tokenised", input_ids=[5, 6, 7], labels=[-100, 6, 7])
    (example,) = Preparation(tokenizer, {"output_dir": str(tmp_path / "out"), "max_length": 64}, ids).prepare([ids])
    assert (example["input_ids"], example["labels"]) == ([5, 6, 7], [-100, 6, 7])
    assert json.dumps(example["labels"]) == "[-100, 6, 7]"
