"""How many tokens rows have, as the model's own chat template writes them. `tokenizers`, on all cores; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from engine.data.row import Row
from engine.data.templates import ChatTemplate, TemplateMissing, TemplateRefuses, load_template

_WITHOUT_TEMPLATE: Final = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
"""For base models: the texts alone."""


class TokenCounter:
    """Counts with one model's tokenizer.

    Args:
        model: Folder with `tokenizer.json`.

    Raises:
        NotFound: It has no tokenizer.
        DataError: Its template is no Jinja.
    """

    def __init__(self, model: Path) -> None:
        try:
            self.template: ChatTemplate = load_template(model)
        except TemplateMissing:
            self.template = load_template(model, override=_WITHOUT_TEMPLATE)

    def count(self, rows: Sequence[Row]) -> tuple[list[int], int]:
        """Return the length of each row that the template takes, and how many it does not take.

        Of a preference pair the chosen answer counts, of plain text the token that ends it as well.

        Raises:
            TemplateEndless: The template does not end.
        """
        texts, added, lengths, refused = [], [], [], 0
        for row in rows:
            if row.input_ids is not None:
                lengths.append(len(row.input_ids))
                continue
            try:
                if row.kind == "text":
                    texts.append(row.completion[0]["content"])
                else:
                    texts.append(self.template.render([*row.prompt, *row.completion]))
            except TemplateRefuses:
                refused += 1
                continue
            added.append(row.kind == "text")
        encoded = self.template.encode_all(texts)
        return lengths + [len(ids) + more for ids, more in zip(encoded, added, strict=True)], refused
