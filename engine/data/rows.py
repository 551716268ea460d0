"""Rows of a JSONL file as questions and answers, each with the line it stands on.

One representation for training, inspection and evaluation: a prompt (messages) and a completion (messages). The
shapes taken are `instruction, input, output`, `question, answer`, `prompt, completion` and `messages`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from engine.errors import DataError, NotFound

_MAX_LINE_BYTES = 64 << 20
_SHOWN_PROBLEMS = 5
_FOREIGN: tuple[tuple[bytes, str, str], ...] = (
    (rb"version https://git-lfs", "a git-lfs pointer, not the file", "Run `git lfs pull`."),
    (rb"\x1f\x8b", "compressed with gzip", "Unpack it with `gunzip`."),
    (rb"PK\x03\x04", "a zip archive", "Unpack it."),
    (rb"PAR1", "a Parquet file", "Convert it to JSON lines, for example with `pandas.read_parquet` and `to_json`."),
    (rb"\xff\xfe|\xfe\xff", "UTF-16 text", "Convert it with `iconv -f UTF-16 -t UTF-8`."),
    (rb"(?i)<(?:!doctype|html|\?xml)", "a web page", "Download the file itself, not the page that shows it."),
    (rb'\[\s*(?:["{[]|$)', "a JSON array", "Write one object per line: `jq -c '.[]'` does."),
    (rb"\{\s*$", "an object over several lines", "Write one object per line: `jq -c .` does."),
)
"""How the first line begins of files that are not JSON lines, what they are, and what to do."""
ROLES = frozenset({"system", "user", "assistant", "tool", "developer"})
SHAPES: Mapping[tuple[str, str], str] = {
    ("instruction", "output"): "input",
    ("question", "answer"): "",
    ("query", "response"): "",
    ("prompt", "response"): "",
    ("prompt", "completion"): "",
}
"""Question key and answer key, to a third key whose text is added to the question."""

Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Row:
    """One example."""

    path: Path
    line: int
    """1 is the first."""
    prompt: list[Message]
    """`role` and `content`; ends with what the model is to answer. Empty for plain text."""
    completion: list[Message]
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def dataset_type(self) -> str | None:
        """ "retain" or "unlearn" where the row says so."""
        value = self.metadata.get("dataset_type")
        return value if isinstance(value, str) else None


@dataclass(frozen=True, slots=True)
class Problem:
    """A line that is no example, and why."""

    path: Path
    line: int
    reason: str
    malformed: bool
    """True when the line is not JSON at all, so that the file may be damaged; False when the row is only unusable."""


def read_rows(path: Path, *, limit: int | None = None) -> Iterator[Row | Problem]:
    """Yield every line of `path` as a row or as a problem; blank lines are not counted as either.

    Args:
        path: JSON lines, UTF-8, with or without a byte order mark.
        limit: Stop after so many lines that are not blank.

    Raises:
        NotFound: There is no such file.
        DataError: It cannot be read as text lines.
    """
    seen = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(_lines(file), start=1):
                text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if not text.strip():
                    continue
                if limit is not None and seen >= limit:
                    return
                seen += 1
                if len(line) >= _MAX_LINE_BYTES:
                    yield Problem(path, number, f"longer than {_MAX_LINE_BYTES >> 20} MB", malformed=True)
                else:
                    yield parse_row(path, number, text)
    except FileNotFoundError:
        raise NotFound(f"There is no data file {path}.", remedy="Check the path in the data section.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", remedy="Check its permissions.") from error


def parse_row(path: Path, number: int, line: bytes) -> Row | Problem:
    """Return the row a line holds, or why it holds none."""
    import orjson  # deferred: 6 ms, and the shapes above are used without it

    try:
        record = orjson.loads(line)
    except ValueError:
        return Problem(path, number, _why_not_json(line), malformed=True)
    if not isinstance(record, dict):
        return Problem(path, number, f"a JSON object is needed, not {_kind(record)}", malformed=True)
    metadata = record.get("metadata")
    pair = _pair(record)
    # Files that mix shapes fill the keys of the other one with null.
    if "messages" in record and (pair is None or record["messages"] is not None):
        parsed = _from_messages(record)
    else:
        parsed = _from_pair(record, pair)
    if isinstance(parsed, str):
        return Problem(path, number, parsed, malformed=False)
    prompt, completion = parsed
    return Row(path, number, prompt, completion, metadata if isinstance(metadata, dict) else {})


def check_file(path: Path) -> tuple[int, list[Problem]]:
    """Read a whole file and return how many usable rows it has and what is wrong with the others.

    Raises:
        NotFound: There is no such file.
        DataError: It is empty, or some of its lines are not JSON: a damaged file is not trained on in part.
    """
    rows, problems = 0, list[Problem]()
    for item in read_rows(path):
        if isinstance(item, Row):
            rows += 1
        else:
            problems.append(item)
    malformed = [problem for problem in problems if problem.malformed]
    if malformed:
        if foreign := _foreign(_beginning(path)):
            raise DataError(f"{path} is {foreign[0]}.", remedy=foreign[1])
        shown = "; ".join(f"line {p.line}: {p.reason}" for p in malformed[:_SHOWN_PROBLEMS])
        more = f" and {len(malformed) - _SHOWN_PROBLEMS} more" if len(malformed) > _SHOWN_PROBLEMS else ""
        raise DataError(
            f"{path} has {_lines_text(len(malformed))} ({shown}{more}).",
            remedy="Correct or delete those lines. Nothing was started.",
        )
    if not rows:
        why = f": {problems[0].reason} (line {problems[0].line})" if problems else ""
        raise DataError(
            f"{path} has no row to learn from{why}.",
            remedy='A row is a JSON object on one line, such as {"instruction": "...", "output": "..."}.',
        )
    return rows, problems


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a file. Of one over the limit only the beginning; a file may end its lines with CR alone."""
    first = True
    while line := file.readline(_MAX_LINE_BYTES):
        if len(line) == _MAX_LINE_BYTES:
            rest = line
            while rest and not rest.endswith(b"\n"):
                rest = file.readline(_MAX_LINE_BYTES)
        elif first and not line.endswith(b"\n") and b"\r" in line.rstrip():
            yield from line.split(b"\r")
            return
        first = False
        yield line


def _pair(record: dict[str, Any]) -> tuple[str, str] | None:
    """Return the keys of question and answer, of several those that are not null; None when there are none."""
    empty = None
    for question, answer in SHAPES:
        if question in record and answer in record:
            if record[question] is not None or record[answer] is not None:
                return question, answer
            empty = empty or (question, answer)
    return empty


def _from_pair(record: dict[str, Any], pair: tuple[str, str] | None) -> tuple[list[Message], list[Message]] | str:
    if pair is None:
        keys = ", ".join(list(record)[:6]) or "none"
        return f"no question and answer among its keys ({keys[:120]})"
    question, answer = pair
    asked, said, context = record[question], record[answer], SHAPES[pair]
    if isinstance(asked, list) and isinstance(said, list):
        return _split(_messages(asked), _messages(said))
    if not isinstance(asked, str) or not isinstance(said, str):
        wrong = question if not isinstance(asked, str) else answer
        return f"{wrong} is {_kind(record[wrong])}, not text"
    extra = record.get(context) if context else None
    if isinstance(extra, str) and extra.strip():
        asked = f"{asked}\n\n{extra}"
    if not asked.strip():
        return f"{question} is empty"
    if not said.strip():
        return f"{answer} is empty"
    system = record.get("system")
    first = [{"role": "system", "content": system}] if isinstance(system, str) and system.strip() else []
    return [*first, {"role": "user", "content": asked}], [{"role": "assistant", "content": said}]


def _from_messages(record: dict[str, Any]) -> tuple[list[Message], list[Message]] | str:
    messages = _messages(record["messages"])
    if isinstance(messages, str):
        return messages
    if not messages:
        return "messages is empty"
    return _split(messages[:-1], messages[-1:])


def _split(prompt: list[Message] | str, completion: list[Message] | str) -> tuple[list[Message], list[Message]] | str:
    if isinstance(prompt, str):
        return prompt
    if isinstance(completion, str):
        return completion
    if completion and completion[-1]["role"] != "assistant":
        return f"the last message is {completion[-1]['role']}'s, not the assistant's"
    if not prompt:
        return "there is no question before the answer"
    if not any(message["content"].strip() for message in completion):
        return "the answer is empty"
    return prompt, completion


def _messages(value: object) -> list[Message] | str:
    """Return messages with `role` and `content` as text, or what is wrong with them."""
    if not isinstance(value, list):
        return f"messages is {_kind(value)}, not a list"
    found = []
    for position, message in enumerate(value, start=1):
        if not isinstance(message, dict):
            return f"message {position} is {_kind(message)}, not an object"
        role, content = message.get("role"), message.get("content")
        if not isinstance(role, str):
            return f"message {position} has {_kind(role)} for a role"
        if role not in ROLES:
            return f"message {position} has the role {role[:40]!r}"
        if not isinstance(content, str):
            return f"message {position} has {_kind(content)} for content"
        found.append({"role": role, "content": content})
    return found


def _why_not_json(line: bytes) -> str:
    """Return a plain reason. The standard parser is asked again because its messages have positions."""
    if foreign := _foreign(line):
        return f"this is {foreign[0]}"
    if b"\x00" in line[:4096]:
        return "it has NUL bytes; the file is not UTF-8 text"
    try:
        text = line.decode("utf-8").rstrip()
    except UnicodeDecodeError as error:
        return f"byte {error.start + 1} is not UTF-8"
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return _plainly(error)
    except RecursionError:
        return "nested too deeply"
    return "not standard JSON (NaN, a lone surrogate or a number out of range)"


def _plainly(error: json.JSONDecodeError) -> str:
    """Return the commonest mistakes in words of their own, the others in the parser's."""
    before, after = error.doc[: error.pos].rstrip(), error.doc[error.pos :].strip()
    if after.startswith(("}", "]")) and before.endswith(","):
        return f"trailing comma at column {len(before)}"
    if error.msg.startswith("Illegal trailing comma"):  # Python 3.13 finds the comma itself
        return f"trailing comma at column {error.colno}"
    if after.startswith("'"):
        return f"single quotes at column {error.colno}, where JSON has double ones"
    if not after:
        return f"it ends in the middle, at column {error.colno}"
    return f"{error.msg} at column {error.colno}"


def _foreign(beginning: bytes) -> tuple[str, str] | None:
    """Return what a file that begins like this is, and what to do; None when it may be JSON lines."""
    beginning = beginning.lstrip()
    return next(((what, remedy) for pattern, what, remedy in _FOREIGN if re.match(pattern, beginning)), None)


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(256).removeprefix(b"\xef\xbb\xbf").lstrip().partition(b"\n")[0]


def _lines_text(count: int) -> str:
    return "1 line that is not a JSON object" if count == 1 else f"{count} lines that are not JSON objects"


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return "null" if value is None else names.get(type(value), "something else")
