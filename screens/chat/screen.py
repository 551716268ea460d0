"""Two models, one prompt: work asks them, handlers keep what they say, the view draws it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.timer import Timer

from engine.chat.asking import (
    SIDES,
    AnswerFailed,
    AnswerFinished,
    Progress,
    Question,
    Said,
    Sampling,
    Side,
    TextArrived,
)
from engine.chat.chat_files import new_conversation
from engine.chat.conversation import Conversation, Turn
from engine.chat.needs import Needs, needs_of
from engine.chat.placing import LoadOptions
from engine.chat.session import Session, make_session
from engine.chat.votes import VERDICTS, Verdict, cast_vote, read_votes, vote_on
from engine.errors import EngineError, UsageError
from engine.runs.catalogue import read_catalogue
from engine.spec import BASE, Endpoint, LocalModel, pair_of
from engine.workspace import Workspace
from screens.chat.column import Column
from screens.chat.composer import Composer
from screens.chat.heads import Heads, PathLine
from screens.chat.talk import VIEWED, VIEWS, Coming, Talk
from tui.console_screen import ConsoleScreen
from tui.display import plain
from tui.messages import CopyText
from tui.widgets.cells import Piece
from tui.widgets.confirm import Confirm

FRAME_SECONDS = 0.25
"""Between two drawings while answers come. Fifty tokens a second on each side are then four drawings, not a hundred."""
WAITING_SECONDS = 1.0
"""Between two drawings while nothing comes: only how long that has been is new."""
_WAIT = "Wait for the answers, or stop them with X."


@dataclass(frozen=True, slots=True)
class Beginning:
    """What the first conversation has, where the command line says so."""

    blind: bool = False
    system: str = ""
    sampling: Sampling = field(default_factory=Sampling)
    load: LoadOptions = field(default_factory=LoadOptions)


def new_seed() -> int:
    """Return what the sides are shuffled by."""
    return random.SystemRandom().randrange(1 << 31)


class ChatScreen(ConsoleScreen):
    """Two models beside each other.

    Args:
        workspace: Where runs, models and conversations are.
        begin: What the first conversation has; None for the usual.
        talk: What is shown instead, with no model behind it. For tests.
        clock: `time.monotonic`. For tests that show a moment.
    """

    TITLE = "Chat"
    HELP = (
        "One question, two models. Write below and press Enter; Esc leaves the line, and letters are keys then. "
        "Esc once more stops answers that are coming. Nothing is loaded before the first question."
    )
    CSS_PATH = "screen.tcss"
    AUTO_FOCUS = "Composer"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("i,a", "write", "Write", id="chat.write", tooltip="To the line for the question"),
        Binding("r", "again", "Again", id="chat.again", tooltip="Ask both the last question once more"),
        Binding("R", "again_here", "Again here", show=False, id="chat.again-here",
                tooltip="Ask the side that has the focus once more"),
        Binding("x", "stop_here", "Stop here", show=False, id="chat.stop-here",
                tooltip="End the answer of the side that has the focus; the other goes on"),
        Binding("X,ctrl+x", "stop", "Stop", id="chat.stop", tooltip="End both answers where they are; so does Esc"),
        Binding("l", "apart", "Scroll apart", show=False, id="chat.apart",
                tooltip="Scroll each side for itself, or both together, turn by turn"),
        Binding("tab", "next_pane(1)", "Next pane", show=False, id="chat.next"),
        Binding("shift+tab", "next_pane(-1)", "Previous pane", show=False, id="chat.previous"),
        Binding("v", "view", "View", id="chat.view", tooltip="Markdown, the raw text, or the words that differ"),
        Binding("1", "vote('left')", "Left", show=False, id="chat.vote-left", tooltip="The left answer is better"),
        Binding("2", "vote('right')", "Right", show=False, id="chat.vote-right", tooltip="The right answer is better"),
        Binding("3", "vote('tie')", "Tie", show=False, id="chat.vote-tie", tooltip="Neither is better"),
        Binding("4", "vote('both-bad')", "Both bad", show=False, id="chat.vote-bad", tooltip="Both are bad"),
        Binding("w", "reason", "Why", show=False, id="chat.reason", tooltip="Write down why you voted as you did"),
        Binding("less_than_sign", "ask_for('model', 'left')", "Left model", key_display="<", id="chat.model-left",
                tooltip="Put another model on the left"),
        Binding("greater_than_sign", "ask_for('model', 'right')", "Right model", key_display=">",
                id="chat.model-right", tooltip="Put another model on the right"),
        Binding("B", "blind", "Blind", id="chat.blind",
                tooltip="Hide whose answer is whose, shuffled at each turn, until you vote; again: show names"),
        Binding("n", "next_prompt(1)", "Next", show=False, id="chat.next-prompt",
                tooltip="Ask the next question of the file"),
        Binding("p", "next_prompt(-1)", "Previous", show=False, id="chat.previous-prompt",
                tooltip="Ask the question before it"),
        Binding("f", "ask_for('prompts')", "From file", show=False, id="chat.prompts",
                tooltip="Take questions from a file or a suite"),
        Binding("s", "ask_for('system')", "System", show=False, id="chat.system",
                tooltip="Write what both sides read before the conversation"),
        Binding("o", "ask_for('sampling')", "Sampling", id="chat.sampling",
                tooltip="Temperature, top-p, maximum tokens, seed, stop strings"),
        Binding("O", "share", "Apart", show=False, id="chat.share",
                tooltip="Sampling for each side apart, or the same for both"),
        Binding("M", "ask_for('lm_studio')", "LM Studio", show=False, id="chat.lm-studio",
                tooltip="The models of LM Studio: which are loaded, load one, unload one"),
        Binding("D", "ask_for('loading')", "Loading", show=False, id="chat.loading",
                tooltip="Device, number format and 4 or 8 bits of local models"),
        Binding("e", "ask_for('edit')", "Edit", show=False, id="chat.edit",
                tooltip="Ask something else instead of the last question"),
        Binding("E", "ask_for('edit_answer')", "Edit answer", show=False, id="chat.edit-answer",
                tooltip="Change what the side with the focus is taken to have said"),
        Binding("b", "ask_for('branch')", "Branch", show=False, id="chat.branch",
                tooltip="Go on behind an earlier turn"),
        Binding("left_curly_bracket", "branch(-1)", "Branch before", show=False, id="chat.branch-before",
                tooltip="To the branch beside this one"),
        Binding("right_curly_bracket", "branch(1)", "Branch after", show=False, id="chat.branch-after",
                tooltip="To the next branch beside this one"),
        Binding("left_square_bracket", "other_answer(-1)", "Answer before", show=False, id="chat.answer-before",
                tooltip="Of several answers to the last question, the one before"),
        Binding("right_square_bracket", "other_answer(1)", "Answer after", show=False, id="chat.answer-after",
                tooltip="Of several answers to the last question, the next"),
        Binding("c", "fresh", "New", show=False, id="chat.new", tooltip="Begin a new conversation; this one is kept"),
        Binding("L", "ask_for('reopen')", "Earlier", show=False, id="chat.reopen",
                tooltip="Go on with an earlier conversation"),
        Binding("t", "ask_for('tally')", "Votes", show=False, id="chat.votes",
                tooltip="What the votes add up to; export them as rows for DPO"),
        Binding("W", "ask_for('to_file')", "To file", show=False, id="chat.to-file",
                tooltip="Write the conversation as Markdown"),
        Binding("y", "copy_answer", "Copy", id="chat.copy", tooltip="Copy the last answer of the side with the focus"),
    ]  # fmt: skip

    def __init__(
        self,
        workspace: Path,
        begin: Beginning | None = None,
        *,
        talk: Talk | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(workspace)
        begin = begin or Beginning()
        self.place = Workspace(workspace)
        self.clock = clock
        seed = new_seed() if begin.blind else None
        self._looks_for_models = talk is None
        self.talk = talk or Talk(
            new_conversation(self.place, "", "", system=begin.system, blind_seed=seed),
            dict.fromkeys(SIDES, begin.sampling),
        )
        self.session: Session | None = None
        self.here: Side = "left"
        """The side that had the focus last."""
        self._columns: dict[Side, Column] = {side: Column(side, clock) for side in SIDES}
        self._columns["left"].beside, self._columns["right"].beside = self._columns["right"], self._columns["left"]
        self._heads, self._path, self._composer = Heads(), PathLine(), Composer()
        self.models: dict[Side, LocalModel | Endpoint] = {}
        """What answers."""
        self.load = begin.load
        self._pairing = asyncio.Lock()
        """Held while models are put on the sides."""
        self.scrolls_together = True
        self._drawn_at = 0.0
        self._due: Timer | None = None
        """Draws what has come since."""
        self._waiting: Timer | None = None

    class Changed(Message):
        """Something may look different now. Neighbours in the queue are one."""

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, ChatScreen.Changed)

    # Work

    @work(exclusive=True, group="pair", description="Finding the models", exit_on_error=False)
    async def pair(self, left: str, right: str) -> None:
        """Put two models beside each other. Nothing is loaded."""
        await self._pair(left, right)

    @work(exclusive=True, group="pair", description="Finding the newest run", exit_on_error=False)
    async def pair_newest(self) -> None:
        """Put the newest run that has something to say on the right, and its base on the left."""
        catalogue = await asyncio.to_thread(read_catalogue, self.place.runs)
        runs = sorted(catalogue.runs, key=lambda run: -run.summary.created)
        newest = next((run for run in runs if any(one.fault is None for one in run.checkpoints)), None)
        if newest is not None:
            await self._pair(BASE, newest.summary.name)

    async def _pair(self, left: str, right: str) -> None:
        async with self._pairing:
            self.talk.doing = "Finding the models"
            self.show_path()
            try:
                await self._put(left, right)
            finally:
                self.talk.doing = ""
                self.show_path()

    async def _put(self, left: str, right: str) -> None:
        found = await asyncio.to_thread(pair_of, self.place, left, right)
        models: dict[Side, LocalModel | Endpoint] = dict(zip(SIDES, found, strict=True))
        wanted = await asyncio.to_thread(make_session, self.place, *found, load=self.load)
        changed = [side for side in SIDES if models[side] != self.models.get(side)]
        if self.session is not None and self.talk.open and self.session.options == wanted.options and len(changed) < 2:
            for side in changed:
                if not await self._switched(self.session, wanted, side, models[side]):
                    return
        else:
            before, self.session, self.talk.open = self.session, wanted, False
            if before is not None:
                await before.close()
        self.models = models
        self._take_names()
        self.talk.path = self.session.path
        self.show_talk()

    async def _switched(self, session: Session, wanted: Session, side: Side, model: LocalModel | Endpoint) -> bool:
        """Put another model on a side of what is loaded; what is there already stays in memory."""
        needs = await asyncio.to_thread(needs_of, self.place, wanted.pair, wanted.options, session.loaded)
        if needs.ask_first and not await self._said_yes(needs):
            return False
        try:
            async with contextlib.aclosing(session.switch(side, model)) as switching:
                async for progress in switching:
                    self.talk.doing = progress.what
                    self.show_path()
        finally:
            self.talk.doing = ""
            self.show_path()
        return True

    def _take_names(self) -> None:
        """Write down which models answer from now on."""
        talk = self.talk.conversation
        given = {side: self.models[side].given for side in SIDES}
        self.talk.names = {side: self.models[side].label for side in SIDES}
        if not talk.turns:
            self.talk.conversation = new_conversation(
                self.place, given["left"], given["right"], system=talk.system["left"], blind_seed=talk.blind_seed
            )
        for side in SIDES:
            if self.talk.conversation.models[side] != given[side]:
                self.talk.conversation.set_model(side, given[side])

    async def take_up(self, conversation: Conversation) -> None:
        """Go on with a conversation that was kept, with its own models."""
        self.talk.conversation.close()
        self.talk.conversation, self.talk.names = conversation, {}
        votes, _ = await asyncio.to_thread(read_votes, self.place)
        self.talk.take_votes(votes)
        self._composer.asked = [turn.prompt for turn in conversation.thread]
        for column in self._columns.values():
            column.at_end = True
        if conversation.left_out:
            self.notify(f"{conversation.left_out} lines of its file could not be read.", severity="warning")
        self.show_talk()
        await self._pair(conversation.models["left"], conversation.models["right"])

    @work(exclusive=True, group="question", description="Asking you something", exit_on_error=False)
    async def question(self, what: str, side: Side | None) -> None:
        """Ask the user something, and do as he says."""
        from screens.chat import asking

        if what == "model":
            await asking.model(self, side or self.here)
        else:
            await {
                "system": asking.system, "edit": asking.edit, "edit_answer": asking.edit_answer,
                "sampling": asking.sampling, "prompts": asking.prompts, "reopen": asking.reopen,
                "branch": asking.branch, "tally": asking.tally, "to_file": asking.to_file,
                "loading": asking.loading, "lm_studio": asking.lm_studio,
            }[what](self)  # fmt: skip

    @work(exclusive=True, group="question", description="Asking why", exit_on_error=False)
    async def ask_why(self, turn: Turn, verdict: Verdict) -> None:
        """Keep the vote once more, with a reason."""
        from screens.chat import asking

        reason = await asking.reason(self)
        if reason is not None:
            self._vote(turn, verdict, reason)

    def _chosen(self) -> Session:
        """Return what answers; raises UsageError where nothing was chosen."""
        if self.session is None:
            raise UsageError(
                "No two models are chosen.", remedy="Leave the line with Esc, and choose them with < and >."
            )
        return self.session

    async def _loaded(self, session: Session) -> bool:
        """Load what is needed. Asks first where something trains on the device, or it would not fit."""
        if self.talk.open:
            return True
        needs = await asyncio.to_thread(session.needs)
        if needs.ask_first and not await self._said_yes(needs):
            return False
        try:
            async with contextlib.aclosing(session.open()) as opening:
                async for progress in opening:
                    self.talk.doing = progress.what
                    self.show_path()
            self.talk.open = True
        finally:
            self.talk.doing = ""
            self.show_path()
        return True

    async def _said_yes(self, needs: Needs) -> bool:
        return bool(
            await self.app.push_screen_wait(Confirm("Load the models all the same?", needs.sentence(), yes="Load"))
        )

    def ask(self, turn: int, sides: tuple[Side, ...]) -> None:
        """Ask one turn of these columns, and keep what they say."""
        talk = self.talk
        questions = {side: talk.conversation.question(side, talk.sampling[side], turn=turn) for side in sides}
        # Not in the worker: a key that came with this one would still find nobody answering, and begin anew.
        for side in sides:
            talk.coming[side] = Coming(
                turn, side, talk.sampling[side], talk.name_of(side), self.clock(), doing="waiting"
            )
        self.show_talk()
        self._ask(questions)

    @work(group="ask", description="Asking the models", exit_on_error=False)
    async def _ask(self, questions: Mapping[Side, Question]) -> None:
        talk, sides = self.talk, tuple(questions)
        try:
            async with self._pairing:  # asked while another model is put there, that one answers and is named
                session = self._chosen()
                for side in sides:
                    talk.coming[side].model = talk.name_of(side)
            if not await self._loaded(session):
                return
            async with contextlib.aclosing(session.ask(questions)) as saying:
                async for said in saying:
                    self.take(said)
        except EngineError as error:  # what cannot be loaded is an answer that failed, and the conversation goes on
            for side in [side for side in sides if side in talk.coming]:
                self.take(AnswerFailed(side, error))
        finally:
            for side in sides:
                talk.coming.pop(side, None)
            self.show_talk()

    def take(self, said: Said) -> None:
        """Take one thing a side has said."""
        if isinstance(said, Progress):
            for side in SIDES if said.side is None else (said.side,):
                if side in self.talk.coming:
                    self.talk.coming[side].doing = said.what
            self.post_message(self.Changed())
            return
        coming = self.talk.coming.get(said.side)
        if coming is None:
            return
        if isinstance(said, TextArrived):
            begins = coming.first is None
            coming.take(said.text, self.clock(), said.pieces)
            self._draw_soon(at_once=begins)
        elif isinstance(said, AnswerFinished | AnswerFailed):
            del self.talk.coming[said.side]
            self.talk.conversation.take_said(coming.turn, coming.text, said, coming.sampling, model=coming.model)
            self.show_talk()

    def _draw_soon(self, *, at_once: bool = False) -> None:
        """Draw what has come: four times a second, and the first of it at once."""
        left = FRAME_SECONDS - (self.clock() - self._drawn_at)
        if at_once or left <= 0:
            self.post_message(self.Changed())
        elif self._due is None:
            self._due = self.set_timer(left, self._draw_due)

    def _draw_due(self) -> None:
        self._due = None
        self.post_message(self.Changed())

    @work(group="stop", description="Stopping an answer", exit_on_error=False)
    async def end(self, side: Side | None) -> None:
        """End answers where they are."""
        if self.session is not None:
            await self.session.stop(side)

    # Handlers

    def on_mount(self) -> None:
        self._waiting = self.set_interval(WAITING_SECONDS, self._wait_on, pause=True)
        self.show_talk()
        if self.opened_as[1] is not None:
            self.take_subject(self.opened_as[1])
        elif self._looks_for_models:
            self.pair_newest()

    def take_subject(self, subject: str | None) -> bool:
        """Put a pair on the screen: "LEFT\\nRIGHT", or "RIGHT" against its base."""
        if subject is not None:
            left, _, right = subject.partition("\n")
            self.opened_as = (self.opened_as[0], subject)
            self.change_pair(*((left, right) if right else (BASE, left)))
        return True

    def change_pair(self, left: str, right: str) -> None:
        """Put two models beside each other, unless somebody would be cut short."""
        if self.talk.answering:
            self.notify(_WAIT, severity="warning")
        else:
            self.pair(left, right)

    def _wait_on(self) -> None:
        if any(coming.first is None for coming in self.talk.coming.values()):
            self.post_message(self.Changed())

    async def on_unmount(self) -> None:
        if self.session is not None:
            await self.session.close()
        self.talk.conversation.close()

    @on(Column.Scrolled)
    def _scroll_other(self, message: Column.Scrolled) -> None:
        if self.scrolls_together:
            other: Side = "right" if message.place == "left" else "left"
            self._columns[other].follow(self._columns[message.place])

    @on(Changed)
    def _redraw(self) -> None:
        if self.app.screen is self:
            self.show_talk()

    @on(Composer.Sent)
    def _sent(self, message: Composer.Sent) -> None:
        if self.talk.answering:
            self._composer.text = message.text
            self.notify(_WAIT, severity="warning")
            return
        self._composer.asked.append(message.text)
        try:
            turn = self.talk.conversation.say(message.text)
        except EngineError:
            self._composer.text = message.text  # it could not be written down, and is not lost for that
            raise
        for column in self._columns.values():
            column.at_end = True
        self.ask(turn.id, SIDES)

    @on(events.DescendantFocus)
    def _focused(self, event: events.DescendantFocus) -> None:
        if isinstance(event.widget, Column):
            self._go_to(event.widget.place)
        self.show_heads()

    def on_resize(self, event: events.Resize) -> None:
        super().on_resize(event)
        self.call_after_refresh(self.show_talk)

    # Keys

    def step_out(self) -> bool:
        if self.focused is self._composer:
            self._columns[self.here].focus()
            return True
        if self.talk.answering:
            self.end(None)
            return True
        return False

    def _go_to(self, place: Side) -> None:
        self.here = place
        for side, column in self._columns.items():
            column.set_class(side == place, "-here")

    def action_next_pane(self, step: int) -> None:
        """Go from side to side and to the line for the question; where only one side has room, it shows the other."""
        panes = [*self._columns.values(), self._composer]
        at = next((number for number, pane in enumerate(panes) if pane is self.focused), 2)
        pane = panes[(at + step) % len(panes)]
        if isinstance(pane, Column):
            self._go_to(pane.place)
        self.call_after_refresh(pane.focus)

    def action_apart(self) -> None:
        """Scroll each side for itself, or both together."""
        self.scrolls_together = not self.scrolls_together
        self.notify("Both sides scroll together." if self.scrolls_together else "Each side scrolls for itself.")

    def action_write(self) -> None:
        """Go to the line for the question."""
        self._composer.focus()

    def action_again(self) -> None:
        """Ask both once more."""
        self._again(SIDES)

    def action_again_here(self) -> None:
        """Ask the side with the focus once more."""
        last = self.talk.last
        self._again((self.talk.side_at(self.here, last.id if last is not None else 0),))

    def _again(self, sides: Iterable[Side]) -> None:
        last = self.talk.last
        free = tuple(side for side in sides if side not in self.talk.coming)
        if last is None:
            self.notify("There is no question yet.", severity="warning")
        elif free:
            self.ask(last.id, free)

    def action_stop(self) -> None:
        """End both answers."""
        self.end(None)

    def action_stop_here(self) -> None:
        """End the answer of the side with the focus."""
        last = self.talk.last
        if last is not None:
            self.end(self.talk.side_at(self.here, last.id))

    def action_view(self) -> None:
        """Look at the answers in the next way."""
        self.talk.view = VIEWS[(VIEWS.index(self.talk.view) + 1) % len(VIEWS)]
        self.show_talk()
        # Two plain sentences look the same in all three.
        self.sub_title = VIEWED[self.talk.view]

    def action_vote(self, verdict: str) -> None:
        """Say which answer is better; names are shown then."""
        turn = self.talk.to_vote()
        if turn is None:
            self.notify("Vote once both have answered.", severity="warning")
            return
        self._vote(turn, next(one for one in VERDICTS if one == verdict), "")

    def _vote(self, turn: Turn, verdict: Verdict, reason: str) -> None:
        cast_vote(self.place, vote_on(self.talk.conversation, turn, verdict, reason=reason))
        self.talk.verdicts[turn.id] = verdict
        self.show_talk()

    def action_reason(self) -> None:
        """Write down why."""
        turn = self.talk.to_vote()
        if turn is None or turn.id not in self.talk.verdicts:
            self.notify("Vote first, with 1 to 4.", severity="warning")
        else:
            self.ask_why(turn, self.talk.verdicts[turn.id])

    def action_ask_for(self, what: str, side: Side | None = None) -> None:
        """Ask the user something."""
        if self.talk.answering and what in ("model", "loading", "edit", "edit_answer", "branch", "reopen"):
            self.notify(_WAIT, severity="warning")
        else:
            self.question(what, side)

    def action_blind(self) -> None:
        """Hide names from the next question on, or show them."""
        if self.talk.answering:
            self.notify(_WAIT, severity="warning")
            return
        self._begin_anew(None if self.talk.blind else new_seed())
        self.notify(
            "A new conversation: names are hidden and sides shuffled at each turn, until you vote with 1 to 4."
            if self.talk.blind
            else "A new conversation, names shown."
        )

    def action_fresh(self) -> None:
        """Begin a new conversation with the same models."""
        if self.talk.answering:
            self.notify(_WAIT, severity="warning")
        elif self.talk.conversation.turns:
            self._begin_anew(new_seed() if self.talk.blind else None)

    def _begin_anew(self, blind_seed: int | None) -> None:
        talk = self.talk.conversation
        talk.close()
        self.talk.conversation = new_conversation(
            self.place, talk.models["left"], talk.models["right"], system=talk.system["left"], blind_seed=blind_seed
        )
        self.talk.verdicts = {}
        self.show_talk()

    def action_share(self) -> None:
        """Set sampling for each side apart, or for both."""
        if self.talk.blind and self.talk.shared:
            self.notify("Not while names are hidden: it would tell the sides apart.", severity="warning")
            return
        self.talk.shared = not self.talk.shared
        if self.talk.shared:
            self.talk.sampling["right"] = self.talk.sampling["left"]
        self.notify("Sampling is the same for both." if self.talk.shared else "Sampling is for each side apart: o.")

    def action_next_prompt(self, step: int) -> None:
        """Ask a question of the file."""
        talk = self.talk
        if not talk.prompts:
            self.notify("No file of questions is open: f.", severity="warning")
        elif talk.answering:
            self.notify(_WAIT, severity="warning")
        elif not 0 <= talk.at + step < len(talk.prompts):
            self.notify("That was the last one." if step > 0 else "That was the first one.")
        else:
            talk.at += step
            prompt = talk.prompts[talk.at]
            turn = talk.conversation.begin(prompt.text, category=prompt.category, before=prompt.before)
            self.ask(turn.id, SIDES)

    def action_branch(self, step: int) -> None:
        """Go to a branch beside this one."""
        talk = self.talk.conversation
        for turn in reversed(self.talk.thread):  # the nearest place where there are several
            branches = talk.branches(turn.id)
            if len(branches) > 1:
                at = next(number for number, one in enumerate(branches) if one.id == turn.id)
                talk.go_to(talk.newest_below(branches[(at + step) % len(branches)].id))
                self.show_talk()
                return
        self.notify("There are no branches: e asks something else instead, b goes on behind an earlier turn.")

    def action_other_answer(self, step: int) -> None:
        """Show another of several answers to the last question."""
        turn = self.talk.last
        side = self.talk.side_at(self.here, turn.id if turn is not None else 0)
        answers = turn.answers.get(side, ()) if turn is not None else ()
        if turn is None or len(answers) < 2:
            self.notify("There is one answer at most: r and R ask again.")
            return
        now = turn.shown.get(side, len(answers) - 1)
        self.talk.conversation.show(turn.id, side, (now + step) % len(answers))
        self.show_talk()

    def action_copy_answer(self) -> None:
        """Copy the last answer of the side with the focus."""
        last = self.talk.last
        answer = None if last is None else last.answer(self.talk.side_at(self.here, last.id))
        if answer is None:
            self.notify("There is no answer to copy.", severity="warning")
        else:
            self.post_message(CopyText(answer.text, "the answer"))

    # View

    def compose_body(self) -> ComposeResult:
        yield self._heads
        with Horizontal(id="columns"):
            yield from self._columns.values()
        yield self._path
        yield self._composer

    def show_talk(self) -> None:
        """Put what is known on screen."""
        self._drawn_at = self.clock()
        for side, column in self._columns.items():
            column.set_class(side == self.here, "-here")
            column.show(self.talk)
        if self._waiting is not None:
            (self._waiting.resume if self.talk.answering else self._waiting.pause)()
        self.show_heads()
        self.show_path()

    def show_heads(self) -> None:
        """Draw the names."""
        alone = not self.has_class("-full")
        here = self.here if alone or isinstance(self.focused, Column) else None
        self._heads.show(self.talk, here, alone=alone)

    def show_path(self) -> None:
        """Draw the line below the answers."""
        self._path.show(self._path_pieces())

    def _path_pieces(self) -> list[Piece]:
        talk = self.talk
        if talk.doing:
            return [(plain(talk.doing_shown, limit=300), "a")]
        turn = talk.to_vote()
        if talk.blind and turn is not None and not talk.revealed(turn.id):
            return [("Which is better?  ", "v"), ("1", "k"), (" left   ", " "), ("2", "k"), (" right   ", " "),
                    ("3", "k"), (" tie   ", " "), ("4", "k"), (" both bad", " ")]  # fmt: skip
        if turn is not None and turn.id in talk.verdicts:
            return [("Your vote is kept.  ", "m"), ("w", "k"), (" says why   ", "m"), ("t", "k"),
                    (" adds votes up   ", "m"), ("n" if talk.prompts else "i", "k"), (" goes on", "m")]  # fmt: skip
        if not talk.path:
            return [("Esc, then ", "m"), ("<", "k"), (" and ", "m"), (">", "k"), (" choose the two models", "m")]
        asked = f"Question {talk.at + 1} of {len(talk.prompts)} (n: next)  " if talk.prompts else ""
        return [(asked, "a"), (plain(talk.path_shown, limit=600), "m")]

    def plain_text(self) -> str:
        """Return the conversation as text."""
        from screens.chat.twin import twin

        return twin(self.talk, self.clock())
