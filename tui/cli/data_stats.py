"""`ftconsole data stats`: what data files hold, in numbers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from engine.data.statistics import (
    FileStatistics,
    Lengths,
    Overlap,
    Progress,
    Repeats,
    Request,
    Statistics,
    Tokens,
    count,
)
from engine.errors import NotFound
from engine.workspace import Workspace
from tui.cli import output
from tui.display import plain

_BARS = "▁▂▃▄▅▆▇█"
_SHOWN_LINES = 5
_SHOWN_COUNTS = 12
_NAME = 14
"""Cells of the names on the left."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the options say."""

    validation: tuple[str, ...] = ()
    model: str | None = None
    max_length: int | None = None
    maps: tuple[str, ...] = ()
    """`FIELD=COLUMN`."""


def stats(workspace: str | None, files: Sequence[str], asked: Asked, *, as_json: bool) -> int:
    """Count and print. Returns 0.

    Raises:
        EngineError: A file or the model is not there or cannot be read.
    """
    from tui.cli.data_files import mapping_of

    place = Workspace.find(workspace)
    request = Request(
        [path for file in files for path in place.data_files(file, "train")],
        [path for file in asked.validation for path in place.data_files(file, "validation")],
        _folder(place, asked.model) if asked.model is not None else None,
        asked.max_length,
        mapping_of(asked.maps) or None,
    )
    found = _counted(request, shows=not as_json and output.shows_lines_anew(sys.stderr))
    if as_json:
        output.emit(asdict(found))
        return 0
    for number, file in enumerate(found.files):
        if number:
            output.out()
        _print_file(file)
    for overlap in found.overlaps:
        output.out()
        _print_overlap(overlap)
    return 0


def _folder(place: Workspace, model: str) -> Path:
    from engine.data.templates import local_folder

    found = place.model(model)
    folder = local_folder(found)
    if folder is None:
        raise NotFound(
            f"The tokenizer of {found.name} is not on this machine.",
            remedy=f"Fetch it: hf download {found.name} --include 'token*' 'chat_template*' '*config.json'",
        )
    return folder


def _counted(request: Request, *, shows: bool) -> Statistics:
    """Return the last of what is told, and draw how far the counting is where that is possible."""

    def told(progress: Progress) -> None:
        if shows:
            share = f" {progress.done / progress.total:.0%}" if progress.total else f" {progress.done:,}"
            line = output.printable(plain(progress.stage, limit=60) + share, sys.stderr)
            output.write_raw(sys.stderr, f"\r{line}\x1b[K")

    found = Statistics([], [], done=False)
    try:
        with closing(count(request, told)) as counting:
            for found in counting:  # noqa: B007 - the last one has everything
                pass
    finally:
        if shows:
            output.write_raw(sys.stderr, "\r\x1b[K")
    return found


def _print_file(file: FileStatistics) -> None:
    read_as = f", read as {file.shape}" if file.usable else ""
    output.out(
        f"{plain(Path(file.path).name)}: {_rows(file.rows)}, {file.bytes / 1e6:,.1f} MB{plain(read_as)}", style="bold"
    )
    if file.unusable:
        reasons = ", ".join(f"{plain(reason, limit=60)} ({number:,})" for reason, number in file.unusable.items())
        first = ", ".join(f"{line:,}" for line, _ in file.unusable_lines[:_SHOWN_LINES])
        _print_line("left out", f"{_rows(file.rows - file.usable)}: {reasons}; first at {first}", style="warning")
    _print_lengths("characters", file.characters)
    _print_lengths("of answers", file.answers)
    if file.tokens is not None:
        _print_lengths("tokens", file.tokens.lengths, _about(file.tokens))
    for name, counts in (
        ("roles", file.roles),
        ("dataset_type", file.dataset_types),
        ("category", file.categories),
        ("label", file.labels),
    ):
        if counts:
            _print_line(name, _counts(counts, file.other_categories if name == "category" else 0))
    _print_line("duplicates", _repeats(file.duplicates, "say what an earlier one says", "="))
    if file.near is not None:
        _print_line("nearly equal", _repeats(file.near, "say nearly what an earlier one says", "~", file.usable))


def _print_overlap(overlap: Overlap) -> None:
    head = f"{plain(Path(overlap.validation).name)} in {plain(Path(overlap.path).name)}"
    output.out(head, style="bold")
    shared = overlap.exact.rows or (overlap.near is not None and overlap.near.rows)
    style = "warning" if shared else ""
    _print_line("equal", _repeats(overlap.exact, "are in both", "="), style=style)
    if overlap.near is not None:
        _print_line(
            "nearly equal", _repeats(overlap.near, "are nearly in both", "~", overlap.exact.examined), style=style
        )


def _print_line(name: str, text: str, *, style: str = "") -> None:
    output.out(f"  {name:<{_NAME}}{text}", style=style)


def _print_lengths(name: str, lengths: Lengths | None, about: str = "") -> None:
    if lengths is None:
        return
    middle = ", ".join(f"{share} {length:,}" for share, length in lengths.quantiles.items())
    _print_line(name, f"{middle}, longest {lengths.maximum:,}, mean {lengths.mean:,.0f}, all {lengths.total:,}")
    if output.encoding_of(sys.stdout) == "utf-8":
        most = max(lengths.counts)
        drawn = "".join(_BARS[-(-count * (len(_BARS) - 1) // most)] for count in lengths.counts)
        _print_line("", f"{lengths.edges[0]} {drawn} {lengths.maximum:,}")
    if about:
        _print_line("", about)


def _about(tokens: Tokens) -> str:
    said = [f"of a sample of {_rows(tokens.lengths.rows)}"] if tokens.sampled else []
    if tokens.truncated_share is not None:
        said.append(f"{tokens.truncated_share:.1%} longer than {tokens.max_length:,}")
    if tokens.refused:
        said.append(f"the template refuses {_rows(tokens.refused)}")
    return ", ".join(said)


def _counts(counts: dict[str, int], others: int) -> str:
    shown = list(counts.items())[:_SHOWN_COUNTS]
    rest = others + sum(counts.values()) - sum(number for _, number in shown)
    told = [f"{plain(name, limit=40)} {number:,}" for name, number in shown]
    return ", ".join(told + ([f"others {rest:,}"] if rest else []))


def _repeats(repeats: Repeats, what: str, sign: str, rows: int = 0) -> str:
    examined = f", of {_rows(repeats.examined)} that were compared" if rows > repeats.examined else ""
    if not repeats.rows:
        return f"none{examined}"
    first = ", ".join(f"{later:,} {sign} {earlier:,}" for later, earlier in repeats.first[:_SHOWN_LINES])
    return f"{_rows(repeats.rows)} {what if repeats.rows > 1 else _singular(what)} (lines {first}){examined}"


def _singular(what: str) -> str:
    return what.replace("say ", "says ", 1).replace("are ", "is ", 1)


def _rows(number: int) -> str:
    return f"{number:,} row" if number == 1 else f"{number:,} rows"
