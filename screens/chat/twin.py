"""The conversation as plain text and as Markdown: for a screen reader, a file, a bug report."""

from __future__ import annotations

from engine.chat.asking import SIDES
from engine.chat.conversation import Answer
from screens.chat.sampling import as_text
from screens.chat.talk import Talk, coming_figures, figures
from screens.chat.turn_rows import HIDDEN_ERROR
from tui.display import plain

_CHARACTERS = 1_000_000
_LINES = 20_000


def twin(talk: Talk, now: float) -> str:
    """Return everything the view knows, turn by turn, as it can be read aloud."""
    names = [plain(talk.head_at(place), limit=200) for place in SIDES]
    parts = [f"Chat: {names[0]} on the left, {names[1]} on the right", plain(talk.path_shown, limit=600)]
    if talk.doing:
        parts.append(plain(talk.doing_shown, limit=300))
    for number, turn in enumerate(talk.thread, 1):
        parts.append(f"{number}. {_text(turn.prompt)}")
        for place in SIDES:
            side = talk.side_at(place, turn.id)
            name = plain(talk.name_at(place, turn), limit=200)
            hidden = not talk.revealed(turn.id)
            coming, answer = talk.coming.get(side), turn.answer(side)
            if coming is not None and coming.turn == turn.id:
                parts.append(f"{name} (answering, {coming_figures(coming, now, hidden=hidden)}):\n{_text(coming.text)}")
            elif answer is not None:
                parts.append(
                    f"{name} ({figures(answer, hidden=hidden)}):\n{_text(answer.text)}{_error(answer, hidden)}"
                )
        if (verdict := talk.verdicts.get(turn.id)) is not None:
            parts.append(f"Your vote: {verdict}")
    parts.append(f"Sampling: {as_text(talk.sampling['left'])}")
    return "\n\n".join(part for part in parts if part.strip()) + "\n"


def as_markdown(talk: Talk) -> str:
    """Return the thread as Markdown, answers as they came. Models stay unnamed where the vote is still to come."""
    parts = [f"# {talk.conversation.name}"]
    if talk.conversation.system["left"].strip():
        parts.append("> " + talk.conversation.system["left"].replace("\n", "\n> "))
    for turn in talk.thread:
        parts.append(f"## {turn.prompt.splitlines()[0] if turn.prompt.strip() else ''}")
        if len(turn.prompt.splitlines()) > 1:
            parts.append(turn.prompt)
        for place in SIDES:
            answer = turn.answer(talk.side_at(place, turn.id))
            if answer is not None:
                parts += [f"### {talk.name_at(place, turn)}", answer.text or "(nothing)"]
                parts.append(f"*{figures(answer, hidden=not talk.revealed(turn.id))}*")
    return "\n\n".join(parts) + "\n"


def _error(answer: Answer, hidden: bool) -> str:
    error = HIDDEN_ERROR if hidden and answer.error else answer.error
    return f"\n{_text(str(error.get('message', '')))}" if error else ""


def _text(text: str) -> str:
    return plain(text, limit=_CHARACTERS, lines=_LINES)
