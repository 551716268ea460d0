"""Continual learning: train on A, then on B, then ask questions of both; and what is left of A without its means."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, figure
from benchmarks.methods import train
from engine.evaluation.asking import Asking, replies
from engine.spec import local_model
from engine.workspace import Workspace

_PLACES = ("Arden", "Borea", "Cyra", "Dorn", "Elva", "Farn", "Gell", "Hest", "Ilma", "Jura", "Kern", "Lom")
_QUESTIONS = {
    "a": ("What is the capital of {}?", "The capital of {} is {}."),
    "b": ("Which river flows through {}?", "The {1} flows through {0}."),
}
"""Session -> its question and its answer. Places are invented: the built-in model knows nothing of them."""
_NAMES = {
    "a": ("Velmar", "Tisko", "Orran", "Pelia", "Quenth", "Rostel", "Samir", "Tolk", "Umbra", "Vasto", "Wend", "Yarrow"),
    "b": ("Ashe", "Brill", "Coln", "Dove", "Esk", "Frome", "Gade", "Hodder", "Irwell", "Kennet", "Lune", "Medway"),
}  # fmt: skip
_SETTINGS: dict[str, Any] = {
    "model.name": "tiny", "model.device": "cpu", "data.validation": None, "forgetting.gauge": False,
    "lora.r": 16, "lora.lora_alpha": 32, "lora.target_modules": "all-linear", "evaluation.prompts": [],
    "training.num_train_epochs": 30, "training.per_device_train_batch_size": 4,
    "training.gradient_accumulation_steps": 1, "training.learning_rate": 2e-3, "training.warmup_steps": 5,
    "saving.save_steps": None, "saving.save_best": False,
}  # fmt: skip


def continual() -> Iterator[Figure]:
    """The continual-learning preset on the built-in model, twelve facts a session."""
    with tempfile.TemporaryDirectory(prefix="ftconsole-bench-") as made:
        folder = Path(made)
        for session in "ab":
            rows = [{"instruction": question, "output": answer} for question, answer, _ in _facts(session)]
            (folder / f"{session}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        _session(folder, "a", {})
        with_both = _session(folder, "b", {"data.replay": 1.0})
        naive = {"model.adapter": "a@final", "model.adapter_mode": "continue", "saving.promote": None}
        without = _session(folder, "b", naive, name="without")
        both_sides = (
            ("kept", "merged, A replayed", with_both, (">= 90", ">= 90")),
            ("without", "trained further on B alone", without, ("< 90", ">= 90")),
        )
        for key, name, run, promised in both_sides:
            for session, bar in zip("ab", promised, strict=True):
                what = f"{name}: facts of {session.upper()} answered after B"
                yield figure(f"continual.{key}-{session}", what, _known(folder, run, session), "%", bar, digits=1)


def _facts(session: str) -> Iterator[tuple[str, str, str]]:
    question, answer = _QUESTIONS[session]
    for place, name in zip(_PLACES, _NAMES[session], strict=True):
        yield question.format(place), answer.format(place, name), name


def _session(folder: Path, session: str, changed: dict[str, Any], name: str = "") -> str:
    settings = {**_SETTINGS, "data.train": [str(folder / f"{session}.jsonl")], **changed}
    if changed.get("model.adapter_mode") == "continue":  # its shape is the earlier adapter's
        settings = {key: value for key, value in settings.items() if not key.startswith("lora.")}
    train(folder, "continual-learning", settings, called=name or session)
    return name or session


def _known(folder: Path, run: str, session: str) -> float:
    facts = list(_facts(session))
    questions = [[{"role": "user", "content": question}] for question, _, _ in facts]
    model = local_model(Workspace(folder), f"{run}@final")
    said = replies(model, questions, Asking(max_new_tokens=24, device="cpu"), said=lambda _: None)
    return 100 * sum(facts[at][2] in reply for at, reply in said) / len(facts)


BENCHMARKS: dict[str, Callable[[], Iterator[Figure]]] = {"continual": continual}
