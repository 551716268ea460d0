"""Conversations in every spelling as messages with `role` and `content`."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Mapping
from typing import Any

from engine.data.row import Message, kind_of_value

ROLES: Mapping[str, str] = {
    **{role: role for role in ("system", "user", "assistant", "tool", "developer")},
    # ShareGPT's and its relatives' names
    "human": "user",
    "prompter": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "ai": "assistant",
    "function_call": "assistant",
    "tool_call": "assistant",
    "observation": "tool",
    "function": "tool",
    "function_response": "tool",
    "tool_response": "tool",
    "ipython": "tool",
}
"""What files call the speakers, to what chat templates call them."""
MESSAGE_KEYS = (("role", "content"), ("from", "value"))
TURN_KEYS = (("human", "assistant"), ("user", "assistant"), ("query", "response"), ("human", "bot"))
"""Keys of an object that holds a question and its answer, as ms-swift writes conversations."""

_SPEAKER = re.compile(r"(?:^|\n)[ \t]*(human|user|assistant|bot|gpt|system)[ \t]*:[ \t]*", re.IGNORECASE)


def messages_of(value: object, name: str = "messages") -> list[Message] | str:
    """Return messages with `role` and `content` as text, or what is wrong with them.

    Args:
        value: A list of messages in either vocabulary, of turns or of pairs; or such a list as text, as CSV holds it.
        name: Of the column, for the reason.
    """
    value = structured(value)
    if not isinstance(value, list):
        return f"{name} is {kind_of_value(value)}, not a list"
    found: list[Message] = []
    for position, item in enumerate(value, start=1):
        turn = _turn(item)
        if turn is not None:
            found += turn
            continue
        message = _message(item, position)
        if isinstance(message, str):
            return message
        found.append(message)
    return found


def looks_like_messages(value: object) -> bool:
    """Whether a value is a list that begins with a message or a turn."""
    value = structured(value)
    if not isinstance(value, list) or not value:
        return False
    return _turn(value[0]) is not None or _is_message(value[0])


def conversation(value: object) -> list[Any] | None:
    """Return the messages that a value is or, as text, spells; None when it is a text, or anything else.

    An answer that is JSON itself stays a text.
    """
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        return [value]
    found = structured(value)
    if found is value:  # nearly always
        return None
    if isinstance(found, dict) and _is_message(found):
        return [found]
    return found if isinstance(found, list) and looks_like_messages(found) else None


def _is_message(value: object) -> bool:
    return isinstance(value, dict) and any(set(keys) <= set(value) for keys in MESSAGE_KEYS)


def structured(value: object) -> object:
    """Return the list or object that a text spells in JSON or in Python, as tables hold them; else the value."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[{", "[[", "[ {", '{"', "{'")):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        pass
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd escapes in foreign text
        try:
            return ast.literal_eval(value.strip())
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):  # MemoryError: nested too deeply
            return value


def history_of(value: object) -> list[Message] | str:
    """Return the messages of earlier turns: pairs of question and answer, or messages."""
    if value is None or value == "" or value == []:
        return []
    found = messages_of(value, "history")
    return found if isinstance(found, list) else f"history: {found}" if not found.startswith("history") else found


def transcript(text: str) -> list[Message]:
    """Return the messages of a text such as "Human: ... Assistant: ..."; empty when it is none."""
    marks = list(_SPEAKER.finditer(text))
    if len(marks) < 2 or text[: marks[0].start()].strip():
        return []
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    return [
        {"role": ROLES[mark[1].lower()], "content": text[mark.end() : end].strip()}
        for mark, end in zip(marks, ends, strict=True)
    ]


def _turn(item: object) -> list[Message] | None:
    """Return the two messages of a question with its answer; None when it is something else."""
    if isinstance(item, dict):
        for asked, said in TURN_KEYS:
            if isinstance(item.get(asked), str) and isinstance(item.get(said), str):
                system = item.get("system")
                first = [{"role": "system", "content": system}] if isinstance(system, str) and system.strip() else []
                return [
                    *first,
                    {"role": "user", "content": item[asked]},
                    {"role": "assistant", "content": item[said]},
                ]
    elif isinstance(item, (list, tuple)) and len(item) == 2 and all(isinstance(text, str) for text in item):
        return [{"role": "user", "content": item[0]}, {"role": "assistant", "content": item[1]}]
    return None


def _message(item: object, position: int) -> Message | str:
    if not isinstance(item, dict):
        return f"message {position} is {kind_of_value(item)}, not an object"
    role, content = item.get("role", item.get("from")), item.get("content", item.get("value"))
    if not isinstance(role, str):
        return f"message {position} has {kind_of_value(role)} for a role"
    known = ROLES.get(role) or ROLES.get(role.strip().lower())
    if known is None:
        return f"message {position} has the role {role[:40]!r}"
    if isinstance(content, str):
        return {"role": known, "content": content}
    if isinstance(content, list):
        return _joined(known, content, position)
    if content is None and item.get("tool_calls"):
        return f"message {position} calls a tool and says nothing: only text is learned"
    return f"message {position} has {kind_of_value(content)} for content"


def _joined(role: str, parts: list[Any], position: int) -> Message | str:
    """Join the text parts of a message, as OpenAI's format allows them."""
    texts = []
    for part in parts:
        if not isinstance(part, dict):
            return f"message {position} has a list for content"
        if part.get("type", "text") != "text" or not isinstance(part.get("text"), str):
            return f"message {position} has a part that is not text ({str(part.get('type'))[:20]!r})"
        texts.append(part["text"])
    return {"role": role, "content": "".join(texts)}
