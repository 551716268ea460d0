"""From a record and what its columns hold to the parts of a row, or to the reason why it holds none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.data import spellings
from engine.data.messages import conversation, history_of, messages_of, structured, transcript
from engine.data.row import Message, kind_of_value

Record = Mapping[str, Any]
Columns = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Parts:
    """What a row is made of. The fields are those of `engine.data.row.Row`."""

    prompt: list[Message] = field(default_factory=list)
    completion: list[Message] = field(default_factory=list)
    rejected: list[Message] = field(default_factory=list)
    label: bool | None = None
    input_ids: list[int] | None = None
    labels: list[int] | None = None


def pair(record: Record, columns: Columns) -> Parts | str:
    """Build from a question and an answer: both texts, or both lists of messages."""
    question, answer = columns["prompt"], columns["completion"]
    for name in (question, answer):  # those a user names may be missing in one record
        if name not in record:
            return f"it has no column {name[:60]!r}"
    before, after = conversation(record[question]), conversation(record[answer])
    if isinstance(before, list) and isinstance(after, list) and not isinstance(record[answer], dict):
        split = _split(messages_of(before), messages_of(after))
        return split if isinstance(split, str) else Parts(_with_system(record, columns, split[0]), split[1])
    asked, said = record[question], record[answer]
    for name, value in ((question, asked), (answer, said)):
        if not isinstance(value, str):
            return f"{name} is {kind_of_value(value)}, not text"
    for name, value in ((question, asked), (answer, said)):
        if not value.strip():
            return f"{name} is empty"
    prompt = _asked(record, columns, asked)
    return prompt if isinstance(prompt, str) else Parts(prompt, [{"role": "assistant", "content": said}])


def messages(record: Record, columns: Columns) -> Parts | str:
    """Build from a conversation: its last message is the answer."""
    name = columns["messages"]
    found = messages_of(record.get(name), name)
    if isinstance(found, str):
        return found
    if not found:
        return f"{name} is empty"
    split = _split(found[:-1], found[-1:])
    if isinstance(split, str):
        return split
    return Parts(_with_system(record, columns, split[0]), split[1])


def text(record: Record, columns: Columns) -> Parts | str:
    """Build from plain text, which is learned as it stands."""
    name = columns["text"]
    value = record.get(name)
    if not isinstance(value, str):
        return f"{name} is {kind_of_value(value)}, not text"
    if not value.strip():
        return f"{name} is empty"
    return Parts([], [{"role": "assistant", "content": value}])


def preference(record: Record, columns: Columns) -> Parts | str:
    """Build from a better and a worse answer, with the question beside them or at the beginning of both."""
    before = _before(record, columns)
    if isinstance(before, str):
        return before
    worse_name = columns["rejected"]
    better_name = columns.get("chosen", worse_name)
    better, worse = record.get(better_name), record.get(worse_name)
    if "chosen" not in columns:
        if "messages" in columns:
            better, before = before[-1:], before[:-1]
            better_name = columns["messages"]
            if not better or better[0]["role"] != "assistant":
                return f"the last of {better_name} is no answer to compare with"
        else:
            both = structured(worse)
            if not isinstance(both, list) or len(both) != 2:
                return f"{worse_name} is {kind_of_value(both)}, not a better and a worse answer"
            better, worse = both
    if not before and isinstance(better, str) and isinstance(worse, str):
        split = _split_texts(better, worse)
        if split is None:
            return f"there is no question beside {better_name} and {worse_name}, nor at the beginning of both"
        before, better, worse = split
    answers = []
    for name, value in ((better_name, better), (worse_name, worse)):
        answer = _answer(value, name)
        if isinstance(answer, str):
            return answer
        answers.append(answer)
    prompt, chosen, rejected = _split_common(before, *answers)
    prompt = _with_system(record, columns, prompt)
    for name, answer in ((better_name, chosen), (worse_name, rejected)):
        split_answer = _split(prompt, answer)
        if isinstance(split_answer, str):
            empty = split_answer == "the answer is empty"
            return f"{name} is empty" if empty else f"{name}: {split_answer}"
    return Parts(prompt, chosen, rejected)


def kto(record: Record, columns: Columns) -> Parts | str:
    """Build from an answer and whether it is a good one."""
    name = columns["label"]
    label = label_value(record.get(name))
    if label is None:
        return f"{name} is {_told(record.get(name))}, neither true nor false"
    parts = messages(record, columns) if "messages" in columns else pair(record, columns)
    return parts if isinstance(parts, str) else Parts(parts.prompt, parts.completion, label=label)


def tokenised(record: Record, columns: Columns) -> Parts | str:
    """Build from token ids, with labels of the same length where there are any."""
    ids = record.get(columns["input_ids"])
    labels = record.get(columns["labels"]) if "labels" in columns else None
    for name, value in (("input_ids", ids), ("labels", labels)):
        if value is None and name == "labels":
            continue
        if not isinstance(value, list) or not all(type(each) is int for each in value):
            return f"{columns[name]} is {kind_of_value(value)}, not a list of whole numbers"
    if not ids:
        return f"{columns['input_ids']} is empty"
    if labels is not None and len(labels) != len(ids):
        return f"{len(labels)} labels for {len(ids)} token ids"
    return Parts(input_ids=ids, labels=labels)


def label_value(value: object) -> bool | None:
    """Return whether an answer is marked as good; None when the value is no mark."""
    if isinstance(value, bool):
        return value
    if isinstance(value, (int, float)) and value in (0, 1):
        return bool(value)
    if isinstance(value, str):
        word = value.strip().lower()
        return True if word in spellings.TRUE else False if word in spellings.FALSE else None
    return None


def metadata_of(record: Record) -> dict[str, Any]:
    """Return what a row says about itself: its `metadata`, and the columns that belong there."""
    value = record.get("metadata")
    if isinstance(value, str) and value.startswith("{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
    found: dict[str, Any] = value if isinstance(value, dict) else {}
    for name in spellings.METADATA:
        if name in found:
            continue
        beside = record.get(name, record.get(f"metadata.{name}"))
        if isinstance(beside, str) and beside:
            found = {**found, name: beside}
    return found


def _asked(record: Record, columns: Columns, question: str) -> list[Message] | str:
    """Return the messages before the answer: system text, earlier turns, and the question with what belongs to it."""
    earlier = history_of(record.get(columns.get("history", "history")))
    if isinstance(earlier, str):
        return earlier
    extra = _beside(record, columns)
    if isinstance(extra, str) and extra.strip():
        question = f"{question}\n\n{extra}"
    return _with_system(record, columns, [*earlier, {"role": "user", "content": question}])


def _beside(record: Record, columns: Columns) -> object:
    """Return what is added to the question; a record may have a column that none of the sample had."""
    if "context" in columns:
        return record.get(columns["context"])
    used = columns.values()
    for name in spellings.CONTEXT.get(columns.get("prompt", "").lower(), ()):
        if name not in used and record.get(name) is not None:
            return record[name]
    return None


def _with_system(record: Record, columns: Columns, prompt: list[Message]) -> list[Message]:
    """Put the row's system text first, unless the conversation begins with one."""
    if prompt and prompt[0]["role"] in ("system", "developer"):
        return prompt
    names = (columns["system"],) if "system" in columns else spellings.SYSTEM
    for name in names:
        system = record.get(name)
        if isinstance(system, str) and system.strip():
            return [{"role": "system", "content": system}, *prompt]
    return prompt


def _before(record: Record, columns: Columns) -> list[Message] | str:
    """Return what stands before both answers; empty when it is at the beginning of the answers."""
    if "messages" in columns:
        name = columns["messages"]
        return messages_of(record.get(name), name)
    name = columns.get("prompt", "")
    if name not in record:
        return []
    value = record.get(name)
    if not isinstance(value, dict) and (found := conversation(value)) is not None:
        return messages_of(found, name)
    if not isinstance(value, str):
        return f"{name} is {kind_of_value(value)}, not text"
    return _asked(record, columns, value) if value.strip() else f"{name} is empty"


def _answer(value: object, name: str) -> list[Message] | str:
    held = conversation(value)
    if held is None:
        if isinstance(value, str):
            return [{"role": "assistant", "content": value}]
        return f"{name} is {kind_of_value(value)}, not text"
    found = messages_of(held, name)
    return f"{name}: {found}" if isinstance(found, str) else found


def _split_texts(better: str, worse: str) -> tuple[list[Message], Any, Any] | None:
    """Take the question off the beginning of both texts: of transcripts by speaker, else what they have in common."""
    told, other = transcript(better), transcript(worse)
    if told and other:
        return [], told, other
    common = next(
        (at for at, (one, other) in enumerate(zip(better, worse, strict=False)) if one != other),
        min(len(better), len(worse)),
    )
    cut = max(better.rfind(blank, 0, common) for blank in (" ", "\n")) + 1 if common else 0
    question = better[:cut].strip()
    if not question or not better[cut:].strip() or not worse[cut:].strip():
        return None
    return [{"role": "user", "content": question}], better[cut:], worse[cut:]


def _split_common(
    before: list[Message], chosen: list[Message], rejected: list[Message]
) -> tuple[list[Message], list[Message], list[Message]]:
    """Move what both conversations begin with into the prompt, up to the last message that is not the assistant's."""
    length = 0
    for position in range(min(len(chosen), len(rejected)) - 1):
        if chosen[position] != rejected[position]:
            break
        if chosen[position]["role"] != "assistant":
            length = position + 1
    common = chosen[:length]
    if common and _spoken(before) and _spoken(before)[-1] in _spoken(common):
        before = []  # the question stands beside the answers and in them: UltraFeedback's form
    return [*before, *common], chosen[length:], rejected[length:]


def _spoken(found: list[Message]) -> list[Message]:
    return [message for message in found if message["role"] not in ("system", "developer")]


def _split(prompt: list[Message] | str, completion: list[Message] | str) -> tuple[list[Message], list[Message]] | str:
    """Return both, or what keeps them from being a question and its answer."""
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


def _told(value: object) -> str:
    return repr(value)[:40] if isinstance(value, (str, int, float)) else kind_of_value(value)
