"""The shapes rows come in: which one a file has, and the row each record of it holds.

What a file holds is told from a sample of its records. Pairs of a chosen and a rejected answer, answers with a label
and token ids are looked for first: their files also have columns that look like question and answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.data import spellings
from engine.data.building import Parts, label_value, metadata_of
from engine.data.building import kto as build_kto
from engine.data.building import messages as build_messages
from engine.data.building import pair as build_pair
from engine.data.building import preference as build_preference
from engine.data.building import text as build_text
from engine.data.building import tokenised as build_tokenised
from engine.data.messages import MESSAGE_KEYS, conversation, looks_like_messages, structured
from engine.data.row import KINDS, Kind, Problem, Row

Record = Mapping[str, Any]
Columns = dict[str, str]


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a file was taken for."""

    shape: str
    """A key of `SHAPES`; "unknown" when no record of the sample fits any."""
    kind: Kind
    columns: Columns
    """What the columns hold, as field to column; those only some records have included."""
    share: float
    """Of the sampled records, how many fit, 0 to 1."""
    others: list[str]
    """Shapes that other records of the sample have."""
    given: bool = False
    """The columns were named by the user (`data.mapping`), so a record without them is a problem."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One way to write an example."""

    name: str
    kind: Kind
    needs: tuple[str, ...]
    """Fields whose columns a record must have to be read so."""
    find: Callable[[_Names], Columns | None]
    build: Callable[[Record, Columns], Parts | str]
    example: str
    """One row, for documentation and for messages."""


class _Names:
    """The columns of one record by their names without case, those that hold nothing left out or not."""

    def __init__(self, record: Record, *, with_null: bool) -> None:
        self.record = record
        self.with_null = with_null
        self.names = {name.strip().lower(): name for name in reversed(list(record))}

    def get(self, name: str) -> str | None:
        """Return the record's own name of a column that it has."""
        found = self.names.get(name)
        return found if found is not None and (self.with_null or _holds(self.record[found])) else None

    def first(self, names: Sequence[str]) -> str | None:
        return next((found for name in names if (found := self.get(name)) is not None), None)

    def pair(self, pairs: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
        """Return the first two columns that are there, of which one at least holds something."""
        for one, other in pairs:
            first, second = self.names.get(one), self.names.get(other)
            if first is None or second is None or first == second:
                continue
            if self.with_null or _holds(self.record[first]) or _holds(self.record[second]):
                return first, second
        return None

    def value(self, column: str) -> Any:
        return self.record[column]


def recognise(records: Sequence[Record]) -> Recognised:
    """Return the shape most of the records have.

    Args:
        records: A sample of a file, not only its beginning.
    """
    found = [fit for record in records if (fit := _fit(record)) is not None]
    if not found:
        return Recognised("unknown", "sft", {}, 0.0, [])
    votes = Counter(shape.name for shape, _ in found)
    name = votes.most_common(1)[0][0]
    fitting = [columns for shape, columns in found if shape.name == name]
    spelled = Counter(tuple(columns[field] for field in SHAPES[name].needs) for columns in fitting)
    needed = spelled.most_common(1)[0][0]
    columns: Columns = {}
    for each in fitting:
        if tuple(each[field] for field in SHAPES[name].needs) == needed:
            columns = {**each, **columns}
    ordered = {field: columns[field] for field in spellings.FIELDS if field in columns}
    others = [other for other, _ in votes.most_common()[1:]]
    return Recognised(name, SHAPES[name].kind, ordered, spelled.total() / len(records), others)


def from_mapping(mapping: Mapping[str, str]) -> Recognised:
    """Return what the columns named by the user make of a file.

    Raises:
        ValueError: They make no shape; the message says what is missing.
    """
    fields = set(mapping)
    if unknown := sorted(fields - set(spellings.FIELDS)):
        raise ValueError(f"{unknown[0]!r} is none of {', '.join(spellings.FIELDS)}")
    asked = {"prompt", "messages"} & fields
    if "input_ids" in fields:
        name = "tokenised"
    elif "rejected" in fields and ("chosen" in fields or "messages" in fields):
        name = "preference"
    elif fields & {"chosen", "rejected"}:
        raise ValueError("a preference pair needs chosen and rejected")
    elif "label" in fields and ("messages" in fields or {"prompt", "completion"} <= fields):
        name = "kto"
    elif "label" in fields:
        raise ValueError("a label needs prompt and completion, or messages")
    elif "messages" in fields:
        name = "messages"
    elif {"prompt", "completion"} <= fields:
        name = "prompt-completion"
    elif "text" in fields and not asked:
        name = "text"
    else:
        raise ValueError(
            "name the columns of prompt and completion, of messages, of text, of chosen and rejected, or of input_ids"
        )
    return Recognised(name, SHAPES[name].kind, dict(mapping), 1.0, [], given=True)


def row_of(record: Record, recognised: Recognised, path: Path, line: int) -> Row | Problem:
    """Return the row a record holds, or why it holds none.

    A record of another shape than the file's is read in its own, as long as it is of the same kind.
    """
    columns, shape = recognised.columns, SHAPES.get(recognised.shape)
    if shape is None or not _fits(record, recognised, shape):
        if recognised.given:
            missing = next((name for name in columns.values() if name not in record), next(iter(columns.values())))
            return Problem(path, line, f"it has no column {missing[:60]!r}, which data.mapping names", malformed=False)
        own = _fit(record)
        if own is None:
            names = ", ".join(str(name) for name in list(record)[:6]) or "none"
            return Problem(path, line, f"no question and answer among its keys ({names[:120]})", malformed=False)
        shape, columns = own
        if shape.kind != recognised.kind and recognised.shape != "unknown":
            reason = f"it holds {KINDS[shape.kind]}, in a file of {KINDS[recognised.kind]}"
            return Problem(path, line, reason, malformed=False)
    parts = shape.build(record, columns)
    if isinstance(parts, str):
        return Problem(path, line, parts, malformed=False)
    return Row(
        path,
        line,
        parts.prompt,
        parts.completion,
        metadata_of(record),
        shape.kind,
        parts.rejected,
        parts.label,
        parts.input_ids,
        parts.labels,
    )


def _fits(record: Record, recognised: Recognised, shape: Shape) -> bool:
    """Whether a record has the columns of the file's shape, and something in one of them."""
    something = False
    for field in shape.needs:
        column = recognised.columns.get(field)
        if column is None:
            continue
        if column not in record:
            return False
        something = something or _holds(record[column])
    if something or recognised.given:
        return True
    return _fit(record) is None  # a record of nothing but null is a bad row of this shape


def _holds(value: object) -> bool:
    """Whether there is something in a column. Tables have no null but empty text."""
    return value is not None and value != ""


def _fit(record: Record) -> tuple[Shape, Columns] | None:
    """Return the shape a record has by itself; where it has none, one whose columns it has though they are null."""
    for names in _twice(record):
        for shape in SHAPES.values():
            columns = shape.find(names)
            if columns is not None:
                return shape, columns
    return None


def _twice(record: Record) -> Iterator[_Names]:
    yield _Names(record, with_null=False)
    yield _Names(record, with_null=True)


def _optional(names: _Names, columns: Columns) -> Columns:
    """Add the columns a row may have besides: system text, earlier turns, and what belongs to the question."""
    question = columns.get("prompt", "").strip().lower()
    for field, spelled in (
        ("system", spellings.SYSTEM),
        ("history", spellings.HISTORY),
        ("context", spellings.CONTEXT.get(question, ())),
    ):
        column = names.first(spelled)
        if column is not None and column not in columns.values():
            columns[field] = column
    return columns


def _find_tokenised(names: _Names) -> Columns | None:
    column = names.get("input_ids")
    if column is None or not (names.with_null or _numbers(names.value(column))):
        return None
    labels = names.get("labels")
    return {"input_ids": column} if labels is None else {"input_ids": column, "labels": labels}


def _find_preference(names: _Names, *, as_messages: bool) -> Columns | None:
    columns = _preference_columns(names)
    if columns is None:
        return None
    values = [names.value(columns[field]) for field in ("chosen", "rejected") if field in columns]
    structures = "messages" in columns or any(conversation(value) is not None for value in values)
    return columns if structures == as_messages else None


def _preference_columns(names: _Names) -> Columns | None:
    question = names.first(spellings.QUESTIONS)
    messages = _messages_column(names)
    pair = names.pair(spellings.CHOSEN_REJECTED)
    if pair is not None and not (names.with_null or _holds(names.value(pair[1]))):
        pair = None  # files of several shapes fill the columns of the others with null
    if pair is not None:
        columns = {"chosen": pair[0], "rejected": pair[1]}
        if question is not None and question not in pair:
            columns["prompt"] = question
        elif messages is not None and messages not in pair:
            columns["messages"] = messages
        return _optional(names, columns)
    if messages is not None and (rejected := names.first(spellings.REJECTED_BESIDE_MESSAGES)) is not None:
        return _optional(names, {"messages": messages, "rejected": rejected})
    answer = names.get("output")  # LLaMA-Factory's older form: the better one, then the worse one
    if question is not None and answer is not None and answer != question:
        both = structured(names.value(answer))
        if isinstance(both, list) and len(both) == 2 and all(isinstance(each, str) for each in both):
            return _optional(names, {"prompt": question, "rejected": answer})
    return None


def _find_good_bad(names: _Names) -> Columns | None:
    pair = names.pair(spellings.GOOD_BAD)
    if pair is None:
        return None
    columns = {"chosen": pair[0], "rejected": pair[1]}
    if (question := names.first(spellings.QUESTIONS)) is not None:
        columns["prompt"] = question
    elif (messages := _messages_column(names)) is not None:
        columns["messages"] = messages
    return _optional(names, columns)


def _find_kto(names: _Names) -> Columns | None:
    label = names.first(spellings.LABEL)
    if label is None or label_value(names.value(label)) is None:
        return None
    # 0 and 1 are often classes: they are marks only where nothing else is meant by the columns.
    marked = isinstance(names.value(label), bool) or label.strip().lower() != "label"
    if (messages := _messages_column(names)) is not None:
        return _optional(names, {"messages": messages, "label": label}) if marked else None
    pair = names.pair(spellings.PAIRS)
    if pair is None or not (marked or tuple(name.strip().lower() for name in pair) == ("prompt", "completion")):
        return None
    return _optional(names, {"prompt": pair[0], "completion": pair[1], "label": label})


def _find_messages(names: _Names, *, sharegpt: bool) -> Columns | None:
    column = _messages_column(names)
    if column is None:
        return None
    value = structured(names.value(column))
    first = value[0] if isinstance(value, list) and value else None
    written = isinstance(first, dict) and not set(MESSAGE_KEYS[0]) <= set(first) and first != {}
    turns = isinstance(first, list)
    if (written or turns) != sharegpt:
        return None
    return _optional(names, {"messages": column})


def _messages_column(names: _Names) -> str | None:
    """Return the column that holds a conversation; of those that do not, the first, where null is taken too."""
    for name in spellings.MESSAGES:
        column = names.get(name)
        if column is not None and looks_like_messages(names.value(column)):
            return column
    return names.first(spellings.MESSAGES) if names.with_null else None


def _find_pair(names: _Names, question: str | None, answer: str | None) -> Columns | None:
    """Find a question and an answer; the given names only, where there are any."""
    pair = names.pair(spellings.PAIRS)
    if pair is None:
        return None
    spelled = (pair[0].strip().lower(), pair[1].strip().lower())
    if question is None:
        return _optional(names, {"prompt": pair[0], "completion": pair[1]})
    return _optional(names, {"prompt": pair[0], "completion": pair[1]}) if spelled == (question, answer) else None


def _find_text(names: _Names) -> Columns | None:
    column = names.first(spellings.TEXT)
    return {"text": column} if column is not None else None


def _numbers(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], int)


_ALL = (
    Shape(
        "tokenised",
        "tokenised",
        ("input_ids",),
        _find_tokenised,
        build_tokenised,
        '{"input_ids": [1, 2, 3], "labels": [-100, 2, 3]}',
    ),
    Shape(
        "bad-good",
        "preference",
        ("chosen", "rejected"),
        _find_good_bad,
        build_preference,
        '{"prompt": "...", "bad": "...", "good": "..."}',
    ),
    Shape(
        "preference",
        "preference",
        ("chosen", "rejected"),
        lambda names: _find_preference(names, as_messages=False),
        build_preference,
        '{"prompt": "...", "chosen": "...", "rejected": "..."}',
    ),
    Shape(
        "preference-messages",
        "preference",
        ("rejected",),
        lambda names: _find_preference(names, as_messages=True),
        build_preference,
        '{"prompt": [{"role": "user", ...}], "chosen": [{"role": "assistant", ...}], "rejected": [...]}',
    ),
    Shape(
        "kto",
        "kto",
        ("label",),
        _find_kto,
        build_kto,
        '{"prompt": "...", "completion": "...", "label": true}',
    ),
    Shape(
        "messages",
        "sft",
        ("messages",),
        lambda names: _find_messages(names, sharegpt=False),
        build_messages,
        '{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}',
    ),
    Shape(
        "sharegpt",
        "sft",
        ("messages",),
        lambda names: _find_messages(names, sharegpt=True),
        build_messages,
        '{"conversations": [{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}]}',
    ),
    Shape(
        "alpaca",
        "sft",
        ("prompt", "completion"),
        lambda names: _find_pair(names, "instruction", "output"),
        build_pair,
        '{"instruction": "...", "input": "...", "output": "..."}',
    ),
    Shape(
        "prompt-completion",
        "sft",
        ("prompt", "completion"),
        lambda names: _find_pair(names, "prompt", "completion"),
        build_pair,
        '{"prompt": "...", "completion": "..."}',
    ),
    Shape(
        "question-answer",
        "sft",
        ("prompt", "completion"),
        lambda names: _find_pair(names, None, None),
        build_pair,
        '{"question": "...", "answer": "..."}',
    ),
    Shape("text", "text", ("text",), _find_text, build_text, '{"text": "..."}'),
)
SHAPES: Mapping[str, Shape] = {shape.name: shape for shape in _ALL}
"""In the order they are looked for."""
