"""Reading the rows of a file that are plainly of its shape, as types: half the time of reading them as objects.

The parser makes nothing but what is declared and refuses what is not. So what it takes is JSON and is of the shape; of
whatever it refuses (other columns, other types, no JSON at all) nothing is said here: `engine.data.shapes.row_of` tells
what that is. It is as strict as orjson (a test holds them against each other), but for columns that are not declared,
which it would skip unread. Therefore those of the sample are declared and any further one is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import msgspec

from engine.data.messages import TURN_KEYS
from engine.data.shapes import Recognised
from engine.data.spellings import CONTEXT, METADATA, SYSTEM

Told: TypeAlias = tuple[tuple[str, ...], str | None, str | None]
"""Who speaks in a row, its dataset type and its category, where it has them."""
Plain: TypeAlias = tuple[str, Told, int]
"""All texts of a row as `row_measures.text_of_row` gives them, what is told of it, and the characters of its answer."""
_MOST: Final = 200
"""Columns that are declared."""
_Fields: TypeAlias = dict[str, tuple[Any, ...]]
"""Name in the file, type, and what stands for a missing one unless it must be there; by field."""
_Role: TypeAlias = Literal["system", "user", "assistant", "tool", "developer"]
_ASKED_AND_SAID: Final = ("user", "assistant")
_EMPTY_OR_SPELLED: Final = ("", "[", "{")
_ABSENT: Final = msgspec.UNSET
_REFUSED: Final = (msgspec.MsgspecError, ValueError, RecursionError)
_TURN_KEYS: Final = frozenset(key for keys in TURN_KEYS for key in keys)


@dataclass(frozen=True, slots=True)
class Names:
    """What the objects of a file's sample are made of."""

    columns: tuple[str, ...]
    of_messages: tuple[str, ...]
    """Keys of the messages."""
    of_metadata: tuple[str, ...]


def names_of(records: Sequence[Mapping[str, Any]], recognised: Recognised) -> Names:
    """Return the names that the records of a sample use."""
    columns, keys, told = dict[str, None](), dict[str, None](), dict[str, None]()
    for record in records:
        columns.update(dict.fromkeys(record))
        messages = record.get(recognised.columns.get("messages", ""))
        for message in messages if isinstance(messages, list) else []:
            keys.update(dict.fromkeys(message if isinstance(message, dict) else ()))
        metadata = record.get("metadata")
        told.update(dict.fromkeys(metadata if isinstance(metadata, dict) else ()))
    return Names(tuple(columns), tuple(keys), tuple(told))


def plain_reader(recognised: Recognised, names: Names) -> Callable[[bytes], Plain | None]:
    """Return what reads a line, as far as it is plainly of the shape; it returns None for every other line."""
    columns = recognised.columns
    if recognised.kind == "sft" and not recognised.given:
        if recognised.shape == "messages":
            return _conversations(columns, names)
        if columns.get("prompt") and columns.get("completion") and not columns.get("messages"):
            return _pairs(columns, names)
    return lambda _: None


def _conversations(columns: Mapping[str, str], names: Names) -> Callable[[bytes], Plain | None]:
    message = _declared(
        "Message", {"role": ("role", _Role), "content": ("content", str)}, names.of_messages, _TURN_KEYS
    )
    several = list[message]  # type: ignore[valid-type]  # made at run time
    decode = _decoder({"messages": (columns["messages"], several)}, columns, names)

    def read(line: bytes) -> Plain | None:
        try:
            row = decode(line)
        except _REFUSED:
            return None
        messages = row.messages
        number, turns = len(messages), tuple[str, ...]()
        # Nearly all rows are of two or three messages; without loops those take half a microsecond less.
        if number == 3:
            first, second, last = messages
            answer, turns = last.content, (first.role, second.role, last.role)
            text = f"{first.content}\0{second.content}\0{answer}"
        elif number == 2:
            first, last = messages
            answer, turns = last.content, (first.role, last.role)
            text = f"{first.content}\0{answer}"
        elif number:
            answer, turns = messages[-1].content, tuple([message.role for message in messages])
            text = "\0".join([message.content for message in messages])
        else:
            return None
        if number < 2 or turns[-1] != "assistant" or not answer or answer.isspace():
            return None
        return text, _told(row, turns), len(answer)

    return read


def _pairs(columns: Mapping[str, str], names: Names) -> Callable[[bytes], Plain | None]:
    known: _Fields = {"prompt": (columns["prompt"], str), "completion": (columns["completion"], str)}
    adds = "context" in columns
    if adds:
        known["context"] = (columns["context"], Any, None)
    decode = _decoder(known, columns, names)

    def read(line: bytes) -> Plain | None:
        try:
            row = decode(line)
        except _REFUSED:
            return None
        asked, said = row.prompt, row.completion
        # A list or an object may be spelled in a text.
        if asked.lstrip()[:1] in _EMPTY_OR_SPELLED or said.lstrip()[:1] in _EMPTY_OR_SPELLED:
            return None
        if adds and type(row.context) is str and row.context.strip():
            asked = f"{asked}\n\n{row.context}"
        return f"{asked}\0{said}", _told(row, _ASKED_AND_SAID), len(said)

    return read


def _told(row: Any, turns: tuple[str, ...]) -> Told:
    metadata = row.metadata
    if metadata is None:
        return turns, row.dataset_type, row.category
    dataset_type, category = metadata.dataset_type, metadata.category
    return (
        turns,
        row.dataset_type if dataset_type is _ABSENT else dataset_type,
        row.category if category is _ABSENT else category,
    )


def _decoder(known: _Fields, columns: Mapping[str, str], names: Names) -> Callable[[bytes], Any]:
    """Return what reads a line as an object with these fields and `metadata`, `dataset_type` and `category`."""
    # Columns that change what a row says: one that has any of them is not plain.
    besides = {*SYSTEM, "history", columns.get("system", ""), columns.get("history", "")}
    besides |= {f"metadata.{name}" for name in METADATA}
    besides |= set(CONTEXT.get(columns.get("prompt", ""), ()))
    metadata = _declared("Metadata", _own(_ABSENT), names.of_metadata)
    fields: _Fields = {**known, "metadata": ("metadata", metadata | None, None), **_own(None)}
    return msgspec.json.Decoder(_declared("Row", fields, names.columns, besides)).decode


def _own(missing: object) -> _Fields:
    kind = str | None if missing is None else str | None | msgspec.UnsetType
    return {name: (name, kind, missing) for name in ("dataset_type", "category")}


def _declared(name: str, fields: _Fields, others: Sequence[str], but: Set[str] = frozenset()) -> Any:
    """Return a type with these fields, and with the other names but for those that are to be refused."""
    taken = {spelled for spelled, *_ in fields.values()}
    # The library takes no names that JSON writes with escapes.
    plain = [each for each in others if each.isprintable() and '"' not in each and "\\" not in each]
    further = [each for each in plain if each not in taken and each not in but][:_MOST]
    every = fields | {f"other_{number}": (each, Any, None) for number, each in enumerate(further)}
    return msgspec.defstruct(
        name,
        [(field, *kind) for field, (_, *kind) in every.items()],
        rename={field: spelled for field, (spelled, *_) in every.items()},
        forbid_unknown_fields=True,
        kw_only=True,
        gc=False,
    )
