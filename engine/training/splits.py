"""The rows of one split on their way to a trainer."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from engine.data.preparing import dataset_of
from engine.data.rows import Problem, Row
from engine.data.templates import TEMPLATE_FAILS

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(slots=True)
class Split:
    """The rows of one split, as read."""

    name: str
    """"train" or the name of a validation set."""
    rows: list[Row]
    problems: list[Problem]

    def dataset(self) -> Dataset:
        """Return the rows in the form TRL takes answers; `row` is the position in `rows`."""
        return dataset_of(self.rows)


def leave_out_refused(split: Split, tokenizer: Any) -> None:
    """Make problems of the rows whose conversation the chat template refuses; TRL would end with the first."""
    kept = []
    for row in split.rows:
        try:
            if row.kind not in ("text", "tokenised"):
                tokenizer.apply_chat_template([*row.prompt, *row.completion], tokenize=False)
                tokenizer.apply_chat_template(row.prompt, tokenize=False, add_generation_prompt=True)
                if row.rejected:
                    tokenizer.apply_chat_template([*row.prompt, *row.rejected], tokenize=False)
            kept.append(row)
        except (TemplateError, *TEMPLATE_FAILS) as error:
            split.problems.append(Problem(row.path, row.line, f"the chat template refuses it: {error}", False))
    split.rows = kept


def shuffle(split: Split, seed: int) -> None:
    """Mix the rows, the same way at every start."""
    random.Random(seed).shuffle(split.rows)
