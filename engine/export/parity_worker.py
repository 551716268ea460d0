"""The process that asks one form of a model: `python -P -m engine.export.parity_worker`.

The first form keeps its logits in a folder; every other is held against them, prompt by prompt.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.errors import UsageError
from engine.export.difference import Meter
from engine.export.parts import Parts
from engine.export.progress import Progress, Tell, answer
from engine.training.libraries import without_bitsandbytes

if TYPE_CHECKING:
    from engine.export.llama_form import LlamaForm
    from engine.export.torch_form import TorchForm


def main() -> int:
    """Ask as the request says."""
    without_bitsandbytes()
    return answer(work, "The proof")


def work(request: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Return what one form makes of the prompts: token ids, answers, where it stops; and how far it is away."""
    label = request["label"]
    tell(Progress(f"loading {label}"))
    form = _llama(request) if request["form"] == "gguf" else _torch(request)
    prompts, kept = request["prompts"], Path(request["folder"])
    reference: list[dict[str, Any]] | None = request["reference"]
    meter, asked = Meter(), []
    for number, prompt in enumerate(prompts):
        tell(Progress(f"asking {label}", number, len(prompts), "prompts"))
        ids = form.prompt_ids(prompt)
        _prove_length(form, ids, request["max_new_tokens"], number)
        said = form.answer(ids, request["max_new_tokens"])
        asked.append({"prompt_ids": ids, "answer_ids": said, "answer": form.text(said)})
        if reference is None:
            np.save(kept / f"{number}.npy", form.logits(ids, said))
        else:
            # What the reference was given and said, so that one difference does not make all that follow differ.
            theirs = reference[number]
            meter.add(np.load(kept / f"{number}.npy"), form.logits(theirs["prompt_ids"], theirs["answer_ids"]))
    tell(Progress(f"asking {label}", len(prompts), len(prompts), "prompts"))
    return {
        "asked": asked,
        "template": form.template.source,
        "special": form.template.special,
        "stops": sorted(form.stops),
        "bos": _token(form, form.template.special.get("bos_token")),
        "turn_end": request["form"] != "gguf" and _turn_end(form),
        "difference": asdict(meter.difference) if reference is not None else None,
    }


def _torch(request: dict[str, Any]) -> TorchForm:
    import torch

    from engine.data.templates import load_template
    from engine.export.loading import load_base, put_on
    from engine.export.torch_form import TorchForm

    parts = Parts(**request["parts"])
    model = load_base(parts, torch.float32)
    if parts.adapter is not None:
        model = put_on(model, parts)
    folder = Path(request["base_folder"])
    places = [Path(place) for place in (request["tokenizer"], folder) if place]
    template = load_template(places[0], override=request["chat_template"])
    return TorchForm(model, template, folder)


def _llama(request: dict[str, Any]) -> LlamaForm:
    from engine.export.llama_form import LlamaForm

    return LlamaForm(Path(request["path"]))


def _turn_end(form: Any) -> int | None:
    from engine.export.carried import turn_end

    return turn_end(form.template)


def _token(form: Any, text: str | None) -> int | None:
    if not text:
        return None
    if hasattr(form, "vocabulary"):
        number: int = form.vocabulary.token_bos()
        return number
    found: int | None = form.template.tokenizer.token_to_id(text)
    return found


def _prove_length(form: Any, ids: list[int], max_new_tokens: int, number: int) -> None:
    limit = getattr(form, "context_tokens", None)
    if limit is not None and len(ids) + max_new_tokens > limit:
        raise UsageError(
            f"Prompt {number + 1} has {len(ids)} tokens, and {limit} can be held with {max_new_tokens} of an answer.",
            remedy="Leave it out, or lower --max-tokens.",
        )


if __name__ == "__main__":
    sys.exit(main())
