"""Held-out questions asked before and after training, and the fixed prompts asked again at every evaluation."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from engine import events
from engine.data.rows import Message, Row
from engine.evaluation.refusal import Asked, answers, refuses, score
from engine.evaluation.temporal import key_answer
from engine.journal import append_lines
from engine.runs.directory import RunDirectory
from engine.training.answering import answer
from engine.training.reporter import Reporter

_AUTOMATIC_PROMPTS = 6
"""Prompts taken from the validation sets together: what fits beside the plots on a screen."""


def spread(rows: Sequence[Row], count: int | None) -> list[Row]:
    """Return `count` rows at even distances, so that one topic at the start does not stand for all."""
    if count is None or count >= len(rows):
        return list(rows)
    return [rows[position * len(rows) // count] for position in range(count)]


def chosen_prompts(asked: list[str] | None, validation: dict[str, list[Row]]) -> list[tuple[str, list[Message]]]:
    """Return the fixed prompts with the set each belongs to ("" for the user's own).

    Args:
        asked: The user's prompts; None takes some questions of each validation set.
        validation: Rows by set.
    """
    if asked is not None:
        return [("", [{"role": "user", "content": text}]) for text in asked]
    each = max(1, _AUTOMATIC_PROMPTS // max(1, len(validation)))
    asking = {name: [row for row in rows if row.prompt] for name, rows in validation.items()}  # not plain text
    return [(name, row.prompt) for name, rows in asking.items() for row in spread(rows, each)]


def answer_prompts(
    model: Any,
    tokenizer: Any,
    prompts: list[tuple[str, list[Message]]],
    *,
    run: RunDirectory,
    reporter: Reporter,
    step: int,
    max_new_tokens: int,
    heard: Callable[[], None],
) -> None:
    """Answer the fixed prompts and append the answers to `samples.jsonl`. `heard` is called between tokens."""
    if not prompts:
        return
    reporter.enter("answering")
    began = time.monotonic()
    said = answer(
        model, tokenizer, [messages for _, messages in prompts], max_new_tokens=max_new_tokens, each_token=heard
    )
    lines = [
        {"step": step, "index": index, "set": name, "prompt": messages[-1]["content"], "answer": text}
        for index, ((name, messages), text) in enumerate(zip(prompts, said, strict=True))
    ]
    reporter.with_room(lambda: append_lines(run.samples, lines))
    reporter.say(events.SamplesAnswered(step, len(lines), round(time.monotonic() - began, 3)))


def measure(
    model: Any,
    tokenizer: Any,
    rows: Sequence[Row],
    *,
    run: RunDirectory,
    reporter: Reporter,
    step: int,
    when: str,
    max_new_tokens: int,
    heard: Callable[[], None],
) -> events.BehaviourMeasured:
    """Ask held-out questions, score the replies, and keep every reply in `evaluations/<when>.jsonl`.

    Args:
        model: With or without adapter.
        tokenizer: Its tokenizer.
        rows: Rows whose metadata says "retain" or "unlearn".
        run: Where the replies go.
        reporter: Told the scores.
        step: Optimizer steps the weights have seen.
        when: "before" or "after".
        max_new_tokens: Longest reply.
        heard: Called between tokens; may raise to end early.
    """
    asking = f"{len(rows)} held-out questions, {when} training"
    reporter.enter("evaluating", asking)
    began = time.monotonic()
    said = answer(
        model,
        tokenizer,
        [row.prompt for row in rows],
        max_new_tokens=max_new_tokens,
        batch_size=64,
        each_token=heard,
        answered=lambda count: reporter.progress(f"{count} of {asking}"),
    )
    asked = [
        Asked(row.dataset_type or "", row.completion[-1]["content"], reply, key_answer(row), row.prompt[-1]["content"])
        for row, reply in zip(rows, said, strict=True)
    ]
    result = score(asked)
    run.evaluations.mkdir(mode=0o700, exist_ok=True)
    path = run.evaluations / f"{when}.jsonl"
    lines = [
        {
            "dataset_type": one.dataset_type,
            "question": row.prompt[-1]["content"],
            "reply": one.reply,
            "key_answer": one.key_answer,
            "answered": answers(one),
            "refused": refuses(one.reply),
        }
        for row, one in zip(rows, asked, strict=True)
    ]
    reporter.with_room(lambda: _write_anew(path, lines))
    event = events.BehaviourMeasured(
        step=step,
        when=when,
        scores={name: round(value, 4) for name, value in result.scores.items()},
        counts=result.counts,
        seconds=round(time.monotonic() - began, 3),
    )
    reporter.say(event, durable=True)
    return event


def _write_anew(path: Path, lines: list[dict[str, Any]]) -> None:
    path.unlink(missing_ok=True)
    append_lines(path, lines)
