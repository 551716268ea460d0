"""The names that files give to the same things, collected from the formats of other tools.

Sources: TRL's dataset formats; LLaMA-Factory's `dataset_info.json` (alpaca, sharegpt, `kto_tag`, `history`, ranking as
`output: [better, worse]`); Axolotl's `chatml.intel`, `.argilla`, `.icr`, `.ultra` and `chat_template.default`;
ms-swift's `rejected_response`, `conversation[{human, assistant}]` and `query, response, history`; AutoTrain's `text,
rejected_text`; Dolly's `context`; OpenOrca's `system_prompt`. Names are compared without case and outer spaces.
"""

from __future__ import annotations

from itertools import product

SYSTEM = ("system", "system_prompt", "system_message")
HISTORY = ("history",)
CONTEXT = {"instruction": ("input", "context"), "question": ("context",)}
"""What is added to a question, by the name of the question."""
MESSAGES = ("messages", "conversations", "conversation", "dialogue", "dialog", "chat", "turns")
TEXT = ("text", "content")
QUESTIONS = ("instruction", "question", "query", "prompt", "problem", "user", "human", "input", "source")
ANSWERS = (
    "output",
    "answer",
    "response",
    "completion",
    "solution",
    "assistant",
    "target",
    "targets",
    "bot",
    "gpt",
)
PAIRS = tuple(
    dict.fromkeys(
        [
            ("instruction", "output"),
            ("question", "answer"),
            ("query", "response"),
            ("prompt", "response"),
            ("prompt", "completion"),
            *product(QUESTIONS, ANSWERS),
        ]
    )
)
"""Question and answer, in the order they are looked for."""
CHOSEN_REJECTED = (
    ("chosen", "rejected"),
    ("chosen_response", "rejected_response"),
    ("response_chosen", "response_rejected"),
    ("chosen_text", "rejected_text"),
    ("chosen", "reject"),
    ("text", "rejected_text"),
    ("accepted", "rejected"),
    ("preferred", "rejected"),
    ("preferred", "dispreferred"),
    ("preferred_response", "rejected_response"),
    ("better", "worse"),
    ("better_response", "worse_response"),
    ("winner", "loser"),
    ("response", "rejected_response"),
    ("response", "rejected"),
    ("output", "rejected"),
    ("completion", "rejected"),
)
GOOD_BAD = (
    ("good", "bad"),
    ("good_response", "bad_response"),
    ("good_answer", "bad_answer"),
    ("good_output", "bad_output"),
    ("good_completion", "bad_completion"),
    ("good_example", "bad_example"),
)
REJECTED_BESIDE_MESSAGES = ("rejected_response", "rejected_messages", "rejected")
"""The worse last answer, where the better one is the last of `messages`."""
LABEL = ("label", "kto_tag", "desirable", "is_desirable")
TRUE = frozenset({"true", "1", "yes", "good", "desirable"})
FALSE = frozenset({"false", "0", "no", "bad", "undesirable"})
METADATA = ("dataset_type", "category")
"""Columns that are taken into the metadata where they stand beside it."""
FIELDS = (
    "prompt",
    "context",
    "completion",
    "system",
    "history",
    "messages",
    "text",
    "chosen",
    "rejected",
    "label",
    "input_ids",
    "labels",
)
"""What a column can be said to hold, in `data.mapping` too."""
