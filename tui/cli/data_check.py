"""`ftconsole data check` and `show`: what would be wasted on a model, and one row as it would train on it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.config.methods import METHODS
from engine.config.resolved import read_template
from engine.data.doctor import SPLITTING, Asked, examine_files
from engine.data.findings import NEVER_ACCEPTED, Finding, Report
from engine.data.microscope import Examined, Lens, Microscope, Token
from engine.data.templates import local_folder
from engine.errors import NotFound, UsageError
from engine.workspace import Workspace
from tui.cli import output
from tui.display import plain

EXIT_GRAVE = 5
"""As for `DataRefused`: a run would not start."""
PACKING = ("bfd", *SPLITTING)
_STYLES = {"grave": "error", "warning": "warning", "note": ""}
_SHOWN_CHARACTERS = 4_000
_KINDS = ("masked", "trained", "cut off", "padding", "only here")


@dataclass(frozen=True, slots=True)
class Through:
    """What rows are looked at with."""

    model: str | None = None
    """None looks at the rows alone."""
    chat_template: str | None = None
    """A .jinja file instead of the model's template."""
    max_length: int | None = None
    """Tokens; None for no limit."""
    maps: tuple[str, ...] = ()
    """`FIELD=COLUMN`."""
    method: str | None = None
    """`method.name`. None: each kind of row by its own."""
    eos_token: str | None = None
    """As `trainer.eos_token`."""
    packing: str | None = None
    """As `trainer.packing_strategy`, with `data.packing`. None: rows are not packed."""
    completion_only_loss: bool = True
    """As `data.completion_only_loss`."""

    def refuse_unknown(self) -> None:
        """Refuse a method or a way of packing there is not.

        Raises:
            UsageError: With those there are.
        """
        for option, given, known in (("--method", self.method, METHODS), ("--packing", self.packing, PACKING)):
            if given is not None and given not in known:
                raise UsageError(
                    f"{option} takes {', '.join(known)}, not {given[:40]!r}.", remedy="Choose one of them."
                )


def check(
    workspace: str | None, files: Sequence[str], validation: Sequence[str], through: Through, *, as_json: bool
) -> int:
    """Examine files and print what was found. Returns 0, or 5 when a run would not start with them.

    Raises:
        EngineError: A file or the model is not there or cannot be read.
    """
    from tui.cli.data_files import as_setting, mapping_of

    through.refuse_unknown()
    place = Workspace.find(workspace)
    asked = Asked(
        train=tuple(str(path) for file in files for path in place.data_files(file, "train")),
        validation={
            f"{number}": str(path)
            for number, path in enumerate(path for file in validation for path in place.data_files(file, "validation"))
        },
        model=str(_folder(place, through.model)) if through.model is not None else None,
        chat_template=_template(place, through.chat_template),
        max_length=None if through.packing in SPLITTING else through.max_length,
        completion_only_loss=through.completion_only_loss,
        eos_token=through.eos_token,
        mapping=mapping_of(through.maps) or None,
        method=through.method,
    )
    shows = not as_json and output.shows_lines_anew(sys.stderr)

    def progress(rows: int) -> None:
        if shows and rows:
            output.write_raw(sys.stderr, f"\r{rows} rows")

    try:
        report = examine_files(asked, progress=progress)
    finally:
        if shows:
            output.write_raw(sys.stderr, "\r\x1b[K")
    if as_json:
        output.emit(report.as_dict())
    else:
        _print(report, with_model=asked.model is not None)
        if asked.mapping:
            output.note(f"A run reads the columns so with data.mapping: {plain(as_setting(asked.mapping))}")
    return EXIT_GRAVE if any(one.grade == "grave" for one in report.findings) else 0


def show(workspace: str | None, file: str, row: int, through: Through, *, as_json: bool) -> int:
    """Print one row: raw, as messages, rendered, and token by token as a run would train on it.

    Raises:
        EngineError: The file, the row or the model is not there, or the row cannot be prepared.
    """
    from tui.cli.data_files import mapping_of

    through.refuse_unknown()
    place = Workspace.find(workspace)
    path = place.data_files(file, "train")[0]
    arguments: dict[str, Any] = {"max_length": through.max_length, "completion_only_loss": through.completion_only_loss}
    if through.eos_token is not None:
        arguments["eos_token"] = through.eos_token
    if through.packing is not None:
        arguments |= {"packing": True, "packing_strategy": through.packing}
    lens = Lens(
        str(_folder(place, through.model or "tiny")),
        arguments,
        _template(place, through.chat_template),
        mapping=mapping_of(through.maps) or None,
    )
    if not as_json:
        output.note("Loading the libraries that training prepares rows with takes some seconds.")
    examined = asyncio.run(_examined(lens, path, row))
    if as_json:
        output.emit(asdict(examined))
    else:
        _print_row(examined)
    return 0


async def _examined(lens: Lens, path: Path, row: int) -> Examined:
    microscope = Microscope(lens)
    try:
        return await microscope.examine(path, row)
    finally:
        await microscope.close()


def _folder(place: Workspace, model: str) -> Path:
    found = place.model(model)
    folder = local_folder(found)
    if folder is None:
        raise NotFound(
            f"The tokenizer of {found.name} is not on this machine.",
            remedy=f"Fetch it: hf download {found.name} --include 'token*' 'chat_template*' '*config.json'",
        )
    return folder


def _template(place: Workspace, given: str | None) -> str | None:
    return read_template(place, given) if given is not None else None


def _print(report: Report, *, with_model: bool) -> None:
    for finding in report.findings:
        output.out(f"{finding.grade:8} {plain(finding.message)}.  [{finding.code}]", style=_STYLES[finding.grade])
        for line in _places(finding):
            output.out(f"         {line}")
        output.out(f"         {plain(finding.remedy)}")
    if report.findings:
        output.out()
    left = f"; {report.rows_listed} left out, each in a finding above" if report.rows_listed else ""
    output.out(f"{report.rows_in} row{'s' if report.rows_in != 1 else ''} in, {report.rows_kept} kept{left}.")
    if not with_model:
        output.note("Without --model the rows alone were looked at: not lengths, masks and the chat template.")
    grave = [one.code for one in report.findings if one.grade == "grave"]
    if mended := ", ".join(code for code in grave if code in NEVER_ACCEPTED):
        output.out(f"A run does not start before these are mended: {mended}.", style="error")
    if codes := ", ".join(code for code in grave if code not in NEVER_ACCEPTED):
        output.out(f"A run would not start with these, unless data.accept names: {codes}.", style="error")
    if not report.findings:
        output.out("Nothing is wrong with them.", style="good")


def _places(finding: Finding) -> list[str]:
    by_path: dict[str, list[int]] = {}
    for path, line in finding.lines:
        by_path.setdefault(path, []).append(line)
    texts = [f"{plain(Path(path).name)}: {', '.join(map(str, lines))}" for path, lines in by_path.items()]
    if texts and finding.count > len(finding.lines):
        texts[-1] += f" and {finding.count - len(finding.lines)} more"
    return texts


def _print_row(examined: Examined) -> None:
    def block(title: str, text: str) -> None:
        output.out(title, style="bold")
        for line in text[:_SHOWN_CHARACTERS].split("\n"):
            output.out(f"  {plain(line)}")
        if len(text) > _SHOWN_CHARACTERS:
            output.out(f"  ... {len(text) - _SHOWN_CHARACTERS} more characters")

    block("Raw", examined.raw)
    block("Messages", "\n".join(f"{message['role']}: {message['content']}" for message in examined.messages))
    block("Rendered", examined.rendered)
    if examined.rejected_rendered:
        block("Rendered with the rejected answer", examined.rejected_rendered)
    _print_tokens("Tokens", examined.tokens)
    if examined.rejected_tokens:
        _print_tokens(
            f"Tokens of the rejected answer (the first {examined.common_prefix} are the same)", examined.rejected_tokens
        )
    output.out()
    seen = sum(not token.truncated and not token.padding for token in examined.tokens)
    trained = sum(token.trained for token in examined.tokens)
    output.out(f"{trained} of {seen} tokens are trained ({100 * examined.trained_share:.0f} %).")
    cut = sum(token.truncated for token in (*examined.tokens, *examined.rejected_tokens))
    if cut:
        output.out(f"{cut} tokens are cut off.", style="warning")
    if examined.dropped_reason is not None:
        output.out(f"The run would not learn from it: {plain(examined.dropped_reason)}.", style="error")
    elif examined.ends_trained and examined.rejected_tokens and not examined.rejected_ends_trained:
        output.out("The end of the rejected answer is not trained.", style="warning")
    elif examined.ends_trained:
        output.out("The end of the answer is trained." if not examined.rejected_tokens else "Both ends are trained.")
    else:
        output.out("The end of the answer is not trained, so the model would not learn to stop.", style="warning")
    if examined.about:
        output.out(f"{plain(examined.about[:1].upper() + examined.about[1:])}.")
    if examined.bos_count != examined.bos_expected:
        output.out(f"It has {examined.bos_count} beginning-of-sequence tokens; {examined.bos_expected} is usual.",
                   style="warning")  # fmt: skip


def _print_tokens(title: str, tokens: Sequence[Token]) -> None:
    output.out(title, style="bold")
    for position, token in enumerate(tokens):
        alone = token.only_here and token.trained
        kind = _KINDS[2 if token.truncated else 3 if token.padding else 4 if alone else int(token.trained)]
        output.out(
            f"  {position:5} {kind:9} {token.id:7}  {plain(repr(token.text))}", style="" if token.trained else "dim"
        )
