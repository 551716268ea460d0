"""The doctor: reads data files whole, as a model would see them, and says what would be wasted on it.

Nothing of torch is needed. Rows are rendered by the model's own chat template; only those that may be longer than the
limit are tokenised, since a token is at least one byte.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from engine.config.methods import METHODS
from engine.data.findings import SHOWN_LINES, Finding, Grade, Report
from engine.data.row import KINDS
from engine.data.rows import Problem, Row, read_rows
from engine.data.shapes import SHAPES
from engine.data.templates import (
    RENDER_SECONDS,
    ChatTemplate,
    TemplateEndless,
    TemplateMissing,
    TemplateRefuses,
    load_template,
    many_rendered,
)
from engine.errors import EngineError

_BATCH = 512
"""Rows between two looks at `cancelled`, and in one call of the tokenizer."""
_CLIPPED = 200_000
_LONGEST_TOKEN = 256
"""Characters of a row that are tokenised to see whether it is too long: at least so many, and so many per token of the
limit. Vocabularies hold runs of 128 spaces."""
_REMEMBERED = 4_000_000
"""Rows among which equal ones are looked for: half a gigabyte."""
_MOST = 0.5
"""Above this share of all rows, what is wrong with a row is wrong with the data, and grave."""
_SCARCE = 0.2
"""Below this share of the rows one kind is scarce."""
_LARGE_EFFECT = 0.8
"""Cohen's own threshold for a large d."""
_MANY_REASONS = 1_000
_SHOWN_REASONS = 3
_ROLE = "has the role"
_EMPTY = ("is empty",)


SPLITTING = ("bfd_split", "wrapped")
"""Values of `trainer.packing_strategy` with which a row goes on in the next sequence: nothing is cut off."""


class Cancelled(Exception):
    """Nobody waits for the report any more."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What to examine. Plain values, so that another process can be asked."""

    train: tuple[str, ...]
    validation: Mapping[str, str] = field(default_factory=dict)
    """Path by name of the set."""
    model: str | None = None
    """Folder of the model; None when there is none yet: then the rows alone are looked at."""
    chat_template: str | None = None
    """Text of a template instead of the model's own."""
    max_length: int | None = None
    """Tokens at which rows are cut; None for never."""
    completion_only_loss: bool = True
    eos_token: str | None = None
    """Ends a row instead of the tokenizer's own."""
    limit: int | None = None
    """Rows of each training file."""
    mapping: Mapping[str, str] | None = None
    """Column by field, where the recognition of the shape was corrected."""
    method: str | None = None
    """`method.name`, which decides what is learned from and how it is cut. None: each kind of row by its own, pairs by
    `dpo` and marked answers by `kto`."""
    uses_retain: bool = True
    """Of a method that unlearns: whether it has a use for rows to retain."""


def examine_files(
    asked: Asked, *, progress: Callable[[int], None] | None = None, cancelled: Callable[[], bool] | None = None
) -> Report:
    """Return everything that is wrong.

    Args:
        asked: Files and model.
        progress: Told how many rows were looked at, every few hundred.
        cancelled: Asked as often.

    Raises:
        Cancelled: It said so.
        NotFound, DataError: A file is not there or cannot be read as rows at all.
    """
    with many_rendered(RENDER_SECONDS):
        return _Examination(asked, progress or (lambda _: None), cancelled or (lambda: False)).report()


def examine_apart(
    asked: Asked, *, progress: Callable[[int], None] | None = None, cancelled: Callable[[], bool] | None = None
) -> Report:
    """Do `examine_files` in a process of its own: for a console, whose frames must not wait for a template.

    Blocks; call it in a thread.

    Raises:
        Cancelled: The process was ended.
        EngineError: As `examine_files`.
    """
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "engine.data.doctor"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as worker:  # fmt: skip
        assert worker.stdin is not None
        assert worker.stdout is not None
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(0.1):
                if cancelled is not None and cancelled():
                    worker.kill()
                    return

        watching = threading.Thread(target=watch, daemon=True)
        watching.start()
        try:
            worker.stdin.write(json.dumps(asdict(asked)))
            worker.stdin.close()
            for line in worker.stdout:
                said = json.loads(line)
                if "rows" in said and progress is not None:
                    progress(said["rows"])
                if "report" in said:
                    return Report.from_dict(said["report"])
                if "error" in said:
                    raise _rebuilt(said["error"])
        except (BrokenPipeError, ValueError):
            pass  # it has ended: why is said below
        finally:
            ended.set()
            watching.join()
            worker.kill()
    if cancelled is not None and cancelled():
        raise Cancelled
    raise EngineError(
        "The examination of the data ended unexpectedly.", remedy="`ftconsole data check` says more in a terminal."
    )


def in_main_thread() -> bool:
    """Whether a template that does not end can be stopped here; elsewhere ask `examine_apart`."""
    return threading.current_thread() is threading.main_thread()


@dataclass(slots=True)
class _Found:
    count: int = 0
    lines: list[tuple[str, int]] = field(default_factory=list)
    examples: dict[str, int] = field(default_factory=dict)
    """How often each was said; of many different ones, of the first."""


class _Examination:
    def __init__(self, asked: Asked, progress: Callable[[int], None], cancelled: Callable[[], bool]) -> None:
        self.asked, self.progress, self.cancelled = asked, progress, cancelled
        self.found: dict[str, _Found] = {}
        self.whole: list[Finding] = []
        """What is true of the data as a whole."""
        self.rows_in = 0
        self.method = METHODS[asked.method] if asked.method is not None else None
        self.long: list[tuple[Row, tuple[str, ...]]] = []
        """Rows that may be longer than the limit, and how they are rendered, of a pair with either answer."""
        self.kinds: dict[str, int] = {}
        self.types: dict[str, int] = {}
        self.labels = {True: 0, False: 0}
        self.differences = _Moments(), _Moments()
        """Characters of chosen and of rejected answers."""
        self.seen: dict[int, int] = {}
        """Line by hash of question and answer, over all training files."""
        self.asked_in_training: set[int] = set()
        self.template: ChatTemplate | None = None

    def report(self) -> Report:
        self._load_template()
        files = [("train", path, self.asked.limit) for path in self.asked.train]
        files += [(name, path, None) for name, path in self.asked.validation.items()]
        trained = 0
        for split, path, limit in files:
            before = self._left_out()
            rows_before = self.rows_in
            for item in _read(Path(path), limit, self.asked.mapping):
                if isinstance(item, Row):
                    self._look(item, training=split == "train")
                else:
                    self._list(_code_of(item), item.path, item.line, item.reason)
                self.rows_in += 1
                if self.rows_in % _BATCH == 0:
                    self._measure_long()
                    self.progress(self.rows_in)
                    if self.cancelled():
                        raise Cancelled
            self._measure_long()
            if split == "train":
                trained += self.rows_in - rows_before - (self._left_out() - before)
                if path == self.asked.train[-1]:
                    self._weigh()
        self.progress(self.rows_in)
        if self.asked.train and not trained and not self._explains_nothing():
            if self.rows_in:
                self._tell("no-rows", "grave", "No training row is left to learn from", "See what was listed above it.")
            else:
                self._tell("no-rows", "grave", "There is no row in the training data",
                           f"A row is a JSON object on one line, such as {SHAPES['alpaca'].example}, or a line of a "
                           "table.")  # fmt: skip
        findings = [*self.whole, *map(self._finding, self.found)]
        order = {"grave": 0, "warning": 1, "note": 2}
        findings.sort(key=lambda one: (order[one.grade], -one.count))
        listed = self._left_out()
        return Report(tuple(findings), self.rows_in, self.rows_in - listed, listed, self.template is not None)

    def _load_template(self) -> None:
        if self.asked.model is None:
            return
        try:
            self.template = load_template(
                Path(self.asked.model), override=self.asked.chat_template, eos_token=self.asked.eos_token
            )
        except TemplateMissing as error:
            self._tell("template-missing", "grave", error.message.rstrip("."), error.remedy)

    # -- one row ---------------------------------------------------------------------------------------------

    def _look(self, row: Row, *, training: bool) -> None:
        if training:
            self.kinds[row.kind] = self.kinds.get(row.kind, 0) + 1
        if self._has_no_use_for(row, training=training):
            return
        asked, said = _question(row), row.completion[-1]["content"] if row.completion else ""
        key = hash((asked, said, tuple(row.input_ids or ()), row.label))
        question = hash(" ".join(asked.casefold().split())) if asked else key
        if training:
            if key in self.seen:
                self._list("duplicate-row", row.path, row.line, f"as line {self.seen[key]}")
            elif len(self.seen) < _REMEMBERED:
                self.seen[key] = row.line
            else:
                self._tell("not-compared", "note", f"Equal rows were looked for among the first {_REMEMBERED:,} only",
                           "Split the file to have the others compared.")  # fmt: skip
            if self.asked.validation:
                self.asked_in_training.add(question)
            kind = row.dataset_type
            if kind is not None:
                self.types[kind] = self.types.get(kind, 0) + 1
        elif key in self.seen or question in self.asked_in_training:
            self._list("validation-leak", row.path, row.line, "")
        if row.kind == "tokenised":
            self._look_at_tokens(row)
            return
        if row.kind == "kto" and row.label is not None:
            self.labels[row.label] += 1
        if row.kind == "preference":
            self._compare(row)
        if self.template is not None and row.kind != "text":
            self._look_at_rendering(row)

    def _has_no_use_for(self, row: Row, *, training: bool) -> bool:
        """List a row that the method does not learn from."""
        method = self.method
        if method is None:
            return False
        if row.kind not in method.kinds:
            learned = " and ".join(KINDS[kind] for kind in method.kinds)
            self._list(
                "other-kind",
                row.path,
                row.line,
                f"{self.asked.method} learns from {learned}, and this holds {KINDS[row.kind]}",
            )
            return True
        if not method.pushes_away or not training:
            return False
        wanted = ("unlearn", "retain") if self.asked.uses_retain else ("unlearn",)
        if row.dataset_type not in wanted:
            kind = row.dataset_type or "nothing"
            self._list("other-type", row.path, row.line, f"its metadata.dataset_type says {kind[:40]}")
        return row.dataset_type not in wanted

    def _look_at_tokens(self, row: Row) -> None:
        labels = row.labels if row.labels is not None else row.input_ids or []
        limit = self.asked.max_length
        if all(label == -100 for label in labels[:limit]):
            self._list("trains-on-nothing", row.path, row.line, "all labels are -100")
        elif limit is not None and len(labels) > limit:
            self._list("answer-cut", row.path, row.line, f"{len(labels)} tokens")

    def _compare(self, row: Row) -> None:
        chosen, rejected = ("".join(message["content"] for message in side) for side in (row.completion, row.rejected))
        if chosen.strip() == rejected.strip():
            self._list("chosen-equals-rejected", row.path, row.line, "")
        for moments, text in zip(self.differences, (chosen, rejected), strict=True):
            moments.add(len(text))

    def _look_at_rendering(self, row: Row) -> None:
        template = self.template
        assert template is not None
        for message in (*row.prompt, *row.completion, *row.rejected):
            if mark := template.controls.search(message["content"]):
                self._list("control-tokens", row.path, row.line, mark[0])
                break
        answers = (row.completion, row.rejected) if row.rejected else (row.completion,)
        try:
            rendered = tuple([template.render([*row.prompt, *answer]) for answer in answers])
        except TemplateRefuses as error:
            self._list("template-refuses", row.path, row.line, error.message)
            return
        except TemplateEndless as error:
            self._tell("template-endless", "grave", error.message.rstrip("."), error.remedy)
            self.template = None  # once is enough: every row would take as long
            return
        ends, endless = tuple(template.ends), False
        for text, answer in zip(rendered, answers, strict=True):
            said = answer[-1]["content"].strip()
            at = text.rfind(said)
            if at < 0 or (row.prompt and row.prompt[-1]["content"].strip() not in text):
                self._list("template-ignores-content", row.path, row.line, "")
                break
            # First by how it ends: a short answer may stand in the end token itself.
            endless = endless or (
                not text.rstrip().endswith(ends) and all(text.find(end, at + len(said)) < 0 for end in ends)
            )
        else:
            if endless:
                self._list("eos-not-trained", row.path, row.line, "")
        bos = template.special.get("bos_token", "")
        if bos and bos not in template.ends and rendered[0].startswith(bos + bos):
            self._list("double-bos", row.path, row.line, "")
        limit = self.asked.max_length
        if limit is not None and any(self._may_reach(text, limit) for text in rendered):
            self.long.append((row, rendered))

    def _measure_long(self) -> None:
        """Tokenise the rows that may be too long, and tell those that are."""
        long, self.long = self.long, []
        limit, template = self.asked.max_length, self.template
        if not long or template is None or limit is None:
            return
        # A line of 20 MB would take half a minute, and its beginning says as much.
        clip = max(_CLIPPED, limit * _LONGEST_TOKEN)
        whole = iter(template.encode_all([text[:clip] for _, rendered in long for text in rendered]))
        sides = [(row, [next(whole) for _ in rendered]) for row, rendered in long]
        over = [(row, ids) for row, ids in sides if any(len(each) > limit for each in ids)]
        asked = [
            prompt[:clip] if self._may_reach(prompt, limit) else "" for prompt in (self._prompt(row) for row, _ in over)
        ]
        prompts = iter(template.encode_all([prompt for prompt in asked if prompt]))
        for (row, ids), prompt in zip(over, asked, strict=True):
            prompt_ids = next(prompts) if prompt else []
            # A pair is left out where its question fills the length, which ends where either answer departs from it.
            if prompt and all(_common(prompt_ids, each) >= limit for each in ids):
                more = "more than " if len(prompt) == clip else ""
                self._list("trains-on-nothing", row.path, row.line, f"its question has {more}{len(prompt_ids)} tokens")
            else:
                more = "more than " if _characters(row) >= clip else ""
                self._list("answer-cut", row.path, row.line, f"{more}{max(map(len, ids))} tokens")

    def _prompt(self, row: Row) -> str:
        """Return the question as rendered; empty where it is learned as well, or cannot be rendered alone."""
        assert self.template is not None
        compared = row.kind in ("preference", "kto")  # of which the answers alone are learned, whatever is set
        if not row.prompt or not (self.asked.completion_only_loss or compared):
            return ""
        try:
            return self.template.render(row.prompt, add_generation_prompt=True)
        except TemplateRefuses:
            return ""

    def _may_reach(self, text: str, limit: int) -> bool:
        """Whether a text may have `limit` tokens. A token is a byte or more; some tokenizers put a space in front."""
        assert self.template is not None
        if self.template.may_grow or len(text) + 2 >= limit:
            return True
        return len(text) * 4 + 2 >= limit and len(text.encode(errors="replace")) + 2 >= limit

    # -- the whole -------------------------------------------------------------------------------------------

    def _weigh(self) -> None:
        """Compare the training rows with each other, once all are read."""
        several = [kind for kind, count in self.kinds.items() if count]
        if len(several) > 1:
            counts = ", ".join(f"{count} {kind}" for kind, count in self.kinds.items())
            self._tell("mixed-shapes", "grave", f"The training rows are of several kinds: {counts}",
                       "Put each kind into a file and a run of its own.")  # fmt: skip
        for kind in self.method.needs if self.method is not None else ():
            if not self.types.get(kind):
                self._tell("no-rows", "grave", f"There is no row to {kind}: none has it as metadata.dataset_type",
                           f"Give the rows to {kind} that type, or name a file with some.")  # fmt: skip
        retain, unlearn = self.types.get("retain", 0), self.types.get("unlearn", 0)
        if retain and unlearn and min(retain, unlearn) / (retain + unlearn) < _SCARCE:
            self._tell("retain-unlearn-imbalance", "warning",
                       f"{retain} rows to retain stand against {unlearn} to unlearn",
                       "Bring them nearer to each other: the scarce kind is hardly learned.")  # fmt: skip
        good, bad = self.labels[True], self.labels[False]
        if good + bad and min(good, bad) / (good + bad) < _SCARCE:
            self._tell("label-imbalance", "warning", f"{good} rows are labelled good and {bad} bad",
                       "Add rows of the scarce label, or weigh them with the method's options.")  # fmt: skip
        chosen, rejected = self.differences
        effect = _cohens_d(chosen, rejected)
        if effect is not None and abs(effect) >= _LARGE_EFFECT:
            than = "longer" if effect > 0 else "shorter"
            self._tell("length-bias", "warning",
                       f"Chosen answers are {than} than rejected ones: {chosen.mean:.0f} against {rejected.mean:.0f} "
                       f"characters, Cohen's d {effect:.2f}",
                       "Make the pairs alike in length, or the model learns the length.")  # fmt: skip

    def _list(self, code: str, path: Path, line: int, example: str) -> None:
        found = self.found.get(code)
        if found is None:
            found = self.found[code] = _Found()
        found.count += 1
        if example in found.examples or len(found.examples) < _MANY_REASONS:
            found.examples[example] = found.examples.get(example, 0) + 1
        if len(found.lines) < SHOWN_LINES:
            found.lines.append((str(path), line))

    def _tell(self, code: str, grade: Grade, message: str, remedy: str) -> None:
        if all(one.code != code for one in self.whole):
            self.whole.append(Finding(code, grade, 1, (), message, remedy))

    def _left_out(self) -> int:
        return sum(self.found[code].count for code in _LEFT_OUT if code in self.found)

    def _explains_nothing(self) -> bool:
        return any(self.found[code].count > self.rows_in * _MOST for code in _LEFT_OUT if code in self.found)

    def _finding(self, code: str) -> Finding:
        found = self.found[code]
        wording = _WORDS[code]
        share = found.count / max(1, self.rows_in)
        grade: Grade = wording.grade
        if wording.escalates and share > _MOST:
            grade = "grave"
        rows = "1 row" if found.count == 1 else f"{found.count} rows"
        message = wording.message.format(
            rows=rows,
            example=_reasons(found) if code in _REASONED else next(iter(found.examples))[:160],
            limit=self.asked.max_length,
            of=self.rows_in,
            **{verb: singular if found.count == 1 else verb for verb, singular in _VERBS.items()},
        )
        return Finding(code, grade, found.count, tuple(found.lines), message, wording.remedy, code in _LEFT_OUT)


@dataclass(frozen=True, slots=True)
class _Wording:
    grade: Grade
    message: str
    remedy: str
    escalates: bool = True
    """Whether it is grave when it is true of most rows."""


_LEFT_OUT = (
    "malformed-line", "unusable-row", "empty-answer", "unknown-role", "other-kind", "other-type", "template-refuses",
    "trains-on-nothing",
)  # fmt: skip
"""Rows with these are not learned."""
_REASONED = ("malformed-line", "unusable-row", "empty-answer", "unknown-role", "other-type", "template-refuses")
"""Of these the rows differ in what is wrong with them."""
_VERBS = {"are": "is", "have": "has", "begin": "begins", "teach": "teaches", "ask": "asks", "their": "its"}
_WORDS: Mapping[str, _Wording] = {
    "malformed-line": _Wording("grave", "{rows} cannot be read: {example}", "Correct or delete those lines."),
    "unusable-row": _Wording(
        "warning", "{rows} of {of} {are} no example: {example}", "Correct them, or name the columns with data.mapping."
    ),
    "empty-answer": _Wording(
        "warning", "{rows} of {of} {have} an empty question or answer: {example}", "Fill or delete them."
    ),
    "unknown-role": _Wording(
        "warning", "{rows} of {of}: {example}", "Roles are system, user, assistant, tool and developer."
    ),
    "other-kind": _Wording("grave", "{rows}: {example}", "Name another method, or another file."),
    "other-type": _Wording(
        "warning",
        "{rows} of {of} {are} neither to unlearn nor to retain, as this method does it: {example}",
        "Name the type of each row in metadata.dataset_type: retain or unlearn.",
    ),
    "template-refuses": _Wording(
        "grave",
        "{rows}: {example}",
        "Change those rows, or set model.chat_template; named in data.accept, they are left out.",
    ),
    "template-ignores-content": _Wording(
        "warning",
        "Of {rows} of {of} the chat template leaves out a part of the text",
        "Look at one with `ftconsole data show`; another template can be set with model.chat_template.",
    ),
    "eos-not-trained": _Wording(
        "warning",
        "In {rows} of {of} no token ends the answer, so the model would not learn to stop",
        "Set model.chat_template to one that writes the end after an answer.",
    ),
    "double-bos": _Wording(
        "warning", "{rows} of {of} {begin} with two beginning-of-sequence tokens", "Take the token out of the rows."
    ),
    "control-tokens": _Wording(
        "warning",
        "{rows} of {of} {have} control tokens in {their} text, such as {example}",
        "Give plain messages: the template adds its marks itself.",
    ),
    "trains-on-nothing": _Wording(
        "warning",
        "{rows} of {of} {teach} nothing: the question alone fills max_length {limit} ({example})",
        "Set data.max_length higher, or shorten the questions.",
    ),
    "answer-cut": _Wording(
        "warning",
        "{rows} of {of} {are} longer than max_length {limit}, which cuts off the end of the answer ({example})",
        "Set data.max_length higher, or shorten them; a model taught without ends does not stop.",
    ),
    "duplicate-row": _Wording("note", "{rows} of {of} {are} there already ({example})", "Delete the copies.", False),
    "validation-leak": _Wording(
        "warning",
        "{rows} for validation {ask} what is trained on: that loss says little",
        "Take them out of one of the two.",
        False,
    ),
    "chosen-equals-rejected": _Wording(
        "grave", "In {rows} of {of} the chosen answer is the rejected one", "Delete them: they prefer nothing."
    ),
}


def _reasons(found: _Found) -> str:
    """Return the most frequent reasons, with how often each was met where there are several."""
    most = sorted(found.examples.items(), key=lambda each: -each[1])
    if len(most) == 1:
        return most[0][0][:160].rstrip(".")
    said = "; ".join(f"{reason[:120].rstrip('.')} ({count})" for reason, count in most[:_SHOWN_REASONS])
    return said if len(most) <= _SHOWN_REASONS else f"{said}; and others"


def _code_of(problem: Problem) -> str:
    if problem.malformed:
        return "malformed-line"
    if _ROLE in problem.reason:
        return "unknown-role"
    if problem.reason.endswith(_EMPTY):
        return "empty-answer"
    return "unusable-row"


def _read(path: Path, limit: int | None, mapping: Mapping[str, str] | None) -> Iterator[Row | Problem]:
    return read_rows(path, limit=limit, mapping=mapping)


def _question(row: Row) -> str:
    return "\n".join([message["content"] for message in row.prompt])


def _characters(row: Row) -> int:
    return sum(len(message["content"]) for message in (*row.prompt, *row.completion))


def _common(some: Sequence[int], others: Sequence[int]) -> int:
    for position, (one, other) in enumerate(zip(some, others, strict=False)):
        if one != other:
            return position
    return min(len(some), len(others))


@dataclass(slots=True)
class _Moments:
    """Running count, mean and sum of squared deviations (Welford)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        away = value - self.mean
        self.mean += away / self.count
        self.squares += away * (value - self.mean)


def _cohens_d(some: _Moments, others: _Moments) -> float | None:
    """Return the difference of the means over the pooled standard deviation; None for too few or equal values."""
    freedom = some.count + others.count - 2
    if freedom < 2:
        return None
    pooled = math.sqrt((some.squares + others.squares) / freedom)
    return (some.mean - others.mean) / pooled if pooled else None


def _rebuilt(read: dict[str, Any]) -> EngineError:
    error = EngineError(read["message"], remedy=read["remedy"])
    error.code, error.exit_code = read["code"], read["exit_code"]  # type: ignore[misc]
    return error


def main() -> int:
    """Read what is asked from stdin, write progress and the report to stdout as JSON lines."""
    read = json.load(sys.stdin)
    asked = Asked(**{**read, "train": tuple(read["train"])})

    def say(what: dict[str, Any]) -> None:
        print(json.dumps(what), flush=True)

    try:
        report = examine_files(asked, progress=lambda rows: say({"rows": rows}))
    except EngineError as error:
        say({"error": {**error.as_dict(), "exit_code": error.exit_code}})
        return 1
    say({"report": report.as_dict()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
