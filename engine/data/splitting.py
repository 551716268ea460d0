"""A file of rows in two: one to learn from, one to measure with. The same seed makes the same two."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.data.building import metadata_of
from engine.data.files import Record, shown
from engine.data.row import Problem
from engine.data.writing import check_writable, whole_file, with_lines
from engine.errors import DataError, UsageError


@dataclass(frozen=True, slots=True)
class Separated:
    """What became of the rows. `rows_in` is train, validation and those left out."""

    train: Path
    validation: Path
    rows_in: int
    rows_train: int
    rows_validation: int
    left_out: list[Problem]
    """Lines that cannot be read. Rows that are only unusable are kept as they are."""
    kinds: dict[str, tuple[int, int]]
    """Rows of train and of validation by `dataset_type`, where rows say one."""


def parse_share(text: str) -> float | int:
    """Return "5%" and "0.05" as a fraction, "60" as a number of rows.

    Raises:
        UsageError: It is neither.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*", text)
    if match is not None:
        value, percent = float(match[1]), bool(match[2])
        if percent and 0 < value < 100:
            return value / 100
        if not percent and 0 < value < 1:
            return value
        if not percent and value >= 1 and value.is_integer():
            return int(value)
    raise UsageError(
        f"--validation takes a share such as 5%, or a number of rows such as 60, not {text[:40]!r}.",
        remedy="Write for example --validation 5%.",
    )


def split(
    sources: Sequence[Path], train: Path, validation: Path, *, share: float | int, seed: int, overwrite: bool = False
) -> Separated:
    """Write two files of JSON lines. The lines of JSON lines stay as they are, in their order.

    Equal rows go to the same side, so that none is measured with that was learned; rows of each `dataset_type` are
    divided alike.

    Args:
        sources: Files, taken one after the other.
        train: Written.
        validation: Written.
        share: A fraction below 1, or a number of rows; of the rows that can be read.
        seed: Any whole number.
        overwrite: Write over files that are there.

    Raises:
        UsageError: A file must not be written, or so many rows leave none to train on.
        NotFound, DataError: A source cannot be read, or holds fewer than two rows.
        DiskFull, WorkspaceError: A file cannot be written.
    """
    for path in (train, validation):
        check_writable(path, sources, overwrite=overwrite)
    keys, left_out = list[tuple[str, bytes]](), list[Problem]()
    for source in sources:
        for item, line in with_lines(source):
            if isinstance(item, Record):
                kind = metadata_of(item.value).get("dataset_type")
                keys.append((kind if isinstance(kind, str) else "", hashlib.blake2b(line, digest_size=16).digest()))
            else:
                left_out.append(item)
    if len(keys) < 2:
        raise DataError(
            f"{', '.join(shown(source.name) for source in sources)} has {len(keys)} rows that can be read; "
            "two are needed.",
            remedy="Name a file with more rows.",
        )
    wanted = max(1, round(len(keys) * share)) if isinstance(share, float) else share
    if wanted >= len(keys):
        raise UsageError(
            f"{wanted} of {len(keys)} rows for validation leave none to train on.", remedy="Ask for fewer."
        )
    chosen = _choose(keys, wanted, random.Random(seed))
    if not chosen or len(chosen) == len(set(keys)):
        raise DataError(
            "The rows are equal to each other, so that they cannot be divided.", remedy="Name a file with more rows."
        )
    counts = [0, 0]
    kinds: dict[str, list[int]] = {}
    position = 0
    with whole_file(train) as learned, whole_file(validation) as measured:
        for source in sources:
            for item, line in with_lines(source):
                if not isinstance(item, Record):
                    continue
                if position >= len(keys):
                    raise _changed(source)
                key = keys[position]
                if key[1] != hashlib.blake2b(line, digest_size=16).digest():
                    raise _changed(source)
                side = int(key in chosen)
                (measured if side else learned).write(line + b"\n")
                counts[side] += 1
                kinds.setdefault(key[0], [0, 0])[side] += 1
                position += 1
        if position != len(keys):
            raise _changed(sources[-1])
    by_kind = {name: (there[0], there[1]) for name, there in kinds.items() if name}
    return Separated(train, validation, len(keys) + len(left_out), counts[0], counts[1], left_out, by_kind)


def _choose(keys: list[tuple[str, bytes]], wanted: int, dice: random.Random) -> set[tuple[str, bytes]]:
    """Return the distinct rows for validation, of each kind its share."""
    sizes: dict[tuple[str, bytes], int] = {}
    for key in keys:
        sizes[key] = sizes.get(key, 0) + 1
    totals: dict[str, int] = {}
    for key, size in sizes.items():
        totals[key[0]] = totals.get(key[0], 0) + size
    exact = {kind: wanted * total / len(keys) for kind, total in totals.items()}
    quotas = {kind: int(value) for kind, value in exact.items()}
    for kind in sorted(exact, key=lambda each: quotas[each] - exact[each])[: wanted - sum(quotas.values())]:
        quotas[kind] += 1
    order = list(sizes)
    dice.shuffle(order)
    chosen: set[tuple[str, bytes]] = set()
    for key in order:
        if sizes[key] <= quotas[key[0]]:
            quotas[key[0]] -= sizes[key]
            chosen.add(key)
    return chosen


def _changed(path: Path) -> DataError:
    return DataError(f"{shown(path)} changed while it was read.", remedy="Split it again once nobody writes to it.")
