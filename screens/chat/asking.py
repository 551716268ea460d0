"""What the user is asked on this screen, and what becomes of the answer. Loaded when that first happens."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from engine.chat.asking import SIDES, Side
from engine.chat.chat_files import list_conversations, open_conversation
from engine.chat.lmstudio import Model, find_lmstudio
from engine.chat.placing import LoadOptions
from engine.chat.prompts import read_prompts
from engine.chat.votes import export_votes, read_votes, tallies
from engine.errors import EngineError
from engine.runs.catalogue import read_catalogue
from engine.spec import BASE, find_spec
from engine.workspace import named_path
from screens.chat.sampling import FIELDS, PRESETS, as_fields, from_fields, problem_of
from tui.display import plain
from tui.widgets.choose import Choice, Chooser
from tui.widgets.confirm import Confirm
from tui.widgets.form import Field, Form, Preset
from tui.widgets.text_dialog import TextDialog
from tui.widgets.words import day, number_of, size_text

if TYPE_CHECKING:
    from screens.chat.screen import ChatScreen


async def model(screen: ChatScreen, side: Side) -> None:
    """Put another model on a side."""
    choices = await asyncio.to_thread(_models, screen)

    def problem_of(text: str) -> str | None:
        try:
            find_spec(screen.place, text)
        except EngineError as error:
            return str(error)
        return None

    about = "A run, RUN@CHECKPOINT, a folder, a Hub name, lmstudio:MODEL or http://HOST:PORT/v1#MODEL."
    answer = await screen.app.push_screen_wait(
        Chooser(f"Which model stands on the {side}", choices, placeholder="type to narrow the list, or name a model",
                current=screen.talk.conversation.models[side], problem_of=problem_of, about=about)
    )  # fmt: skip
    if answer is not None:
        other = screen.talk.conversation.models["right" if side == "left" else "left"] or BASE
        screen.change_pair(*((answer, other) if side == "left" else (other, answer)))


def _models(screen: ChatScreen) -> list[Choice]:
    choices = [Choice(BASE, BASE, "the base of the other side")]
    for run in read_catalogue(screen.place.runs).runs:
        for one in run.checkpoints:
            if one.fault is None:
                loss = one.metrics.get("eval_loss")
                notes = [f"eval loss {loss:.4g}"] if loss is not None else []
                notes += [f"best by {one.best_by[0]}"] if one.best_by else []
                choices.append(Choice(one.spec, one.spec, ", ".join(notes)))
    for place in dict.fromkeys((screen.place.models, *(file.parent for file in screen.place.catalogue_files()))):
        with contextlib.suppress(OSError):
            choices += [
                Choice(folder.name, folder.name, "a model of this workspace")
                for folder in sorted(place.iterdir())
                if any((folder / name).is_file() for name in ("config.json", "adapter_config.json"))
            ]
    choices += _of_lm_studio()
    return list({choice.value: choice for choice in choices}.values())


def _of_lm_studio() -> list[Choice]:
    try:
        found = find_lmstudio().models()
    except EngineError:
        return []  # not running is no reason to say anything here: naming a model of it does
    return [Choice(f"lmstudio:{one.key}", f"lmstudio:{one.key}", _about(one)) for one in found if one.kind == "llm"]


async def system(screen: ChatScreen) -> None:
    """Change the system prompt of both sides."""
    talk = screen.talk.conversation
    about = "Both sides read it before the conversation, from the next question on. Empty for none."
    text = await screen.app.push_screen_wait(TextDialog("System prompt", talk.system[screen.here], about=about))
    if text is not None:
        talk.set_system(text.strip())
        screen.notify("Both sides read it from the next question on." if text.strip() else "There is none now.")


async def edit(screen: ChatScreen) -> None:
    """Ask something else instead of the last question: a branch beside it."""
    turn = screen.talk.last
    if turn is None:
        screen.notify("There is no question yet.", severity="warning")
        return
    about = "The old question and its answers stay as a branch; { and } go between them."
    text = await screen.app.push_screen_wait(TextDialog("Ask this instead", turn.prompt, about=about))
    if text is not None and text.strip() and text != turn.prompt:
        screen.ask(screen.talk.conversation.edit(turn.id, text).id, SIDES)


async def edit_answer(screen: ChatScreen) -> None:
    """Change the last answer of the side with the focus."""
    turn = screen.talk.last
    side = screen.talk.side_at(screen.here, turn.id if turn is not None else 0)
    answer = turn.answer(side) if turn is not None else None
    if turn is None or answer is None:
        screen.notify("There is no answer to change.", severity="warning")
        return
    about = "What it is taken to have said from here on. What it really said stays in the file."
    text = await screen.app.push_screen_wait(TextDialog("Change the answer", answer.text, about=about))
    if text is not None and text != answer.text:
        screen.talk.conversation.edit_answer(turn.id, side, text)
        screen.show_talk()


async def sampling(screen: ChatScreen) -> None:
    """Change how tokens are picked."""
    talk = screen.talk
    sides: tuple[Side, ...] = ("left",) if talk.shared else SIDES
    now = [as_fields(talk.sampling[side]) for side in sides]
    fields = [Field(name, tuple(one[name] for one in now), about) for name, about in FIELDS.items()]
    answer = await screen.app.push_screen_wait(
        Form(f"Sampling of {'both sides' if talk.shared else 'each side'}", fields, problem_of, columns=sides,
             presets=[Preset(name, values) for name, values in PRESETS.items()])
    )  # fmt: skip
    if answer is not None:
        for side in SIDES:
            talk.sampling[side] = from_fields(answer[0 if talk.shared else SIDES.index(side)])


async def loading(screen: ChatScreen) -> None:
    """Change how local models are loaded."""
    load = screen.load
    bits = "4" if load.load_in_4bit else "8" if load.load_in_8bit else "none"
    fields = [
        Field("device", (load.device,), "auto, cpu, cuda, cuda:1 or mps"),
        Field("dtype", (load.dtype,), "auto, float32, bfloat16 or float16"),
        Field("bits", (bits,), "4 or 8: smaller, by bitsandbytes; none: as they are"),
    ]
    answer = await screen.app.push_screen_wait(Form("How local models are loaded", fields, _loading_problem))
    if answer is None:
        return
    given = answer[0]
    screen.load = LoadOptions(
        given["device"], given["dtype"], load_in_4bit=given["bits"] == "4", load_in_8bit=given["bits"] == "8"
    )
    models = screen.talk.conversation.models
    if screen.load != load and models["right"]:
        screen.change_pair(models["left"], models["right"])


def _loading_problem(name: str, text: str) -> str | None:
    known = {"device": r"auto|cpu|mps|cuda(:\d{1,2})?", "dtype": "auto|float32|bfloat16|float16", "bits": "4|8|none"}
    if re.fullmatch(known[name], text):
        return None
    return f"{plain(text, limit=40)!r} is no {name} there is."


async def lm_studio(screen: ChatScreen) -> None:
    """Show the models of LM Studio; load one, or unload it."""
    there = await asyncio.to_thread(find_lmstudio)
    models = await asyncio.to_thread(there.models)
    choices = [Choice(one.key, one.key, _about(one)) for one in models if one.kind == "llm"]
    answer = await screen.app.push_screen_wait(
        Chooser(f"LM Studio at {there.address.host_and_port}", choices, placeholder="type to narrow the list",
                about="Enter loads a model, or unloads one that is loaded. < and > put it on a side.")
    )  # fmt: skip
    found = next((one for one in models if one.key == answer), None)
    if found is None:
        return
    if found.loaded:
        if await screen.app.push_screen_wait(
            Confirm(f"Unload {plain(found.key, limit=200)}?", "Its memory is free then; its file stays.", yes="Unload")
        ):
            await _telling(screen, f"LM Studio unloads {found.key}", lambda: there.unload(found.key))
            screen.notify(f"{found.key} is unloaded.")
    else:
        await _telling(screen, f"LM Studio loads {found.key}", lambda: there.load(found.key))
        screen.notify(f"{found.key} is loaded.")


async def _telling(screen: ChatScreen, what: str, work: Callable[[], object]) -> None:
    screen.talk.doing = what
    screen.show_path()
    try:
        await asyncio.to_thread(work)
    finally:
        screen.talk.doing = ""
        screen.show_path()


def _about(model: Model) -> str:
    instance = model.instances[0] if model.instances else None
    context = instance.context_length if instance is not None and instance.context_length else None
    window = f"{context:,} of " if context else ""
    parts = [
        "loaded" if model.loaded else "",
        model.quantization,
        size_text(model.size_bytes) if model.size_bytes else "",
        f"{window}{model.max_context_length:,} tokens" if model.max_context_length else "",
    ]
    return ", ".join(part for part in parts if part)


async def prompts(screen: ChatScreen) -> None:
    """Take questions from a file."""
    from screens.data.choices import data_files

    files = await asyncio.to_thread(data_files, screen.place)

    def problem_of(text: str) -> str | None:
        try:
            read_prompts(screen.place.data_file(text))
        except EngineError as error:
            return str(error)
        return None

    answer = await screen.app.push_screen_wait(
        Chooser("Questions from a file", [Choice(str(one.path), one.name) for one in files],
                placeholder="type to narrow the list, or the path of a file", problem_of=problem_of)
    )  # fmt: skip
    if answer is None:
        return
    found, left_out = await asyncio.to_thread(read_prompts, screen.place.data_file(answer))
    screen.talk.prompts, screen.talk.at = found, -1
    left = f"; {number_of(len(left_out), 'row')} without one left out" if left_out else ""
    screen.notify(f"{number_of(len(found), 'question')}{left}. n asks the next.")


async def reopen(screen: ChatScreen) -> None:
    """Go on with an earlier conversation."""
    found = await asyncio.to_thread(list_conversations, screen.place)
    if not found:
        screen.notify("No conversation has been kept yet.", severity="warning")
        return
    choices = [
        Choice(one.name, one.title or "(no question)", f"{one.left} / {one.right}  {day(one.changed)}", keep="start")
        for one in found
    ]
    answer = await screen.app.push_screen_wait(
        Chooser("Conversations", choices, placeholder="type to narrow the list", current=screen.talk.conversation.name)
    )
    if answer is not None:
        conversation = await asyncio.to_thread(open_conversation, screen.place, answer)
        await screen.take_up(conversation)


async def branch(screen: ChatScreen) -> None:
    """Go on behind an earlier turn."""
    thread = screen.talk.thread
    choices = [Choice("", "from nothing", "a new beginning")]
    choices += [
        Choice(str(turn.id), turn.prompt, f"turn {number}", keep="start") for number, turn in enumerate(thread, 1)
    ]
    answer = await screen.app.push_screen_wait(
        Chooser("Go on behind which turn", choices, placeholder="type to narrow the list",
                about="The next question is a branch; nothing is lost, { and } go between branches.")
    )  # fmt: skip
    if answer is not None:
        screen.talk.conversation.go_to(int(answer) if answer else None)
        screen.show_talk()


async def reason(screen: ChatScreen) -> str | None:
    """Return why the vote is as it is."""
    return await screen.app.push_screen_wait(TextDialog("Why", about="Kept with the vote. Empty is fine."))


async def tally(screen: ChatScreen) -> None:
    """Show what the votes add up to, and export them as preference rows."""
    votes, _ = await asyncio.to_thread(read_votes, screen.place)
    if not votes:
        screen.notify("Nobody has voted yet: 1 to 4 once both have answered.", severity="warning")
        return
    lines = []
    for one in tallies(votes):
        low, high = one.share.interval
        rate = f"{one.share.value:.0%} ({low:.0%} to {high:.0%})" if one.share.total else "no preference"
        counts = f"{one.a_wins} : {one.b_wins}, ties {one.ties}, both bad {one.both_bad}"
        where = f"  {one.category}: " if one.category else f"{one.a} against {one.b}: "
        lines.append(f"{plain(where, limit=200)}{rate}; {counts}")
    told = "\n".join(lines[:20]) + "\n\nRates are of the votes that prefer one, with Wilson's interval at 95 %."
    if not await screen.app.push_screen_wait(
        Confirm(f"{number_of(len(votes), 'vote')}. Export them as rows for DPO?", told, yes="Export")
    ):
        return
    target = screen.place.path / "chats" / "preferences.jsonl"
    overwrite = target.exists()
    if overwrite and not await screen.app.push_screen_wait(
        Confirm(f"Write over {target}?", "It holds the rows of an earlier export.", yes="Write over")
    ):
        return
    done = await asyncio.to_thread(lambda: export_votes(votes, target, overwrite=overwrite))
    left = "".join(f"; {count} left out: {why}" for why, count in done.left_out.items())
    screen.notify(f"{number_of(done.num_rows, 'row')} in {done.path}{left}", timeout=10)


async def to_file(screen: ChatScreen) -> None:
    """Write the conversation as Markdown."""
    answer = await screen.app.push_screen_wait(
        Chooser("Write the conversation to a file", [], placeholder="talk.md", problem_of=lambda _: None,
                typed=f"{screen.talk.conversation.name}.md", about="As Markdown, both sides of each turn.")
    )  # fmt: skip
    if not answer:
        return
    path = named_path(answer)
    path = path if path.is_absolute() else screen.place.path / path
    if path.exists() and not await screen.app.push_screen_wait(
        Confirm(f"Write over {plain(str(path))}?", "What it holds now is lost.", yes="Write over")
    ):
        return
    from screens.chat.twin import as_markdown

    await asyncio.to_thread(_write, path, as_markdown(screen.talk))
    screen.notify(f"Written to {path}.")


def _write(path: Path, text: str) -> None:
    from engine.journal import write_error

    try:
        path.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise write_error(path, error) from error
