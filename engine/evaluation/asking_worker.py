"""The process that asks a model with weights here: `python -P -m engine.evaluation.asking_worker`."""

from __future__ import annotations

import json
import sys
from typing import Any

from engine import child
from engine.errors import EngineError
from engine.training.libraries import stored_quantised, without_bitsandbytes


def main() -> int:
    """Read what is to be asked, and say the replies as they come."""
    request = json.load(sys.stdin.buffer)
    return child.answer(lambda say: _work(request, say), _explained)


def _explained(error: Exception) -> EngineError:
    from engine.training.failures import explained

    return explained(error, "evaluating")


def _work(request: dict[str, Any], say: child.Say) -> None:
    say({"doing": "loading the libraries"})
    base = request["base"]
    if not stored_quantised(base["source"], base["fingerprint"] or base["revision"] if base["kind"] == "hub" else None):
        without_bitsandbytes()
    from engine.training.answering import answer
    from engine.training.loading import load_for_inference

    say({"doing": f"loading {request['label']}"})
    model, tokenizer = load_for_inference(request)
    questions, most = request["questions"], request["batch_size"]
    # Rows of like length go together, so that little is padded; a batch is said when it is done.
    order = sorted(range(len(questions)), key=lambda at: sum(len(turn["content"]) for turn in questions[at]))
    for start in range(0, len(order), most):
        rows = order[start : start + most]
        said = answer(
            model, tokenizer, [questions[row] for row in rows], max_new_tokens=request["max_new_tokens"],
            batch_size=most,
        )  # fmt: skip
        for row, reply in zip(rows, said, strict=True):
            say({"index": row, "reply": reply})


if __name__ == "__main__":
    sys.exit(main())
