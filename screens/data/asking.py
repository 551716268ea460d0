"""What the user is asked on this screen, and what becomes of the answer. Loaded when that first happens."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import EngineError
from engine.workspace import Workspace
from screens.data import inquiries
from screens.data.choices import data_files
from screens.data.lens import LENGTHS, length_problem, models
from tui.widgets.choose import Choice, Chooser
from tui.widgets.words import size_text

if TYPE_CHECKING:
    from screens.data.screen import DataScreen

WORST = (
    ("trains-on-nothing", "nothing of it is trained"),
    ("answer-cut", "the answer is cut off"),
    ("control-tokens", "control tokens of the template inside the text"),
    ("eos-not-trained", "the end of the answer is not trained"),
    ("template-refuses", "the chat template refuses it"),
    ("chosen-equals-rejected", "chosen and rejected are the same"),
    ("unusable-row", "it is no example"),
    ("malformed-line", "it cannot be read"),
    ("empty-answer", "the question or the answer is empty"),
    ("duplicate-row", "it is there already"),
    ("validation-leak", "asked in training and in validation"),
)
"""Codes of the doctor's findings that name rows, those that cost most first, and what is wrong with the rows."""


async def file(screen: DataScreen) -> None:
    """Open a file."""
    workspace = Workspace(screen.workspace)
    files = await asyncio.to_thread(data_files, workspace)
    choices = [
        Choice(str(one.path), one.name, f"{size_text(one.size)}{', shipped' if one.shipped else ''}") for one in files
    ]

    def problem_of(text: str) -> str | None:
        try:
            typed_files(workspace, text)
        except EngineError as error:
            return str(error)
        return None

    current = str(screen.book.path) if screen.book is not None else None
    answer = await screen.app.push_screen_wait(
        Chooser("Open a data file", choices, placeholder="type to narrow the list, or the path of a file",
                current=current, problem_of=problem_of)
    )  # fmt: skip
    if answer is None:
        return
    found = typed_files(workspace, answer)
    if len(found) > 1:
        several = [Choice(str(path), str(path), split) for split, path in found]
        answer = await screen.app.push_screen_wait(Chooser("Which of its files", several, placeholder="type to narrow"))
        if answer is None:
            return
        found = [("", Path(answer))]
    screen.open(found[0][1])


def typed_files(workspace: Workspace, text: str) -> list[tuple[str, Path]]:
    """Return the files that a path, a folder or the name of a cached data set stands for, each with its split.

    Raises:
        NotFound, WorkspaceError: There is none.
    """
    splits: dict[Path, str] = {}
    refused: EngineError | None = None
    for split in ("train", "validation", "test"):
        try:
            for path in workspace.data_files(text, split):
                splits.setdefault(path, split)  # a single file is the file of every split
        except EngineError as error:
            refused = refused or error
    if not splits and refused is not None:
        raise refused
    return [(split, path) for path, split in splits.items()]


async def model(screen: DataScreen) -> None:
    """Look through another model."""
    workspace = Workspace(screen.workspace)
    found = await asyncio.to_thread(models, workspace)

    def problem_of(text: str) -> str | None:
        try:
            workspace.model(text)
        except EngineError as error:
            return str(error)
        return None

    answer = await screen.app.push_screen_wait(
        Chooser("Look at the rows through a model", [Choice(name, name, note) for name, note in found],
                placeholder="type to narrow the list, or a folder or org/name", current=screen.through.model,
                problem_of=problem_of, about="Its chat template and its tokenizer; no weights are loaded.")
    )  # fmt: skip
    if answer is not None:
        await screen.look_through(replace(screen.through, model=answer))


async def length(screen: DataScreen) -> None:
    """Set the maximum length."""
    settled = screen.settled
    now = f"It is {settled.max_length:,} tokens ({settled.why}). " if settled is not None else ""
    choices = [Choice("auto", "auto", "as a run settles it, by the number of rows")]
    choices += [Choice(str(size), f"{size:,}") for size in LENGTHS]
    current = str(screen.through.max_length) if screen.through.max_length is not None else "auto"
    answer = await screen.app.push_screen_wait(
        Chooser("Maximum length", choices, placeholder="a number of tokens", current=current,
                problem_of=length_problem, about=f"{now}What is longer is cut off (data.max_length).")
    )  # fmt: skip
    if answer is not None:
        await screen.look_through(replace(screen.through, max_length=None if answer == "auto" else int(answer)))


async def mapping(screen: DataScreen) -> None:
    """Read the columns otherwise."""
    from engine.data.shapes import from_mapping

    book = screen.book
    if book is None:
        return
    recognised = book.recognised
    columns = recognised.columns if recognised is not None else {}
    written = ", ".join(f"{field}={column}" for field, column in columns.items())

    def problem_of(text: str) -> str | None:
        try:
            from_mapping(parsed_mapping(text))
        except ValueError as error:
            return f"{str(error)[:200]}."
        return None

    choices = [Choice("", "as it is recognised", "by itself")] if book.mapping else []
    about = (
        "field=column, for example prompt=question, completion=answer; or messages=..., text=..., chosen=..., "
        f"rejected=..., label=..., input_ids=... The file has {', '.join(book.columns[:12]) or 'no columns'}. "
        "C then tells a run the same (data.mapping)."
    )
    answer = await screen.app.push_screen_wait(
        Chooser("How the columns are read", choices, placeholder="prompt=question, completion=answer",
                problem_of=problem_of, about=about, typed=written)
    )  # fmt: skip
    if answer is not None:
        screen.open(book.path, parsed_mapping(answer) or None, screen.table.line)


async def form(screen: DataScreen) -> None:
    """Write the corrected reading of the columns into the settings of the next run.

    Raises:
        ConfigError: Those settings cannot be read.
    """
    book = screen.book
    if book is None:
        return
    if not book.mapping:
        screen.notify("A run reads these columns as this screen does. c corrects how.")
        return
    # Here, as the form reads the whole declaration of a run, which takes longer than a frame.
    hand_over = (await asyncio.to_thread(import_module, "screens.configure.handing")).hand_over
    settings = {"data.mapping": dict(book.mapping)}
    draft = hand_over(screen.app, screen.workspace, settings, {"data.train": book.name})
    read = ", ".join(f"{field}: {column}" for field, column in book.mapping.items())
    screen.notify(f"data.mapping: {{{read}}} is in the settings of {draft}. n on the list of runs opens them.")


def parsed_mapping(text: str) -> dict[str, str]:
    """Return `field=column, field=column` as a mapping; empty for a blank text.

    Raises:
        ValueError: A part is no such pair.
    """
    found: dict[str, str] = {}
    for part in text.split(","):
        if not part.strip():
            continue
        field, equals, column = part.partition("=")
        if not equals or not field.strip() or not column.strip():
            raise ValueError(f"{part.strip()!r} is not written as field=column")
        found[field.strip()] = column.strip()
    return found


async def worst(screen: DataScreen) -> None:
    """Go to rows something is wrong with."""
    report = await screen.made_report()
    if report is None or screen.book is None:
        return
    by_code = {finding.code: finding for finding in report.findings if finding.lines}
    choices = [
        Choice(code, said, f"{by_code[code].count:,} row{'s' if by_code[code].count != 1 else ''}")
        for code, said in WORST
        if code in by_code
    ]
    longest = await asyncio.to_thread(inquiries.longest, screen.book)
    if longest:
        choices.append(Choice("longest", "the longest rows", f"{len(longest)} rows"))
    if not choices:
        screen.notify("The doctor has found nothing wrong with any row.")
        return
    answer = await screen.app.push_screen_wait(
        Chooser("Rows to look at", choices, placeholder="type to narrow the list")
    )
    if answer == "longest":
        screen.mark("longest", longest)
    elif answer in by_code:
        screen.follow(by_code[answer])
