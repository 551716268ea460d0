"""Which rows stand beside those to unlearn, and what the base itself says to their questions."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from engine.data.rows import Row
from engine.training import unlearning_rows
from engine.training.reporter import Reporter
from engine.training.splits import Split
from engine.training.unlearning_rows import PairedRows, collate_pairs, keep_what_is_unlearned, moved, take_own_replies


def pairs(retain: int = 5, per_row: int = 2, seed: int = 1) -> PairedRows:
    return PairedRows([{"id": f"u{n}"} for n in range(4)], [{"id": n} for n in range(retain)], per_row, seed)


def dealt(rows: PairedRows, epoch: int) -> list[int]:
    rows.set_epoch(epoch)
    return [row["id"] for position in range(len(rows)) for row in rows[position][1]]


def test_every_row_to_retain_is_seen_as_often() -> None:
    rows = pairs()
    seen = Counter(row for epoch in range(5) for row in dealt(rows, epoch))  # 5 * 4 * 2 = 8 packs of 5
    assert set(seen.values()) == {8}


def test_a_pass_is_dealt_anew_and_the_same_at_every_start() -> None:
    first = [dealt(pairs(), epoch) for epoch in range(3)]
    assert first[0] != first[1]
    other = pairs()
    assert dealt(other, 2) == first[2]  # a resume goes straight to its pass
    assert dealt(other, 0) == first[0]
    assert dealt(pairs(seed=2), 0) != first[0]


def test_without_rows_to_retain_an_item_is_the_row_alone() -> None:
    assert pairs(retain=0)[3] == ({"id": "u3"}, [])
    assert pairs(per_row=0)[3] == ({"id": "u3"}, [])


def test_a_batch_has_the_rows_to_unlearn_first() -> None:
    rows = pairs()
    batch = collate_pairs(lambda some: {"ids": [row["id"] for row in some]}, [rows[0], rows[1]])
    assert batch["num_unlearn"] == 2
    assert batch["ids"][:2] == ["u0", "u1"]
    assert len(batch["ids"]) == 2 + 2 * 2
    assert collate_pairs(lambda some: {"ids": len(some)}, [{"id": 1}]) == {"ids": 1}


def row(number: int, kind: str | None) -> Row:
    metadata = {"dataset_type": kind} if kind else {}
    return Row(Path("a.jsonl"), number, [{"role": "user", "content": f"q{number}"}],
               [{"role": "assistant", "content": "I do not know."}], metadata)  # fmt: skip


def test_rows_that_are_neither_are_told_and_rows_to_retain_may_be_left_out() -> None:
    split = Split("train", [row(1, "retain"), row(2, "unlearn"), row(3, None)], [])
    keep_what_is_unlearned(split, with_retain=False)
    assert [one.line for one in split.rows] == [2]
    assert [one.line for one in split.problems] == [1, 3]


def test_what_the_base_says_is_unlearned_and_asked_once(tmp_path: Path, monkeypatch: Any) -> None:
    asked: list[list[str]] = []

    def say(_model: Any, _tokenizer: Any, conversations: Any, **_: Any) -> list[str]:
        asked.append([messages[-1]["content"] for messages in conversations])
        return [
            "" if messages[-1]["content"] == "q3" else f"says {messages[-1]['content']}" for messages in conversations
        ]

    monkeypatch.setattr(unlearning_rows, "answer", say)
    for _ in range(2):  # the second is a resume
        splits = [Split("train", [row(1, "retain"), row(2, "unlearn"), row(3, "unlearn")], []),
                  Split("unlearn", [row(2, "unlearn")], [])]  # fmt: skip
        take_own_replies(splits, None, None, path=tmp_path / "replies.jsonl", reporter=Reporter(tmp_path / "e.jsonl"),
                         max_new_tokens=8, heard=lambda: None)  # fmt: skip
        assert [one.completion[0]["content"] for one in splits[0].rows] == ["I do not know.", "says q2"]
        assert splits[1].rows[0].completion[0]["content"] == "says q2"
        assert [problem.line for problem in splits[0].problems] == [3]
    assert asked == [["q2", "q3"]]
    assert [json.loads(line)["reply"] for line in (tmp_path / "replies.jsonl").read_text().splitlines()] == [
        "says q2", "",
    ]  # fmt: skip


def test_a_mean_has_moved_when_it_stands_out_of_its_noise() -> None:
    assert moved([2.0, 2.1, 1.9], [1.0, 1.1, 0.9])
    assert not moved([1.0, 1.2, 0.9], [1.0, 1.1, 0.95])
    assert not moved([1.0, 1.0], [1.0, 1.0])
