"""The pane of the row under the cursor: what each view tells of it, and what to say where there is nothing to tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.data.row import Problem
from engine.errors import EngineError
from screens.data.book import Entry
from screens.data.lens import Settled
from screens.data.pane import Told
from screens.data.telling import BESIDE, beside_each_other, common_prefix, message_rows, paragraph, raw_rows, told
from screens.data.token_rows import Token, legend, list_rows, mask_rows
from tui.display import plain
from tui.widgets.cells import Piece, length
from tui.widgets.chart.glyphs import GlyphSet
from tui.widgets.text_rows import wrapped

if TYPE_CHECKING:
    from engine.data.microscope import Examined


def row_rows(view: str, entry: Entry, width: int) -> list[Told]:
    """Return what "messages" and "raw" tell of a line."""
    if view == "raw":
        return told(raw_rows(entry.line.text, width, truncated=entry.line.truncated))
    if entry.row is None:
        return told([[("The line is blank; training passes it over.", "m")]])
    if isinstance(entry.row, Problem):
        said = "It is not shown, and trained on all the same" if entry.line.truncated else "This line is no example"
        why = wrapped([("! ", "w"), (f"{said}: {plain(entry.row.reason)}", "w")], width)
        return told([*why, [], *raw_rows(entry.line.text, width, truncated=entry.line.truncated)])
    return told(message_rows(entry.row, width))


def examined_rows(view: str, examined: Examined, width: int, glyphs: GlyphSet) -> list[Told]:
    """Return what "rendered", "mask" and "tokens" tell of a row."""
    rows = verdict(examined, width, glyphs)
    if view == "rendered":
        if examined.rejected_rendered:
            return told([*rows, [], *rendered_pair(examined.rendered, examined.rejected_rendered, width)])
        text = examined.rendered or "The row is tokenised already: nothing is rendered."
        return told([*rows, [], *paragraph(text, width)])

    def make(tokens: Sequence[Token]) -> list[list[Piece]]:
        return mask_rows(tokens, width, glyphs) if view == "mask" else list_rows(tokens, width)

    if not examined.rejected_tokens:
        return told([*rows, [], *in_rows(legend(examined.tokens, glyphs), width), [], *make(examined.tokens)])
    return told([*rows, [], *pair_rows(view, examined, width, glyphs)])


def rendered_pair(chosen: str, rejected: str, width: int) -> list[list[Piece]]:
    """Return the lines both texts begin with, and behind them one beside the other, where there is room for both."""
    same = chosen.rfind("\n", 0, common_prefix(chosen, rejected)) + 1
    beside = width >= BESIDE
    room = (width - 3) // 2 if beside else width
    made = [
        [[(name, style)], *paragraph(text[same:], room)]
        for name, style, text in (("chosen", "g", chosen), ("rejected", "e", rejected))
    ]
    rows = [*paragraph(chosen[: same - 1], width), []] if same else []
    return [*rows, *(beside_each_other(made[0], made[1], room) if beside else [*made[0], [], *made[1]])]


def pair_rows(view: str, examined: Examined, width: int, glyphs: GlyphSet) -> list[list[Piece]]:
    """Return what both answers begin with, and behind it one beside the other, where there is room for both."""
    same = examined.common_prefix
    sides = (("chosen", "g", examined.tokens[same:]), ("rejected", "e", examined.rejected_tokens[same:]))

    def make(tokens: Sequence[Token], room: int, first: int) -> list[list[Piece]]:
        return mask_rows(tokens, room, glyphs) if view == "mask" else list_rows(tokens, room, first)

    rows: list[list[Piece]] = [[(f"the first {same:,} tokens of both are the same", "m")]]
    rows += [*make(examined.tokens[:same], width, 0), []]
    made = []
    beside = width >= BESIDE
    room = (width - 3) // 2 if beside else width
    for side, style, tokens in sides:
        made.append([*in_rows([[(side, style)], *legend(tokens, glyphs)], room), *make(tokens, room, same)])
    if beside:
        return [*rows, *beside_each_other(made[0], made[1], room)]
    return [*rows, *made[0], [], *made[1]]


def in_rows(groups: Sequence[list[Piece]], width: int) -> list[list[Piece]]:
    """Return groups of pieces beside each other, in as many rows as that takes."""
    rows: list[list[Piece]] = [[]]
    for group in groups:
        if rows[-1] and length(rows[-1]) + 3 + length(group) > width:
            rows.append([])
        rows[-1] += [("   ", " "), *group] if rows[-1] else group
    return rows


def verdict(examined: Examined, width: int, glyphs: GlyphSet) -> list[list[Piece]]:
    """Return what training makes of a row: whether it is learned, how much, up to its end."""
    yes, no = ("v", "X") if glyphs == "ascii" else ("✓", "✗")
    seen = sum(not token.truncated and not token.padding for token in examined.tokens)
    trained = sum(token.trained for token in examined.tokens)
    dropped = examined.dropped_reason
    cut = sum(token.truncated for token in (*examined.tokens, *examined.rejected_tokens))
    first: list[Piece] = [(f"{yes} learned", "g")] if dropped is None else [(f"{no} dropped: {plain(dropped)}", "e")]
    share = [(f"{trained:,} of {seen:,} tokens trained ({examined.trained_share:.0%})", "e" if not trained else " ")]
    both = examined.ends_trained and (examined.rejected_ends_trained or not examined.rejected_tokens)
    whose = "end of rejected" if examined.rejected_tokens and examined.ends_trained else "end"
    ends = [(f"{yes} end trained", "g")] if both else [(f"{no} {whose} not trained", "e")]
    bos_right = examined.bos_count == examined.bos_expected
    bos = [(f"{yes if bos_right else no} {examined.bos_count} BOS"
            + ("" if bos_right else f", not {examined.bos_expected}"), "m" if bos_right else "e")]  # fmt: skip
    groups: list[list[Piece]] = [first, share, ends, bos]
    if cut:
        groups.append([(f"{no} {cut:,} cut off", "e")])
    rows: list[list[Piece]] = [[]]
    for group in groups:
        if rows[-1] and length(rows[-1]) + 3 + length(group) > width:
            rows.append([])
        rows[-1] += [("   ", " "), *group] if rows[-1] else wrapped(group, width)[0]
        if group is first and dropped is not None:
            rows += wrapped(group, width)[1:] or [[]]
    return [*rows, *wrapped([(plain(examined.about), "w")], width)] if examined.about else rows


def waiting(entry: Entry | None, error: EngineError | None, settled: Settled | None, width: int) -> list[Told]:
    """Return what stands there while a row is not examined, or cannot be."""
    if error is not None:
        rows = wrapped([("! ", "e"), (plain(error.message), "e")], width)
        return told([*rows, *wrapped([(plain(error.remedy), " ")], width)])
    if entry is not None and entry.row is None:
        return told([[("The line is blank; training passes it over.", "m")]])
    if entry is not None and isinstance(entry.row, Problem):
        return row_rows("messages", entry, width)
    model = plain(settled.model, limit=80) if settled is not None else "the model"
    return told(
        wrapped([(f"Preparing the row as {model} would be given it ...", "m")], width)
        + wrapped(
            [("The first one takes some seconds: the training libraries are loaded in a process of their own.", "d")],
            width,
        )
    )
