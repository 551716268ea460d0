"""The process behind the microscope: `python -P -m engine.data.microscope_worker`, JSON lines in and out."""

from __future__ import annotations

import json
import os
import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from engine.data import jsonl
from engine.data.files import format_of, read_record
from engine.data.rows import Problem, Row, recognise_file
from engine.data.shapes import Recognised, row_of
from engine.data.templates import ChatTemplate, OutOfTime, TemplateEndless, end_ids, load_template, time_limit
from engine.errors import DataError, EngineError
from engine.training.libraries import without_bitsandbytes

if TYPE_CHECKING:
    from engine.data.preparing import Preparation
    from engine.data.preparing_answers import AnswersPreparation

SECONDS = 20.0
"""What one row may take. A row of 100,000 tokens takes a fifth of a second."""
_MOST_CHARACTERS = 2_000_000
"""Half a million tokens: two seconds, and a reply of 30 MB."""
_NO_ROOM = "no token of the answer is left within data.max_length {}"
COMPARED = ("preference", "kto")
"""Kinds of rows whose answers are compared or marked, which other trainers prepare."""
_Columns = tuple[list[int], list[int], list[bool]]
_Shown = tuple[str, int, bool, bool, bool]
"""A `Token` without its name."""


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
        self._answers_preparations: dict[str, AnswersPreparation] = {}
        self._readers: dict[str, tuple[int, Reader]] = {}
        self._texts: dict[int, str] = {}

    @cached_property
    def _template(self) -> ChatTemplate | None:
        """None where only transformers can read the tokenizer."""
        try:
            return load_template(
                Path(self.lens["model"]), override=self.lens["chat_template"], render_seconds=SECONDS / 2
            )
        except EngineError:
            return None  # loading or preparing says what it is

    def load(self, path: str, line: int) -> None:
        """Load the libraries that prepare the row at a line, and see whether the template takes it.

        Raises:
            EngineError: There is none, or it does not.
        """
        _, row = self._reader(path).read(line)
        if not isinstance(row, Row):
            return
        if row.kind in COMPARED:
            import_module("engine.data.preparing_answers").load(row.kind)
        if row.kind not in ("text", "tokenised") and self._template is not None:
            # In words of ours, and before a text of gigabytes goes to the tokenizer, which no timer interrupts.
            for answer in (row.completion, row.rejected) if row.rejected else (row.completion,):
                self._template.render([*row.prompt, *answer])

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
        tokens, dropped, *other = self._sides(row, neighbours)
        seen = [token for token in tokens if not token[3] and not token[4]]
        trained = sum(token[2] for token in tokens)
        bos = self.tokenizer.bos_token_id
        found: dict[str, Any] = {
            "path": path,
            "line": line,
            "raw": json.dumps(record, ensure_ascii=False, default=str),
            "messages": [*row.prompt, *row.completion],
            "rendered": self._rendered(row, row.completion),
            "tokens": tokens,
            "trained_share": trained / len(seen) if seen else 0.0,
            "ends_trained": self._ends_trained(tokens),
            "bos_count": sum(token[1] == bos for token in seen) if bos is not None else 0,
            "bos_expected": 0 if bos is None or bos in self._ends else 1,
            "dropped_reason": dropped,
            "rejected_tokens": [],
            "common_prefix": 0,
            "about": _about(row),
        }
        if other:
            (rejected,) = other
            found |= self._compared(tokens, rejected)
            found["rejected_rendered"] = self._rendered(row, row.rejected)
        return found

    @property
    def _ends(self) -> set[int]:
        return self.stops | {self.tokenizer.eos_token_id}  # which preparing has set to `trainer.eos_token`

    def _ends_trained(self, tokens: list[_Shown]) -> bool:
        last = next((token for token in reversed(tokens) if token[2] and token[0].strip()), None)
        return last is not None and last[1] in self._ends

    def _compared(self, tokens: list[_Shown], rejected: list[_Shown]) -> dict[str, Any]:
        """Return what is told of a pair: the other side, and on both what only one of them has."""
        from engine.data.preparing_answers import common_prefix, only_here

        # Padding is of the batch, and not of either answer.
        sides = [[token for token in side if not token[4]] for side in (tokens, rejected)]
        ids = [[token[1] for token in side] for side in sides]
        marked = []
        for shown, own, alone in zip((tokens, rejected), sides, only_here(ids[0], ids[1]), strict=True):
            padded = [(*token, False) for token in shown if token[4]]
            marked.append([*((*token, one) for token, one in zip(own, alone, strict=True)), *padded])
        return {
            "tokens": marked[0],
            "rejected_tokens": marked[1],
            "common_prefix": common_prefix(ids[0], ids[1]),
            "rejected_ends_trained": self._ends_trained(rejected),
        }

    def _preparation(self, row: Row) -> Preparation:
        if row.kind not in self._preparations:
            from engine.data.preparing import Preparation

            self._preparations[row.kind] = Preparation(self.tokenizer, dict(self.lens["arguments"]), row)
        return self._preparations[row.kind]

    def _answers_preparation(self, row: Row) -> AnswersPreparation:
        if row.kind not in self._answers_preparations:
            from engine.data.preparing_answers import AnswersPreparation

            made = AnswersPreparation(self.tokenizer, dict(self.lens["arguments"]), row)
            self._answers_preparations[row.kind] = made
        return self._answers_preparations[row.kind]

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

    def _sides(self, row: Row, neighbours: list[Row]) -> tuple[Any, ...]:
        """Return `Token`s in order, why the run would not learn from the row, and the worse answer's of a pair."""
        if row.kind in COMPARED:
            return self._answers(row, neighbours)
        preparation = self._preparation(row)
        limit = preparation.max_length
        prepared = preparation.prepare([row])
        whole: list[int] = []
        if not prepared or (limit is not None and len(prepared[0]["input_ids"]) >= limit):
            (uncut,) = preparation.prepare([row], whole=True)
            whole = list(uncut["input_ids"])
        reason = "no token of it is trained"
        if prepared:
            columns = self._collated(preparation, prepared, neighbours)
            if any(label != -100 for label in columns[1]):
                reason = ""
        else:
            columns = _masked(whole[:limit])
        if reason and limit is not None and len(whole) > limit:
            reason = _NO_ROOM.format(limit)
        return self._shown(columns, whole, keeps_end=preparation.keeps_end), reason or None

    def _answers(self, row: Row, neighbours: list[Row]) -> tuple[Any, ...]:
        """Do the same for answers that are compared or marked."""
        preparation = self._answers_preparation(row)
        limit = preparation.max_length
        whole = preparation.uncut(row)
        prepared = preparation.prepare([row])
        if not prepared:
            shown = [self._shown(_masked(ids[:limit]), ids) for ids in whole]
            return shown[0], _NO_ROOM.format(limit), *shown[1:]
        sides = preparation.collate([*prepared, *(preparation.prepare(neighbours) if neighbours else [])])
        shown = [self._shown(side, ids) for side, ids in zip(sides, whole, strict=True)]
        return shown[0], None, *shown[1:]

    def _shown(self, columns: _Columns, whole: list[int], *, keeps_end: bool = False) -> list[_Shown]:
        """Return the tokens the model is given, and beside them those that are cut off."""
        ids, labels, padding = columns
        real = len(ids) - sum(padding)
        kept = [
            (self._text(i), i, label != -100, False, pad) for i, label, pad in zip(ids, labels, padding, strict=True)
        ]
        if keeps_end and real < len(whole):
            cut = [(self._text(i), i, False, True, False) for i in whole[: len(whole) - real]]
            return [*cut, *kept]
        cut = [(self._text(i), i, False, True, False) for i in whole[real:]]
        return [*kept[:real], *cut, *kept[real:]]

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

    def _rendered(self, row: Row, answer: Sequence[Mapping[str, str]]) -> str:
        if row.kind == "tokenised":
            return ""
        if row.kind == "text":
            return row.completion[-1]["content"]
        rendered: str = self.tokenizer.apply_chat_template([*row.prompt, *answer], tokenize=False)
        return rendered

    def _text(self, number: int) -> str:
        text = self._texts.get(number)
        if text is None:
            text = self.tokenizer.decode([number])
            if "\ufffd" in text:  # a part of a character
                text = spelled_bytes(self.tokenizer.convert_ids_to_tokens(number))
            self._texts[number] = text
        return text


def _masked(ids: list[int]) -> _Columns:
    return ids, [-100] * len(ids), [False] * len(ids)


def _about(row: Row) -> str:
    """Return what methods do with a row beyond its mask; empty for an answer that is simply learned."""
    if row.kind == "kto":
        return "marked as good: made likelier" if row.label else "marked as bad: made less likely"
    if row.dataset_type == "unlearn":
        return "to unlearn: `refusal` and `sft` teach this answer; the other methods of unlearning push away from it"
    return ""


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
        bench.load(request["path"], request["line"])
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
    without_bitsandbytes()
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
