"""How long rows are in a model's tokens, from some hundred of them spread over the files. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from engine.data.files import sample
from engine.data.row import Row
from engine.data.rows import recognise_file
from engine.data.shapes import row_of
from engine.data.templates import load_template
from engine.errors import EngineError

_SAMPLED = 400
_CONTENT_ALONE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"


class Lengths(NamedTuple):
    """Tokens per row, with what the chat template adds."""

    counted: int
    """Rows tokenised; all of a small file."""
    mean: float
    longest: int
    sorted_lengths: tuple[int, ...]
    """Every one, ascending."""

    def share_above(self, limit: int) -> float:
        """Return the part of the rows that are longer than `limit` tokens, in [0, 1]."""
        return sum(length > limit for length in self.sorted_lengths) / self.counted

    def quantile(self, part: float) -> int:
        """Return the length that `part` of the rows do not exceed."""
        return self.sorted_lengths[min(self.counted - 1, int(part * self.counted))]


def sample_lengths(
    files: Sequence[Path], model: Path, *, template: str | None = None, mapping: Mapping[str, str] | None = None
) -> Lengths | None:
    """Return the lengths of a sample of the rows.

    Args:
        files: The training files.
        model: Folder with `tokenizer.json`.
        template: Instead of the model's own, as `model.chat_template` has it.
        mapping: As `data.mapping`.

    Returns:
        None where it cannot be told: no tokenizer, no row, a template that fails. Nothing depends on it but the
        adjustment of automatic values, and what is wrong there is told by the doctor.
    """
    try:
        return _counted(files, model, template, mapping)
    except EngineError:
        return None


def _counted(
    files: Sequence[Path], model: Path, template: str | None, mapping: Mapping[str, str] | None
) -> Lengths | None:
    texts: list[str] = []
    lengths: list[int] = []
    if template is None and not _has_template(model):
        template = _CONTENT_ALONE
    chat = load_template(model, override=template)
    for path in files:
        recognised = recognise_file(path, mapping)
        for number, record in enumerate(sample(path, max(1, _SAMPLED // len(files))), 1):
            row = row_of(record, recognised, path, number)
            if not isinstance(row, Row):
                continue
            if row.input_ids is not None:
                lengths.append(len(row.input_ids))
            elif row.kind == "text":
                texts.append(row.completion[0]["content"])
            else:
                texts.append(chat.render([*row.prompt, *row.completion]))
    lengths = sorted([*lengths, *(len(ids) for ids in chat.encode_all(texts))])
    if not lengths:
        return None
    return Lengths(len(lengths), sum(lengths) / len(lengths), lengths[-1], tuple(lengths))


def _has_template(model: Path) -> bool:
    from engine.data.templates import TemplateMissing

    try:
        load_template(model)
    except TemplateMissing:
        return False
    return True
