"""What the worker says: written at once, without secrets, and how it ended for certain."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine import events
from engine.errors import DiskFull, OutOfMemory
from engine.events import Event, RunEnded, StageChanged, Warned
from engine.training.reporter import Reporter, redacted

SECRETS = [
    "hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345678",
    "sk-proj-abc123_DEF456-ghi789",
    "sk-ant-api03-AAAA1111bbbb",
    "ghp_0123456789abcdefghijklmnopqrstuvwxyz",
    "github_pat_11ABCDEFG0abcdefghijk_lmnop",
    "glpat-ABCdef123456-7890",
    "xoxb-123456789012-abcdef",
    "wandb_v1_0123456789abcdef",
]


def said(path: Path) -> list[Event | None]:
    return [events.from_json(json.loads(line)) for line in path.read_text().splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def test_an_event_is_on_disk_when_it_was_said(path: Path) -> None:
    reporter = Reporter(path)
    event = events.StepFinished(1, 0.5, 64, 0.1, {"loss": float("nan")})
    reporter.say(event)
    assert [repr(one) for one in said(path)] == [repr(event)]


def test_a_stage_is_said_when_it_changes_or_has_news(path: Path) -> None:
    reporter = Reporter(path)
    for stage, detail in (("starting", ""), ("loading", ""), ("loading", ""), ("loading", "tiny"), ("training", "")):
        reporter.enter(stage, detail)
    assert reporter.stage == "training"
    assert said(path) == [StageChanged("loading"), StageChanged("loading", "tiny"), StageChanged("training")]


def test_how_far_a_stage_is_is_said_from_time_to_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    reporter = Reporter(path)
    reporter.enter("evaluating", "9 questions")
    for seconds, count in ((4, 3), (9, 4), (11, 6), (15, 7), (22, 9)):
        clock[0] = 100.0 + seconds
        reporter.progress(f"{count} of 9 questions")
    details = [event.detail for event in said(path) if isinstance(event, StageChanged)]
    assert details == ["9 questions", "6 of 9 questions", "9 of 9 questions"]


def test_an_end_says_how_and_is_synced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    Reporter(path).end("finished", 50, detail="early stopping")
    (ended,) = said(path)
    assert isinstance(ended, RunEnded)
    assert (ended.outcome, ended.step, ended.detail, ended.code) == ("finished", 50, "early stopping", "")
    assert 0 <= ended.seconds < 60
    assert len(synced) == 1


def test_a_failure_carries_sentence_code_and_remedy(path: Path) -> None:
    Reporter(path).end("failed", 3, error=OutOfMemory("Memory ran out.", remedy="Halve the batch."))
    (ended,) = said(path)
    assert isinstance(ended, RunEnded)
    assert (ended.outcome, ended.detail, ended.code, ended.remedy) == (
        "failed",
        "Memory ran out.",
        "out-of-memory",
        "Halve the batch.",
    )


@pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: secret.partition("_")[0].partition("-")[0])
@pytest.mark.parametrize("around", ["{}", "token={} refused", "'{}'", "MY_{}", "({})", "401: {}, again"])
def test_a_token_is_not_repeated(secret: str, around: str) -> None:
    text = redacted(around.format(secret))
    assert text == around.format("[secret]")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:pass@host/a/b failed", "https://[secret]@host/a/b failed"),
        ("https://me:p@ss@host:8080/x", "https://[secret]@host:8080/x"),
        ("https://oauth2token@host.example/x", "https://[secret]@host.example/x"),
        ("Authorization: Bearer abcdefgh12345", "Authorization: Bearer [secret]"),
        ("{'api_key': 'abcdef0123456789'}", "{'api_key': '[secret]'}"),
        ("WANDB_API_KEY=0123456789abcdef0123456789abcdef01234567", "WANDB_API_KEY=[secret]"),
        ('password: "correcthorse"', 'password: "[secret]"'),
    ],
)
def test_what_is_called_secret_is_not_repeated(text: str, shown: str) -> None:
    assert redacted(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "hf_hub_download() got an unexpected keyword argument",
        "https://huggingface.co/org/model/resolve/main/config.json@v1",
        "eos_token='<|endoftext|>' and pad_token='<|endoftext|>'",
        "api_key=None",
        "the bearer of bad news",
        "sk-learn-extra-methods",
        "me@host.example wrote",
    ],
)
def test_what_is_no_secret_stays_readable(text: str) -> None:
    assert redacted(text) == text


def test_nothing_the_worker_says_of_an_error_holds_a_token(path: Path) -> None:
    reporter = Reporter(path)
    text = f"cannot open https://me:hunter22@host with {SECRETS[0]}"
    reporter.warn("hub", text, text)
    reporter.end("failed", 1, error=OutOfMemory(text, remedy=text))
    reporter.end("stopped", 1, detail=text)
    for leaked in ("hunter22", SECRETS[0]):
        assert leaked not in path.read_text()
    warned = said(path)[0]
    assert isinstance(warned, Warned)
    assert warned.message == "cannot open https://[secret]@host with [secret]"


def test_a_full_disk_is_not_waited_for_unless_asked() -> None:
    with pytest.raises(DiskFull):
        Reporter(Path("/dev/full")).enter("loading")


@dataclass
class Disk:
    """A disk that is full for some writes, and what happened to it."""

    full_for: int
    tries: int = 0
    looks: int = 0

    def write(self) -> str:
        self.tries += 1
        if self.tries <= self.full_for:
            raise DiskFull("No room to write it.", remedy="Free some.")
        return "written"

    def look(self) -> None:
        self.looks += 1


@pytest.fixture
def waiting(path: Path, monkeypatch: pytest.MonkeyPatch) -> Reporter:
    monkeypatch.setattr("engine.training.reporter._ROOM_SECONDS", 0.0)
    return Reporter(path, patience_seconds=3600.0)


def test_a_full_disk_is_waited_for_and_said_once(waiting: Reporter, path: Path) -> None:
    disk = Disk(full_for=3)
    waiting.while_waiting = disk.look
    assert waiting.with_room(disk.write) == "written"
    assert (disk.tries, disk.looks) == (4, 3)
    (warned,) = said(path)
    assert isinstance(warned, Warned)
    assert warned.code == "disk-full"
    assert "waits up to 60 minutes" in warned.message


def test_patience_has_an_end_and_then_there_is_none_left(waiting: Reporter) -> None:
    waiting.patience_seconds = 1e-9
    disk = Disk(full_for=10**9)
    with pytest.raises(DiskFull):
        waiting.with_room(disk.write)
    before = disk.tries
    with pytest.raises(DiskFull):
        waiting.with_room(disk.write)
    assert disk.tries == before + 1


def test_an_order_ends_the_waiting(waiting: Reporter) -> None:
    def ordered() -> None:
        raise KeyboardInterrupt

    disk = Disk(full_for=10**9)
    waiting.while_waiting = ordered
    with pytest.raises(KeyboardInterrupt):
        waiting.with_room(disk.write)
    assert (disk.tries, waiting.patience_seconds) == (1, 0.0)
