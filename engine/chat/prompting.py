"""From a conversation to the tokens a model reads, by its own tokenizer and template. Runs in the worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.chat.asking import Question
from engine.data.templates import OutOfTime, TemplateEndless, TemplateRefuses, end_ids, time_limit
from engine.errors import EngineError, UsageError

RENDER_SECONDS = 20.0
_MARK = "ANSWER"
_LAST_TOKENS = 8
"""Of a given beginning: enough to know whether a space stands before what follows."""


class ContextExceeded(UsageError):
    """The conversation has more tokens than the model can read."""

    code = "context-exceeded"


class Prompter:
    """One tokenizer and its template.

    Args:
        tokenizer: With a chat template.
        label: What people call the model.
        context: Tokens that the model can read, its answer included. None where it does not say.
    """

    def __init__(self, tokenizer: Any, label: str, context: int | None) -> None:
        self.tokenizer = tokenizer
        self.label = label
        self.context = context
        self.own_end = self._end_of_turn()

    def ends(self, generation_ends: frozenset[int], folder: Path | None) -> frozenset[int]:
        """Return the tokens that end an answer: the model's, those of its folder, the tokenizer's and the template's.

        A base that was never trained for chat stops at the end of a text, which a chat template does not write.
        """
        found = set(generation_ends) | (end_ids(folder) if folder is not None else set())
        return frozenset(one for one in (*found, self.tokenizer.eos_token_id, self.own_end) if isinstance(one, int))

    def prompt(self, question: Question) -> list[int]:
        """Return the tokens of a conversation, up to where the answer begins, and of its given beginning.

        Raises:
            TemplateRefuses: The template takes no such conversation.
            TemplateEndless: It did not end.
            ContextExceeded: There is no room for an answer.
        """
        text = self._rendered(question) + question.prefix
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, return_token_type_ids=False)["input_ids"]
        if self.context is not None and len(ids) >= self.context:
            raise ContextExceeded(
                f"The conversation has {len(ids):,} tokens, and {self.label} can read {self.context:,}.",
                remedy="Branch from an earlier turn, begin a new conversation, or shorten the system prompt.",
            )
        return ids

    def room(self, prompt: list[int], max_tokens: int) -> int:
        """Return how many tokens an answer may have: as asked, or what the context leaves."""
        return max_tokens if self.context is None else min(max_tokens, self.context - len(prompt))

    def decode(self, ids: list[int]) -> str:
        """Return the text of tokens, special ones left out."""
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return text

    def before(self, question: Question, prompt: list[int]) -> list[int]:
        """Return what stands before the answer in the same text; nothing where the answer begins by itself."""
        return prompt[-_LAST_TOKENS:] if question.prefix else []

    def _rendered(self, question: Question) -> str:
        messages = [{"role": one.role, "content": one.content} for one in question.messages]
        try:
            return self._render(messages)
        except EngineError as error:
            if isinstance(error, TemplateEndless) or not any(one["role"] == "system" for one in messages):
                raise
            refused = error
        without = [one for one in messages if one["role"] != "system"]
        try:
            self._render(without)
        except EngineError:
            raise refused from None
        raise TemplateRefuses(
            f"The chat template of {self.label} takes no system prompt.",
            remedy="Leave the system prompt of this side empty, or write it before the first question.",
        )

    def _render(self, messages: list[dict[str, str]]) -> str:
        try:
            with time_limit(RENDER_SECONDS):
                text: str = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except OutOfTime:
            raise TemplateEndless(
                f"The chat template of {self.label} did not end within {RENDER_SECONDS:g} s, and was stopped.",
                remedy="Use the template of the model's publisher.",
            ) from None
        except Exception as error:  # noqa: BLE001 - whatever a template raises, it is about this conversation
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise TemplateRefuses(
                f"The chat template of {self.label} refuses this conversation: {said[:200]}",
                remedy="Change the order of its turns: most templates want question and answer by turns.",
            ) from None
        return text

    def _end_of_turn(self) -> int | None:
        """Return the special token that the template writes behind an answer; None when it writes none."""
        asked = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _MARK}]
        try:
            with time_limit(RENDER_SECONDS):
                text = self.tokenizer.apply_chat_template(asked, tokenize=False)
        except Exception:  # noqa: BLE001 - said when the first question is asked
            return None
        behind = text.rpartition(_MARK)[2].strip()
        ids = self.tokenizer(behind, add_special_tokens=False)["input_ids"] if behind else []
        return ids[0] if ids and ids[0] in self.tokenizer.added_tokens_decoder else None
