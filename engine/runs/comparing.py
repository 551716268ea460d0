"""Two checkpoints side by side: figures, the settings that differ, answers to the fixed prompts word by word."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from engine.config.difference import Difference, differences, values_of
from engine.config.resolved import ResolvedConfig
from engine.config.yaml_text import read_file
from engine.errors import EngineError
from engine.events import json_number
from engine.runs.directory import RunDirectory
from engine.runs.entries import CheckpointEntry, direction
from engine.runs.finding import figure_names

_MOST_BYTES = 64 << 20
"""Of `samples.jsonl` that are looked at, from its end: some 100,000 answers."""
_MOST_WORDS = 1_000
"""Of an answer that are compared; the rest is left out. The same word a thousand times takes a second."""
_WORDS = re.compile(r"[^\W_]+\s*|.\s*", re.DOTALL)  # blanks of their own would be the most frequent word

Side = Literal["both", "left", "right"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric of both."""

    name: str
    left: float | None
    right: float | None
    better: Literal["left", "right", ""] = ""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of two answers: in both, or in one only."""

    side: Side
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What both said to one prompt. Foreign text: to be shown, never obeyed."""

    prompt: str
    set: str
    left: str | None
    """None: it was not asked that at this step."""
    right: str | None
    pieces: tuple[Piece, ...] = ()

    @property
    def same(self) -> bool:
        return self.left == self.right


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two checkpoints."""

    left: CheckpointEntry
    right: CheckpointEntry
    figures: tuple[Figure, ...]
    settings: tuple[Difference, ...]
    """Only those that differ."""
    answers: tuple[Answer, ...]
    notes: tuple[str, ...]
    """What could not be compared, a sentence each."""

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "left": self.left.as_dict(),
            "right": self.right.as_dict(),
            "figures": [
                {
                    "name": one.name,
                    "left": None if one.left is None else json_number(one.left),
                    "right": None if one.right is None else json_number(one.right),
                    "better": one.better or None,
                }
                for one in self.figures
            ],
            "settings": [{"key": one.key, "left": one.before, "right": one.after} for one in self.settings],
            "answers": [
                {
                    "prompt": one.prompt,
                    "set": one.set,
                    "left": one.left,
                    "right": one.right,
                    "same": one.same,
                    "words": [{"in": piece.side, "text": piece.text} for piece in one.pieces],
                }
                for one in self.answers
            ],
            "notes": list(self.notes),
        }


def compare(left: CheckpointEntry, right: CheckpointEntry) -> Comparison:
    """Return in what two checkpoints differ. What cannot be read is a note and no error."""
    notes: list[str] = []
    figures = tuple(_figure(name, left, right) for name in figure_names((left, right)))
    settings: tuple[Difference, ...] = ()
    if left.run and (left.run, left.stage) == (right.run, right.stage):
        notes.append(f"Both are of {left.run}, so their settings are the same.")
    else:
        mine, theirs = _settings(left, notes), _settings(right, notes)
        if mine is not None and theirs is not None:
            settings = tuple(differences(mine, theirs))
    answers = _answers(left, right, notes)
    return Comparison(left, right, figures, settings, answers, tuple(dict.fromkeys(notes)))


def words_apart(left: str, right: str) -> tuple[Piece, ...]:
    """Return two texts as the parts they share and the parts that only one has, word by word."""
    mine, theirs = _WORDS.findall(left)[:_MOST_WORDS], _WORDS.findall(right)[:_MOST_WORDS]
    pieces: list[Piece] = []
    for kind, i, j, k, m in difflib.SequenceMatcher(None, mine, theirs, autojunk=False).get_opcodes():
        if kind == "equal":
            pieces.append(Piece("both", "".join(mine[i:j])))
            continue
        if j > i:
            pieces.append(Piece("left", "".join(mine[i:j])))
        if m > k:
            pieces.append(Piece("right", "".join(theirs[k:m])))
    return tuple(pieces)


def _figure(name: str, left: CheckpointEntry, right: CheckpointEntry) -> Figure:
    one, other = left.metrics.get(name), right.metrics.get(name)
    # The loss of two methods is two things.
    sign = direction(name) if left.stage == right.stage else 0
    if one is None or other is None or not sign or one == other or one != one or other != other:
        return Figure(name, one, other)
    return Figure(name, one, other, "left" if sign * one > sign * other else "right")


def _settings(entry: CheckpointEntry, notes: list[str]) -> dict[str, Any] | None:
    run = _run_of(entry)
    if run is None:
        notes.append(f"{entry.spec} is of no run here, so its settings are not known.")
        return None
    try:
        resolved = ResolvedConfig.from_yaml(read_file(run.config))
        return values_of(dict(resolved.stages).get(entry.stage or "", resolved))
    except EngineError as error:
        notes.append(f"The settings of {run.name} cannot be read: {error.message}")
        return None


def _answers(left: CheckpointEntry, right: CheckpointEntry, notes: list[str]) -> tuple[Answer, ...]:
    mine, theirs = answers_at(left), answers_at(right)
    for entry, found in ((left, mine), (right, theirs)):
        if not found and entry.run:
            steps = _steps_answered(entry)
            near = [step for step in steps if step <= entry.step][-1:] or steps[:1]
            told = f"; the nearest step at which it was is {near[0]}" if near else ""
            notes.append(f"{entry.run} was not asked the fixed prompts at step {entry.step}{told}.")
    answers = []
    for prompt, set_name in dict.fromkeys([*mine, *theirs]):
        one, other = mine.get((prompt, set_name)), theirs.get((prompt, set_name))
        pieces = words_apart(one, other) if one is not None and other is not None else ()
        answers.append(Answer(prompt, set_name, one, other, pieces))
    return tuple(answers)


def answers_at(entry: CheckpointEntry) -> dict[tuple[str, str], str]:
    """Return what was answered at the step of a checkpoint, by prompt and set; of steps taken twice the newest."""
    found: dict[tuple[str, str], str] = {}
    for record in _samples(entry):
        if record.get("step") == entry.step:
            prompt, answer, name = record.get("prompt"), record.get("answer"), record.get("set")
            if isinstance(prompt, str) and isinstance(answer, str):
                found[prompt, name if isinstance(name, str) else ""] = answer
    return found


def _steps_answered(entry: CheckpointEntry) -> Sequence[int]:
    return sorted({step for record in _samples(entry) if type(step := record.get("step")) is int})


def _samples(entry: CheckpointEntry) -> Iterator[dict[str, Any]]:
    run = _run_of(entry)
    if run is None:
        return
    try:
        with run.samples.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _MOST_BYTES))
            lines = file.read(_MOST_BYTES).split(b"\n")
    except OSError:
        return
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            yield record


def _run_of(entry: CheckpointEntry) -> RunDirectory | None:
    if not entry.run:
        return None
    path = Path(entry.folder)
    return RunDirectory(path.parent if path.name in ("best", "final") else path.parent.parent)
