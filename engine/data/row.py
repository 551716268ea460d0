"""An example, however its file spells it, and what is told of a line that holds none."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

Message = dict[str, str]
Kind: TypeAlias = Literal["sft", "text", "preference", "kto", "tokenised"]

KINDS: dict[Kind, str] = {
    "sft": "questions with answers",
    "text": "plain text",
    "preference": "preference pairs",
    "kto": "answers marked as good or bad",
    "tokenised": "token ids",
}
"""What a person calls the rows of each kind."""


@dataclass(frozen=True, slots=True)
class Row:
    """One example."""

    path: Path
    line: int
    """1 is the first. Lines of JSON lines and CSV, else rows: see `engine.data.files.counts_lines`."""
    prompt: list[Message]
    """`role` and `content`; ends with what the model is to answer. Empty for plain text and token ids."""
    completion: list[Message]
    """What is learned: the answer, of a preference pair the chosen one, of plain text the text. Empty for token ids."""
    metadata: dict[str, Any] = field(default_factory=dict)
    kind: Kind = "sft"
    rejected: list[Message] = field(default_factory=list)
    """The worse answer of a preference pair."""
    label: bool | None = None
    """True for a good answer, False for a bad one (KTO)."""
    input_ids: list[int] | None = None
    labels: list[int] | None = None
    """-100 where nothing is learned; None when the file has token ids only."""

    @property
    def dataset_type(self) -> str | None:
        """ "retain" or "unlearn" where the row says so."""
        value = self.metadata.get("dataset_type")
        return value if isinstance(value, str) else None

    @property
    def category(self) -> str | None:
        """What the row says it is about."""
        value = self.metadata.get("category")
        return value if isinstance(value, str) else None


@dataclass(frozen=True, slots=True)
class Problem:
    """A line that is no example, and why."""

    path: Path
    line: int
    reason: str
    malformed: bool
    """True when the line cannot be read at all, so that the file may be damaged; False when the row is only
    unusable."""


def kind_of_value(value: object) -> str:
    """Return what a JSON value is, in words that fit into "x is ..."."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return "null" if value is None else names.get(type(value), "something else")
