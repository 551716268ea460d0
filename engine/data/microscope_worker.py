"""The process behind the microscope: `python -P -m engine.data.microscope_worker`, JSON lines in and out."""

from __future__ import annotations

import json
import os
import sys
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from engine.data import jsonl
from engine.data.files import format_of, read_record
from engine.data.rows import Problem, Row, recognise_file
from engine.data.shapes import Recognised, row_of
from engine.data.templates import OutOfTime, TemplateEndless, end_ids, time_limit
from engine.errors import DataError, EngineError

if TYPE_CHECKING:
    from engine.data.preparing import Preparation

SECONDS = 20.0
"""What one row may take. A row of 100,000 tokens takes a fifth of a second."""
_MOST_CHARACTERS = 2_000_000
"""Half a million tokens: two seconds, and a reply of 30 MB."""
_Columns = tuple[list[int], list[int], list[bool]]


class Reader:
    """Rows of one file by their line. The one after the last is read without looking for it."""

    def __init__(self, path: Path, mapping: Mapping[str, str] | None) -> None:
        self.path = path
        self.recognised: Recognised = recognise_file(path, mapping)
        self._file: BinaryIO | None = None
        self._starts = array("q", [0])
        """Offsets of the lines found so far."""
        if format_of(path) == "jsonl":
            file = path.open("rb")
            beginning = file.read(1 << 16)
            if beginning.startswith(b"{") and b"\r" not in beginning.replace(b"\r\n", b""):
                self._file = file  # neither compressed nor with lines that end in CR alone
            else:
                file.close()

    def read(self, line: int) -> tuple[dict[str, Any], Row | Problem]:
        """Return record and row.

        Raises:
            NotFound, DataError: There is nothing at this line, or the file cannot be read.
        """
        record = self._record(line)
        if isinstance(record, Problem):
            return {}, record
        return record, row_of(record, self.recognised, self.path, line)

    def _record(self, line: int) -> dict[str, Any] | Problem:
        if self._file is None or line < 1:
            return read_record(self.path, line)
        self._file.seek(self._starts[min(line, len(self._starts)) - 1])
        while len(self._starts) <= line:
            if not self._file.readline(jsonl.MAX_LINE_BYTES):
                break
            self._starts.append(self._file.tell())
        if len(self._starts) <= line:
            return read_record(self.path, line)  # it has grown, or says in words that there is no such line
        self._file.seek(self._starts[line - 1])
        text = self._file.read(self._starts[line] - self._starts[line - 1])
        if not text.strip():
            return read_record(self.path, line)
        try:
            return jsonl.parse_line(text)
        except jsonl.LineProblem as problem:
            return Problem(self.path, line, problem.reason, malformed=True)


class Bench:
    """Tokenizer, preparation and collator, ready for rows."""

    def __init__(self, lens: Mapping[str, Any]) -> None:
        """Load the tokenizer.

        Raises:
            EngineError: It cannot be loaded.
        """
        from engine.training.loading import load_tokenizer

        self.lens = lens
        self.tokenizer = load_tokenizer(
            lens["model"], chat_template=lens["chat_template"], trust_remote_code=lens["trust_remote_code"]
        )
        self.stops = end_ids(Path(lens["model"]))
        self._preparations: dict[str, Preparation] = {}
        self._readers: dict[str, tuple[int, Reader]] = {}
        self._texts: dict[int, str] = {}

    def examine(self, path: str, line: int, batch_rows: int) -> dict[str, Any]:
        """Return the fields of `Examined`.

        Raises:
            DataError: The line is no example, or cannot be prepared.
        """
        reader = self._reader(path)
        record, row = reader.read(line)
        if isinstance(row, Problem):
            raise DataError(f"Line {line} of {row.path.name} is no example: {row.reason}.", remedy="Correct the line.")
        size = sum(len(message["content"]) for message in (*row.prompt, *row.completion, *row.rejected))
        if size > _MOST_CHARACTERS:
            raise DataError(
                f"Line {line} of {row.path.name} has {size:,} characters, too many to show token by token.",
                remedy="`ftconsole data check` says whether it is cut off.",
            )
        neighbours = list(self._neighbours(reader, row, batch_rows - 1))
        tokens, dropped = self._tokens(row, neighbours)
        ends = self.stops | {self.tokenizer.eos_token_id}  # which preparing has set to `trainer.eos_token`
        seen = [token for token in tokens if not token[3] and not token[4]]
        trained = [token for token in tokens if token[2]]
        last = next((token for token in reversed(trained) if token[0].strip()), None)
        messages = [*row.prompt, *row.completion]
        bos = self.tokenizer.bos_token_id
        found: dict[str, Any] = {
            "path": path,
            "line": line,
            "raw": json.dumps(record, ensure_ascii=False, default=str),
            "messages": messages,
            "rendered": self._rendered(row),
            "tokens": tokens,
            "trained_share": len(trained) / len(seen) if seen else 0.0,
            "ends_trained": last is not None and last[1] in ends,
            "bos_count": sum(token[1] == bos for token in seen) if bos is not None else 0,
            "bos_expected": 0 if bos is None or bos in ends else 1,
            "dropped_reason": dropped,
            "rejected_tokens": [],
            "common_prefix": 0,
        }
        if row.rejected:
            rejected, _ = self._tokens(replace(row, completion=row.rejected), [])
            same = (one[1] == other[1] for one, other in zip(tokens, rejected, strict=False))
            found["rejected_tokens"] = rejected
            found["common_prefix"] = next(
                (position for position, equal in enumerate(same) if not equal), min(len(tokens), len(rejected))
            )
        return found

    def _preparation(self, row: Row) -> Preparation:
        from engine.data.preparing import Preparation

        if row.kind not in self._preparations:
            self._preparations[row.kind] = Preparation(self.tokenizer, dict(self.lens["arguments"]), row)
        return self._preparations[row.kind]

    def _neighbours(self, reader: Reader, row: Row, count: int) -> Iterator[Row]:
        for number in range(row.line + 1, row.line + 1 + count):
            try:
                _, other = reader.read(number)
            except EngineError:
                return
            if isinstance(other, Row) and other.kind == row.kind:
                yield other

    def _reader(self, path: str) -> Reader:
        changed = os.stat(path).st_mtime_ns if os.path.exists(path) else 0
        if path not in self._readers or self._readers[path][0] != changed:
            self._readers[path] = changed, Reader(Path(path), self.lens["mapping"])
        return self._readers[path][1]

    def _tokens(self, row: Row, neighbours: list[Row]) -> tuple[list[tuple[str, int, bool, bool, bool]], str | None]:
        """Return `Token`s in order, and why the run would not learn from the row."""
        preparation = self._preparation(row)
        limit = preparation.max_length
        prepared = preparation.prepare([row])
        whole: list[int] = []
        if not prepared or (limit is not None and len(prepared[0]["input_ids"]) >= limit):
            (uncut,) = preparation.prepare([row], whole=True)
            whole = list(uncut["input_ids"])
        reason = "no token of it is trained"
        if prepared:
            ids, labels, padding = self._collated(preparation, prepared, neighbours)
            if any(label != -100 for label in labels):
                reason = ""
        else:
            ids, labels = whole[:limit], [-100] * len(whole[:limit])
            padding = [False] * len(ids)
        if reason and limit is not None and len(whole) > limit:
            reason = f"no token of the answer is left within data.max_length {limit}"
        real = len(ids) - sum(padding)
        kept = [
            (self._text(i), i, label != -100, False, pad) for i, label, pad in zip(ids, labels, padding, strict=True)
        ]
        if preparation.keeps_end and real < len(whole):
            cut = [(self._text(i), i, False, True, False) for i in whole[: len(whole) - real]]
            return [*cut, *kept], reason or None
        cut = [(self._text(i), i, False, True, False) for i in whole[real:]]
        return [*kept[:real], *cut, *kept[real:]], reason or None

    def _collated(self, preparation: Preparation, prepared: list[dict[str, Any]], neighbours: list[Row]) -> _Columns:
        """Return ids, labels and what is padding, as the collator gives them."""
        packed = "seq_lengths" in prepared[0] or len(prepared) > 1
        others = [] if packed else preparation.prepare(neighbours) if neighbours else []
        batch = preparation.collate([*prepared, *others])
        rows = len(prepared) if batch["input_ids"].shape[0] > 1 else 1
        ids = [i for row in batch["input_ids"][:rows].tolist() for i in row]
        labels = [label for row in batch["labels"][:rows].tolist() for label in row]
        if "attention_mask" in batch:
            padding = [not seen for row in batch["attention_mask"][:rows].tolist() for seen in row]
        else:
            padding = [False] * len(ids)
        return ids, labels, padding

    def _rendered(self, row: Row) -> str:
        if row.kind == "tokenised":
            return ""
        if row.kind == "text":
            return row.completion[-1]["content"]
        rendered: str = self.tokenizer.apply_chat_template([*row.prompt, *row.completion], tokenize=False)
        return rendered

    def _text(self, number: int) -> str:
        text = self._texts.get(number)
        if text is None:
            text = self.tokenizer.decode([number])
            if "\ufffd" in text:  # a part of a character
                text = spelled_bytes(self.tokenizer.convert_ids_to_tokens(number))
            self._texts[number] = text
        return text


def spelled_bytes(token: str) -> str:
    """Return a part of a character with its bytes as `<0xE6>`, which is how other vocabularies name them.

    Args:
        token: As a byte-level vocabulary writes it, `ĠæŃ`; anything else is returned as it is.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    # GPT-2's alphabet: bytes that print stand for themselves, the others for letters from U+0100 on.
    values = {chr(byte): byte for byte in printable} | {chr(0x100 + place): byte for place, byte in enumerate(others)}
    if not values.keys() >= set(token):
        return token
    text = bytes(values[letter] for letter in token).decode("utf-8", "surrogateescape")
    return "".join(f"<0x{ord(one) - 0xDC00:02X}>" if "\udc80" <= one <= "\udcff" else one for one in text)


def answer(bench: Bench, request: dict[str, Any]) -> dict[str, Any]:
    """Return the reply to one request; what goes wrong with a row is a reply as well."""
    if "line" not in request:
        return {"examined": {}}
    try:
        # Not within the limit, which is for the row: on a busy machine torch and TRL alone have taken longer.
        import_module("engine.data.preparing")
        with time_limit(SECONDS):
            return {"examined": bench.examine(request["path"], request["line"], request["batch_rows"])}
    except OutOfTime:
        error: EngineError = TemplateEndless(
            f"The chat template did not end within {SECONDS:g} s on line {request['line']}, and was stopped.",
            remedy="Use the template of the model's publisher, or set model.chat_template to one that ends.",
        )
    except EngineError as raised:
        error = raised
    except Exception as raised:  # noqa: BLE001 - the libraries', about this row: the next one may be fine
        lines = str(raised).strip().splitlines() or [type(raised).__name__]
        # Some libraries say what happened first, transformers' import machinery last.
        said = lines[0] if lines[-1] == lines[0] else f"{lines[0][:200]} {lines[-1]}"
        error = DataError(f"Line {request['line']} cannot be prepared: {said[:400]}", remedy="Look at the raw row.")
    return {"error": {**error.as_dict(), "exit_code": error.exit_code}}


def main() -> int:
    """Read the lens, then rows to look at, until stdin is closed."""
    # What the libraries print must not come between the replies.
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    lens = json.loads(sys.stdin.readline())
    failed: dict[str, Any] | None = None
    bench: Bench | None = None
    try:
        bench = Bench(lens)
    except EngineError as error:
        failed = {"error": {**error.as_dict(), "exit_code": error.exit_code}}
    for line in sys.stdin:
        request = json.loads(line)
        reply = failed or (answer(bench, request) if bench is not None else {})
        print(json.dumps({"number": request["number"], **reply}), file=replies, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
