"""`ftconsole chat`: two models, the same questions, both answers; without a screen."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from engine.chat.asking import SIDES, AnswerFailed, AnswerFinished, Progress, Sampling, Side, TextArrived
from engine.chat.chat_files import new_conversation
from engine.chat.conversation import Answer, Conversation, Turn
from engine.chat.placing import LoadOptions
from engine.chat.prompts import Prompt, from_lines, read_prompts
from engine.chat.session import Session, make_session
from engine.chat.votes import HIDDEN_FAILURE, column, is_swapped
from engine.errors import EngineError, UsageError
from engine.spec import BASE, Endpoint, LocalModel, pair_of
from engine.workspace import Workspace
from tui.cli import output
from tui.display import plain

_SHOWN_LEFT_OUT = 5


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of whom."""

    left: str | None
    right: str | None
    prompts: str | None
    """A file."""
    prompt: tuple[str, ...] = ()
    blind: bool = False
    system: str = ""
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(frozen=True, slots=True)
class Loading:
    """How local models are loaded."""

    device: str = "auto"
    dtype: str = "auto"
    load_in_4bit: bool = False
    load_in_8bit: bool = False
    yes: bool = False
    """Load without asking although a run trains on the same device."""


def chat(
    workspace: str | None,
    asked: Asked,
    loading: Loading,
    given: Mapping[str, str | int | None] | None = None,
    *,
    as_json: bool,
) -> int:
    """Ask both sides and print what they say. With a terminal and no question: open the console on the chat.

    Returns 0, or the exit code of the first answer that failed.

    Raises:
        EngineError: A side names no model, there is no question, or nothing can be loaded.
    """
    place = Workspace.find(workspace)
    if asked.prompts is None and not asked.prompt and output.is_terminal(sys.stdin):
        if not as_json and output.is_terminal(sys.stdout):
            return _in_console(place, asked, loading, given or {})
        raise UsageError("There is no question.", remedy="Say --prompt or --prompts, or write lines to stdin.")
    if asked.left is None and asked.right is None:
        raise UsageError(
            "No model is named.", remedy="Name one with --left, such as a run; the other side is its base."
        )
    left, right = pair_of(place, asked.left or BASE, asked.right or BASE)
    prompts = _prompts(place, asked)
    bits = {"load_in_4bit": loading.load_in_4bit, "load_in_8bit": loading.load_in_8bit}
    session = make_session(place, left, right, load=LoadOptions(loading.device, loading.dtype, **bits))
    output.note(plain(session.path) if not asked.blind else "Names are hidden until `ftconsole vote` is told.")
    _ask_before_loading(session, loading)
    seed = None
    if asked.blind:
        seed = asked.sampling.seed if asked.sampling.seed is not None else random.SystemRandom().randrange(1 << 31)
    talk = new_conversation(place, left.given, right.given, system=asked.system, blind_seed=seed)
    printer = _Lines(talk) if as_json else _Text(talk)
    try:
        failed = asyncio.run(_ask_all(session, talk, prompts, asked.sampling, (left, right), printer))
    finally:
        talk.close()
    output.note(f"Kept as {talk.name}: `ftconsole chats {talk.name}`.")
    return 0 if failed is None else failed.exit_code


def _in_console(place: Workspace, asked: Asked, loading: Loading, given: Mapping[str, str | int | None]) -> int:
    """Show the chat screen until the user leaves the console; return its exit code.

    Raises:
        EngineError: A side names no model, or this is no terminal a console could be drawn on.
    """
    from tui.console import run_console
    from tui.registry import SCREENS, chat_of
    from tui.settings import load_settings

    subject = None
    if asked.left is not None or asked.right is not None:
        subject = f"{asked.left or BASE}\n{asked.right or BASE}"
        pair_of(place, asked.left or BASE, asked.right or BASE)
    options = LoadOptions(
        loading.device, loading.dtype, load_in_4bit=loading.load_in_4bit, load_in_8bit=loading.load_in_8bit
    )
    chat = chat_of(blind=asked.blind, system=asked.system, sampling=asked.sampling, load=options)
    screens = [chat if entry.name == chat.name else entry for entry in SCREENS]
    return run_console(place.path, opening=(chat.name, subject), settings=load_settings(given), screens=screens)


def _prompts(place: Workspace, asked: Asked) -> Sequence[Prompt]:
    if asked.prompts is not None:
        found, left_out = read_prompts(place.data_file(asked.prompts))
        for reason in left_out[:_SHOWN_LEFT_OUT]:
            output.note(f"left out: {plain(reason)}", style="warning")
        if len(left_out) > _SHOWN_LEFT_OUT:
            output.note(f"and {len(left_out) - _SHOWN_LEFT_OUT} more", style="warning")
        return [*from_lines(asked.prompt), *found]
    if asked.prompt:
        return [Prompt(text) for text in asked.prompt if text.strip()]
    if sys.stdin is None:
        raise UsageError("There is no question.", remedy="Name a file with --prompts, or write lines to stdin.")
    try:
        found = from_lines(sys.stdin)
    except UnicodeDecodeError:
        raise UsageError("What stands on stdin is no text.", remedy="Write one question on each line.") from None
    if not found:
        raise UsageError("There is no question on stdin.", remedy="Write one on each line, or name a file.")
    return found


def _ask_before_loading(session: Session, loading: Loading) -> None:
    """Say what loading would take where that matters, and ask.

    Raises:
        UsageError: It was not wanted, or nobody can be asked.
    """
    needs = session.needs()
    if not needs.ask_first:
        return
    output.note(plain(needs.sentence()), style="warning")
    if loading.yes:
        return
    if not (output.is_terminal(sys.stdin) and output.is_terminal(sys.stderr)):
        raise UsageError(plain(needs.sentence()), remedy="Say --yes if that is meant, or choose another --device.")
    output.note("Load it all the same? [y/N]")
    try:
        answer = sys.stdin.readline().strip().lower()
    except UnicodeDecodeError:
        answer = ""
    if answer not in ("y", "yes"):
        raise UsageError("Nothing was loaded: that was no yes.")


async def _ask_all(
    session: Session,
    talk: Conversation,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    models: tuple[LocalModel | Endpoint, LocalModel | Endpoint],
    printer: _Lines | _Text,
) -> EngineError | None:
    """Ask one question after the other; return the first failure. Ends where neither side answers any more."""
    first: EngineError | None = None
    labels: dict[Side, str] = {"left": models[0].label, "right": models[1].label}
    try:
        async with contextlib.aclosing(session.open()) as opening:
            async for progress in opening:
                output.note(plain(progress.what))
        for prompt in prompts:
            turn = talk.begin(prompt.text, category=prompt.category, before=prompt.before)
            printer.begin(turn)
            questions = {side: talk.question(side, sampling) for side in SIDES}
            texts: dict[Side, list[str]] = {"left": [], "right": []}
            failures = []
            async with contextlib.aclosing(session.ask(questions)) as answers:
                async for said in answers:
                    if isinstance(said, TextArrived):
                        texts[said.side].append(said.text)
                        printer.text(said.side, said.text)
                    elif isinstance(said, Progress):
                        output.note(plain(said.what))
                    elif isinstance(said, AnswerFinished | AnswerFailed):
                        text = "".join(texts[said.side])
                        answer = talk.take_said(turn.id, text, said, sampling, model=labels[said.side])
                        printer.end(said.side, answer)
                        if isinstance(said, AnswerFailed):
                            failures.append(said.error)
            printer.finish(talk.turns[turn.id])
            first = first or next(iter(failures), None)
            if len(failures) == len(SIDES):
                if prompt is not prompts[-1]:
                    output.note("Neither side answers: the rest is not asked.", style="warning")
                break
    finally:
        await session.close()
    return first


class _Lines:
    """One JSON object per question."""

    def __init__(self, talk: Conversation) -> None:
        self.talk = talk

    def begin(self, turn: Turn) -> None: ...

    def text(self, side: Side, text: str) -> None: ...

    def end(self, side: Side, answer: Answer) -> None: ...

    def finish(self, turn: Turn) -> None:
        record: dict[str, Any] = {
            "conversation": self.talk.name,
            "turn": turn.id,
            "prompt": turn.prompt,
            "category": turn.category,
            "blind": self.talk.blind_seed is not None,
        }
        for shown, name in _places(self.talk).items():
            answer = turn.answer(column(shown, swapped=_swapped(self.talk, turn.id)))
            if answer is None:
                record[name] = None
            elif self.talk.blind_seed is not None:
                record[name] = {"text": answer.text, "reason": answer.reason}  # its speed would tell whose it is
            else:
                record[name] = {**asdict(answer), "sampling": None if answer.sampling is None else {**answer.sampling}}
        output.out(output.json_text(record, lines=True))


class _Text:
    """The first side as it comes; the other is kept until the first is over."""

    def __init__(self, talk: Conversation) -> None:
        self.talk = talk
        self.turn = 0
        self.order: list[Side] = []
        """The columns, in the order they are printed; the first is being printed."""
        self.kept: dict[Side, str] = {}
        self.ended: dict[Side, Answer] = {}

    def begin(self, turn: Turn) -> None:
        self.turn = turn.id
        output.out(f"> {turn.prompt}", style="bold")
        self.order = [column(shown, swapped=_swapped(self.talk, turn.id)) for shown in SIDES]
        self.kept, self.ended = dict.fromkeys(SIDES, ""), {}
        self._head()

    def text(self, side: Side, text: str) -> None:
        self.kept[side] += text
        if self.order and side == self.order[0]:
            self._flush(side)

    def end(self, side: Side, answer: Answer) -> None:
        self.ended[side] = answer
        while self.order and self.order[0] in self.ended:
            done = self.order.pop(0)
            self._flush(done, whole=True)
            self._figures(self.ended[done])
            if self.order:
                self._head()
                self._flush(self.order[0])

    def finish(self, turn: Turn) -> None:
        if self.talk.blind_seed is not None:
            output.note(f"`ftconsole vote {self.talk.name} {turn.id} a|b|tie|both-bad` says whose they were.")
        output.out()

    def _head(self) -> None:
        side = self.order[0]
        shown: Side = column(side, swapped=_swapped(self.talk, self.turn))
        output.out(f"-- {_places(self.talk)[shown]}", style="dim")

    def _flush(self, side: Side, *, whole: bool = False) -> None:
        """Print what has come, by whole lines: half an escape sequence looks like none."""
        text = self.kept[side]
        cut = len(text) if whole else text.rfind("\n") + 1
        if cut:
            output.out(text[:cut], end="" if text[:cut].endswith("\n") else "\n")
            self.kept[side] = text[cut:]

    def _figures(self, answer: Answer) -> None:
        blind = self.talk.blind_seed is not None
        if answer.error is not None and blind:
            output.note(f"error: {HIDDEN_FAILURE}", style="error")
        elif answer.error is not None:
            output.note(f"error: {answer.error['message']}", style="error")
            if answer.error.get("remedy"):
                output.note(f"  {answer.error['remedy']}")
        elif not blind:
            output.note(f"   {figures(answer)}", style="dim")


def figures(answer: Answer) -> str:
    """Return what is known of an answer on one line."""
    about = "" if answer.counted == "exactly" else "about "
    parts = [f"{about}{answer.num_tokens} tokens"]
    if answer.first_token_seconds is not None:
        parts.append(f"first after {answer.first_token_seconds:.2f} s")
    if answer.tokens_per_second is not None:
        parts.append(f"{answer.tokens_per_second:.0f} tokens/s")
    return ", ".join([*parts, answer.reason])


def _swapped(talk: Conversation, turn: int) -> bool:
    return talk.blind_seed is not None and is_swapped(talk.blind_seed, turn)


def _places(talk: Conversation) -> dict[Side, str]:
    """Return what the places of the screen are called."""
    return {"left": "a", "right": "b"} if talk.blind_seed is not None else {"left": "left", "right": "right"}
