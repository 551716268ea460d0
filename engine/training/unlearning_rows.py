"""Rows to unlearn, each with rows to retain beside it, and what the base model itself says to their questions."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from engine.data.rows import Problem, Row
from engine.journal import append_lines
from engine.training.answering import answer
from engine.training.reporter import Reporter
from engine.training.splits import Split

_AT_ONCE = 256
"""Questions between two writings of what was said."""

Example = dict[str, Any]


class PairedRows(Dataset):
    """Each item is a row to unlearn and the rows to retain that go with it. An epoch is a pass over the former.

    The rows to retain are dealt from a shuffled pack, another one when it is used up, so that all are seen as often.
    Which ones an item has depends on seed, epoch and position alone: a resumed run sees what it would have seen.
    """

    def __init__(self, unlearn: Any, retain: Any, retain_per_unlearn: int, seed: int) -> None:
        self.unlearn, self.retain = unlearn, retain
        self.retain_per_unlearn = retain_per_unlearn if len(retain) else 0
        self.seed, self.epoch = seed, 0
        self._packs: dict[int, list[int]] = {}

    def set_epoch(self, epoch: int) -> None:
        """Deal as in this pass; 0 is the first."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.unlearn)

    def __getitem__(self, position: int) -> tuple[Example, list[Example]]:
        first = (self.epoch * len(self.unlearn) + position) * self.retain_per_unlearn
        dealt = [self._dealt(first + n) for n in range(self.retain_per_unlearn)]
        return self.unlearn[position], [self.retain[row] for row in dealt]

    def _dealt(self, number: int) -> int:
        pack, place = divmod(number, len(self.retain))
        if pack not in self._packs:
            order = list(range(len(self.retain)))
            random.Random(f"{self.seed} {pack}").shuffle(order)
            # Four packs at most: an epoch is read in any order, but from a few neighbouring ones.
            self._packs = {**dict(list(self._packs.items())[-3:]), pack: order}
        return self._packs[pack][place]


def collate_pairs(collate: Callable[[list[Example]], dict[str, Any]], items: Sequence[Any]) -> dict[str, Any]:
    """Return one batch: first the rows to unlearn, as many as `num_unlearn` says, then those to retain.

    Args:
        collate: The trainer's own for rows; it is also given what is no pair, the rows of an evaluation.
        items: Of `PairedRows`, or rows.
    """
    if not isinstance(items[0], tuple):
        return collate(list(items))
    rows = [unlearn for unlearn, _ in items] + [row for _, retain in items for row in retain]
    return {**collate([dict(row) for row in rows]), "num_unlearn": len(items)}


def keep_what_is_unlearned(split: Split, *, with_retain: bool) -> None:
    """Make problems of the training rows that are neither to unlearn nor to retain."""
    kept = []
    for row in split.rows:
        if row.dataset_type == "unlearn" or (row.dataset_type == "retain" and with_retain):
            kept.append(row)
        else:
            reason = "its metadata.dataset_type is neither retain nor unlearn"
            if row.dataset_type == "retain":
                reason = "it is to be retained, and no step of this method has such rows"
            split.problems.append(Problem(row.path, row.line, reason, malformed=False))
    split.rows = kept


def take_own_replies(
    splits: Iterable[Split],
    model: Any,
    tokenizer: Any,
    *,
    path: Path,
    reporter: Reporter,
    max_new_tokens: int,
    heard: Callable[[], None],
) -> None:
    """Put the base model's own replies in the place of what the rows to unlearn would teach.

    A reply is made once and kept in the run's folder, so that a resume unlearns the same.

    Args:
        splits: Changed in place; a row to which nothing is said becomes a problem.
        model: The base, without adapter.
        tokenizer: Its tokenizer.
        path: Where the replies are kept.
        reporter: Told how far it is.
        max_new_tokens: Longest reply.
        heard: Called between tokens; may raise to end early.
    """
    known = _read(path)
    splits = list(splits)
    asked = {_key(row): row for split in splits for row in split.rows if row.dataset_type == "unlearn"}
    missing = [(key, row) for key, row in asked.items() if key not in known]
    for start in range(0, len(missing), _AT_ONCE):
        some = missing[start : start + _AT_ONCE]
        reporter.enter("preparing", f"the base model's replies to unlearn, {start} of {len(missing)}")
        said = answer(
            model, tokenizer, [row.prompt for _, row in some], max_new_tokens=max_new_tokens, batch_size=64,
            each_token=heard,
        )  # fmt: skip
        lines = [
            {"key": key, "question": row.prompt[-1]["content"], "reply": text}
            for (key, row), text in zip(some, said, strict=True)
        ]
        reporter.with_room(lambda lines=lines: append_lines(path, lines))  # type: ignore[misc]
        known |= {str(line["key"]): str(line["reply"]) for line in lines}
    for split in splits:
        kept = []
        for row in split.rows:
            if row.dataset_type != "unlearn":
                kept.append(row)
            elif reply := known[_key(row)]:
                kept.append(replace(row, completion=[{"role": "assistant", "content": reply}]))
            else:
                reason = "the base model says nothing to its question"
                split.problems.append(Problem(row.path, row.line, reason, malformed=False))
        split.rows = kept


def moved(values: Sequence[float], since: Sequence[float]) -> bool:
    """Return whether the mean of `values` is told from that of `since` by more than twice its standard error."""

    def mean_and_variance(of: Sequence[float]) -> tuple[float, float]:
        mean = math.fsum(of) / len(of)
        return mean, math.fsum((value - mean) ** 2 for value in of) / max(1, len(of) - 1)

    (now, noise_now), (then, noise_then) = mean_and_variance(values), mean_and_variance(since)
    return abs(now - then) > 2 * math.sqrt(noise_now / len(values) + noise_then / len(since))


def _key(row: Row) -> str:
    return hashlib.blake2b(json.dumps(row.prompt, ensure_ascii=False).encode(), digest_size=12).hexdigest()


def _read(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError:
        return {}
    known = {}
    for line in lines:
        try:
            read = json.loads(line)
            known[str(read["key"])] = str(read["reply"])
        except (ValueError, TypeError, KeyError):  # torn by a kill: it is asked again
            continue
    return known
