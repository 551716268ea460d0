"""What goes with the weights into a merged folder: tokenizer, chat template, generation config. No torch.

Files are copied as they are, not saved anew: transformers 5 writes no `tokenizer.model`, without which llama.cpp's
converter does not know a Gemma or a Phi-3, and a trainer leaves its maximum length in `tokenizer.json`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.data.templates import ChatTemplate, end_ids, load_template
from engine.errors import EngineError
from engine.weights import read_json

TEMPLATE = "chat_template.jinja"
_TOKENIZER = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "spiece.model", "sentencepiece.bpe.model", "tekken.json", TEMPLATE,
    "chat_template.json",
)  # fmt: skip
_PIECES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "tekken.json")
"""What older versions wrote and converters still read; the same for every tokenizer that grew out of a base's."""
_ALSO = ("generation_config.json", "preprocessor_config.json", "processor_config.json", "LICENSE", "LICENSE.txt",
         "NOTICE", "USE_POLICY.md")  # fmt: skip

_VOCABULARY = ("tokenizer.json", "vocab.json", *_PIECES)
"""Any of them is a tokenizer. Without one transformers makes an empty one of a model's type, and says nothing."""


def has_tokenizer(folder: Path) -> bool:
    """Whether there is a vocabulary in a model's folder."""
    return any((folder / name).is_file() for name in _VOCABULARY)


@dataclass(slots=True)
class Carried:
    """What was put beside the weights."""

    files: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What a person should know, in sentences."""


def carry(base: Path, adapter: Path | None, target: Path, *, chat_template: str | None = None) -> Carried:
    """Put tokenizer, template and generation config of a fine-tuned model into `target`.

    Args:
        base: Folder of the base model.
        adapter: Folder of the adapter, which may have a tokenizer of its own; None where there is none.
        target: Folder with the merged weights. Its `generation_config.json`, if any, is written anew.
        chat_template: Text of the template that the model was trained with; None: the adapter's, else the base's.
    """
    carried = Carried()
    own = adapter if adapter is not None and _own_tokenizer(base, adapter, carried) else None
    for name in _TOKENIZER:
        source = (own or base) / name
        if not source.is_file() and own is not None and name in _PIECES:
            source = base / name
        if source.is_file():
            shutil.copyfile(source, target / name)
    more = (own or base) / "additional_chat_templates"
    if more.is_dir():
        shutil.copytree(more, target / more.name)
    for name in _ALSO:
        if (base / name).is_file():
            shutil.copyfile(base / name, target / name)
    if own is not None:
        _untrained(target / "tokenizer.json")
    template = chat_template or (_template_of(adapter) if adapter is not None else None)
    if template is not None and template != _template_of(target):
        _write_template(target, template)
        carried.notes.append("The chat template is the one it was trained with, not the base's.")
    _stop_where_answers_end(target, carried)
    carried.files = sorted(path.name for path in target.iterdir())
    return carried


def turn_end(template: ChatTemplate) -> int | None:
    """Return the token that the template puts behind an answer; None where it puts none of the special ones."""
    answer = "answer"
    rendered = template.render([{"role": "user", "content": "question"}, {"role": "assistant", "content": answer}])
    after = template.encode(rendered.rpartition(answer)[2])
    added = {token["id"] for token in read_json(template.tokenizer_file).get("added_tokens", [])}
    return after[0] if after and after[0] in added else None


def _own_tokenizer(base: Path, adapter: Path, carried: Carried) -> bool:
    """Return whether the adapter's tokenizer is another than the base's, or the base has none."""
    if not (adapter / "tokenizer.json").is_file():
        return False
    theirs, ours = _essence(base / "tokenizer.json"), _essence(adapter / "tokenizer.json")
    if theirs == ours:
        return False
    if theirs:
        carried.notes.append("The tokenizer is the adapter's: it differs from the base's.")
    return True


def _essence(path: Path) -> dict[str, Any]:
    """Return what decides about token ids: everything but how rows are cut and filled up."""
    whole = read_json(path)
    return {name: value for name, value in whole.items() if name not in ("truncation", "padding")}


def _untrained(path: Path) -> None:
    """Take out the maximum length and the padding that a trainer left in a tokenizer."""
    whole = read_json(path)
    if whole.get("truncation") or whole.get("padding"):
        _write(path, {**whole, "truncation": None, "padding": None})


def _template_of(folder: Path) -> str | None:
    try:
        return (folder / TEMPLATE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        pass
    found = read_json(folder / "chat_template.json").get("chat_template")
    found = found or read_json(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(found, list):
        named = {entry.get("name"): entry.get("template") for entry in found if isinstance(entry, dict)}
        found = named.get("default")
    return found if isinstance(found, str) else None


def _write_template(target: Path, template: str) -> None:
    """Leave one template, in the one place that everything reads first."""
    (target / TEMPLATE).write_text(template, encoding="utf-8")
    (target / "chat_template.json").unlink(missing_ok=True)
    settings = read_json(target / "tokenizer_config.json")
    if settings.pop("chat_template", None) is not None:
        _write(target / "tokenizer_config.json", settings)


def _stop_where_answers_end(target: Path, carried: Carried) -> None:
    """Have generation stop at the token that the template puts behind an answer. Else the model never stops."""
    try:
        template = load_template(target)
        end = turn_end(template)
    except EngineError as error:
        carried.notes.append(f"Where its answers end could not be told: {error.message}")
        return
    if end is None:
        carried.notes.append("The chat template puts no token behind an answer, so the model may not stop.")
        return
    ends = end_ids(target)
    named = template.tokenizer.token_to_id(str(template.special.get("eos_token")))
    if end in ends or (not ends and end == named):
        return
    settings = read_json(target / "generation_config.json")
    _write(target / "generation_config.json", {**settings, "eos_token_id": sorted({*ends, end})})
    shown = template.tokenizer.id_to_token(end)
    carried.notes.append(f"Generation now stops at {shown} as well, where its answers end.")


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def sizes(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield name and bytes of every file in a folder, in order of their names."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path.stat().st_size
