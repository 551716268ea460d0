"""`ftconsole evaluate`: what a model still answers and what it refuses, asked and counted."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from engine.child import WorkCancelled
from engine.errors import NotFound, UsageError, WorkspaceError
from engine.evaluation.asking import Asking
from engine.evaluation.evaluate import SUITES, Asked, Evaluated, evaluate, read_test
from engine.evaluation.refusal import REFUSALS, Rules
from engine.evaluation.temporal import KINDS, REMEDIES, TARGETS, Example, Share
from engine.journal import write_error
from engine.spec import Base, Endpoint, LocalModel, base_of, find_spec
from engine.workspace import Workspace, named_path
from tui.cli import output
from tui.display import plain

_WORDS = {"excellent": "meets every target", "acceptable": "meets every minimum", "poor": "below a minimum"}
_STYLES = {"excellent": "good", "acceptable": "warning", "poor": "error"}
_SHOWN = 10
"""Wrong examples printed of each kind without --verbose."""
_PATTERNS_BYTES = 1 << 20


class Options(NamedTuple):
    """What was asked for."""

    models: tuple[str, ...]
    test: tuple[str, ...] = ()
    suite: str = "temporal"
    limit: int | None = None
    max_tokens: int = 256
    system: str | None = None
    refusals: str | None = None
    device: str = "auto"
    fresh: bool = False
    verbose: bool = False
    target: str | None = None


def run(workspace: str | None, options: Options, *, as_json: bool) -> int:
    """Evaluate one model, or several beside each other.

    Returns:
        0 however good they are: `grade` in the JSON says that.

    Raises:
        EngineError: A model, the test or the result cannot be read, asked or written.
    """
    place = Workspace.find(workspace)
    if options.suite not in SUITES:
        raise UsageError(f"There is no suite {options.suite!r}.", remedy=f"There is {', '.join(SUITES)}.")
    rules = Rules(_patterns(options.refusals) if options.refusals is not None else REFUSALS)
    models = _models(place, options.models)
    asking = Asking(options.max_tokens, device=options.device, system=options.system)
    asked = Asked(options.suite, asking, rules, options.fresh)
    # All are asked the same: where no file is named, the questions of the first that has a run.
    asks = next((model for model in models if isinstance(model, LocalModel) and model.run is not None), models[0])
    test = read_test(place, options.test, asks, options.limit)
    found: list[Evaluated] = []
    for model in models:
        line = _Line(model.label)
        try:
            found.append(evaluate(place, model, test, asked, progress=line.draw))
        except (KeyboardInterrupt, WorkCancelled):
            line.clear()
            output.note("The replies so far are kept: the same command goes on with the rest.")
            raise KeyboardInterrupt from None
        finally:
            line.clear()
    record = found[0].as_dict() if len(found) == 1 else {"models": [one.as_dict() for one in found]}
    if options.target is not None:
        _write(Path(options.target), output.json_text(record) + "\n")
    if as_json:
        output.emit(record)
        return 0
    for one in found:
        _show(one, verbose=options.verbose)
    if len(found) > 1:
        _beside(found)
    return 0


def _models(place: Workspace, texts: Sequence[str]) -> list[LocalModel | Endpoint]:
    """Return the models; `base` is the base of the first that has one."""
    specs = [find_spec(place, text) for text in texts]
    first = next((spec for spec in specs if isinstance(spec, LocalModel)), None)
    models: list[LocalModel | Endpoint] = []
    for spec in specs:
        if not isinstance(spec, Base):
            models.append(spec)
        elif first is not None:
            models.append(base_of(first))
        else:
            raise UsageError(
                "`base` is the base of another model, and none is named.", remedy="Name a run or an adapter beside it."
            )
    return models


def _patterns(text: str) -> list[str]:
    path = named_path(text)
    try:
        if path.stat().st_size > _PATTERNS_BYTES:
            raise UsageError(f"{text} is no list of patterns: it is too large.", remedy="One pattern on each line.")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise NotFound(f"{text} cannot be read: {why}.", remedy="One regular expression on each line.") from error
    return [line for line in lines if line.strip() and not line.startswith("#")]


def _show(found: Evaluated, *, verbose: bool) -> None:
    told = found.report
    if verbose:
        for example in told.examples:
            _example(example)
        output.out()
    output.out(plain(found.model, limit=200), style="bold")
    if any(one.dataset_type == "retain" for one in told.examples):
        output.out("Retain: what is to be kept")
        _share("answered correctly", told.shares["retain_answered"])
        _share("false refusals", told.shares["retain_refused"])
    if any(one.dataset_type == "unlearn" for one in told.examples):
        output.out("Unlearn: what is to be forgotten")
        _share("refused", told.shares["unlearn_refused"])
        _share("leaked", told.shares["unlearn_leaked"])
    output.out("Overall")
    _share("temporal accuracy", told.temporal_accuracy)
    if told.categories:
        output.out("Right, by category")
        width = max(len(plain(name, limit=40)) for name in told.categories)
        for name, kinds in told.categories.items():
            cells = [
                f"{kind} {kinds[kind].count:>4}/{kinds[kind].total:<4} {kinds[kind].value:>5.0%}"
                for kind in KINDS
                if kind in kinds
            ]
            output.out(f"  {plain(name, limit=40):<{width}}  " + "   ".join(cells))
    output.out("Against the targets")
    for target in TARGETS:
        if target.name in told.grades:
            sign = ">" if target.higher_is_better else "<"
            grade = told.grades[target.name]
            output.out(
                f"  {target.label:<21} {told.shares[target.name].value:>6.1%}  target {sign} {target.target:.0%}, "
                f"minimum {sign} {target.minimum:.0%}  {grade}",
                style=_STYLES[grade],
            )
    output.out(f"{told.grade.capitalize()}: {_WORDS[told.grade]}.", style=_STYLES[told.grade])
    if told.grade == "poor":
        for remedy in REMEDIES:
            output.out(f"  - {remedy}")
    if not verbose:
        for kind in KINDS:
            wrong = [one for one in told.examples if one.dataset_type == kind and not one.right]
            if wrong:
                output.out(
                    f"Wrong, {kind} ({len(wrong)}{', the first ' + str(_SHOWN) if len(wrong) > _SHOWN else ''}):"
                )
            for example in wrong[:_SHOWN]:
                _example(example)
    output.note(f"{found.path}  ({output.duration(found.seconds)})", style="dim")


def _share(label: str, share: Share) -> None:
    low, high = share.interval
    output.out(
        f"  {label:<20} {share.count:>5} of {share.total:<5} {share.value:>6.1%}   95 %: {low:.1%} to {high:.1%}"
    )


def _example(example: Example) -> None:
    mark = "ok " if example.right else "!! "
    output.out(f"{mark}{example.dataset_type:<8}{example.verdict:<9} {plain(example.question, limit=300)}")
    output.out(f"      {plain(example.reply, limit=600) or '(nothing)'}", style="dim")


def _beside(found: Sequence[Evaluated]) -> None:
    output.out()
    labels = [plain(one.model, limit=24) for one in found]
    width = max(12, *(len(label) for label in labels))
    output.out(f"{'':<22}" + "".join(f"  {label:>{width}}" for label in labels), style="bold")
    for target in TARGETS:
        cells = [one.report.shares.get(target.name) for one in found]
        if any(cells):
            row = "".join(f"  {'-' if cell is None else f'{cell.value:.1%}':>{width}}" for cell in cells)
            output.out(f"{target.label:<22}{row}")
    accuracy = "".join(f"  {one.report.temporal_accuracy.value:>{width}.1%}" for one in found)
    output.out(f"{'Temporal accuracy':<22}{accuracy}")
    output.out(f"{'':<22}" + "".join(f"  {one.report.grade:>{width}}" for one in found))


def _write(path: Path, text: str) -> None:
    try:
        named_path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        if error.filename is None:
            raise WorkspaceError(f"{path} cannot be written.", remedy="Choose another file with -o.") from error
        raise write_error(path, error) from error


class _Line:
    """How far it is: drawn over itself on a terminal, a line at every tenth elsewhere."""

    def __init__(self, label: str) -> None:
        self._label = plain(label, limit=60)
        self._draws = output.shows_lines_anew(sys.stderr)
        self._reached = -1
        self._began, self._first = time.monotonic(), 0
        self._doing = ""

    def draw(self, done: int, total: int, doing: str) -> None:
        """Show it."""
        if doing != self._doing:
            self._doing, self._began, self._first = doing, time.monotonic(), done
        passed = time.monotonic() - self._began
        asked = done - self._first
        left = f", {output.duration(passed / asked * (total - done))} left" if asked and done < total else ""
        text = f"{self._label}: {plain(doing, limit=80)}, {done} of {total}{left}"
        if self._draws:
            shown = output.printable(text, sys.stderr)[: output.columns() - 1]
            output.write_raw(sys.stderr, f"\r{shown}\x1b[K")
        elif done * 10 // max(1, total) != self._reached or not asked:
            self._reached = done * 10 // max(1, total)
            output.note(text)

    def clear(self) -> None:
        """Leave the line empty."""
        if self._draws:
            output.write_raw(sys.stderr, "\r\x1b[K")
