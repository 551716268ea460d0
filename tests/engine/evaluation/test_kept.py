"""Replies that stay when an evaluation is cut short."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import WorkspaceError
from engine.evaluation.kept import KeptReplies, fingerprint

ABOUT = {"model": "voice-1@best", "questions": ["a", "b"]}


def test_what_was_kept_is_there_again(tmp_path: Path) -> None:
    path = tmp_path / "evaluations" / "one.jsonl"
    kept = KeptReplies(path, ABOUT)
    kept.keep([(1, "Grüße \x1b[2J"), (0, "line\nbreak")])
    again = KeptReplies(path, ABOUT)
    assert again.replies == kept.replies == {0: "line\nbreak", 1: "Grüße \x1b[2J"}
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_replies_to_other_questions_are_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    KeptReplies(path, ABOUT).keep([(0, "x")])
    other = KeptReplies(path, {**ABOUT, "questions": ["a", "c"]})
    assert other.replies == {}
    other.keep([(1, "y")])
    assert KeptReplies(path, ABOUT).replies == {}


def test_a_torn_line_is_passed_over_and_swallows_nothing(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    KeptReplies(path, ABOUT).keep([(0, "first"), (1, "second")])
    path.write_bytes(path.read_bytes()[:-9])
    kept = KeptReplies(path, ABOUT)
    assert kept.replies == {0: "first"}
    kept.keep([(2, "third")])
    assert KeptReplies(path, ABOUT).replies == {0: "first", 2: "third"}


@pytest.mark.parametrize(
    "content", [b"", b"\0\0", b"[" * 100_000, b'{"about": 1}\n', b'"x"\n{"index":0,"reply":"a"}\n']
)
def test_what_is_no_such_file_holds_no_replies(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "one.jsonl"
    path.write_bytes(content)
    assert KeptReplies(path, ABOUT).replies == {}


def test_a_reply_that_is_no_unicode_is_kept_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    KeptReplies(path, ABOUT).keep([(0, "half \ud83d of a character")])
    assert KeptReplies(path, ABOUT).replies == {0: "half ? of a character"}


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "evaluations").write_text("a file")
    with pytest.raises(WorkspaceError):
        KeptReplies(tmp_path / "evaluations" / "one.jsonl", ABOUT).keep([(0, "x")])


def test_the_order_of_keys_does_not_matter() -> None:
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1}) != fingerprint({"a": 1, "b": [3]})
