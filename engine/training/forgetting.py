"""How much of what the base knew is lost: the loss on a fixed set of texts, against the base's own.

With N the scored tokens of all texts, gauge = (1 / N) sum (log p_base - log p_model), in nats per token: 0 where
nothing has changed, and exp(gauge) is how much higher the model's perplexity is. Shapes: B rows, T time.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from engine import events
from engine.config.model import ForgettingSection, settled
from engine.data.rows import Row
from engine.errors import NothingToLearn
from engine.journal import write_error
from engine.renaming import replace_file
from engine.training.reporter import Reporter
from engine.training.sft import prompt_length

_LONGEST = 1_024
"""Tokens of a text that are looked at."""
_TOKENS_AT_ONCE = 1_024
"""In a forward pass, padding included: the logits of so many are 0.6 GB in float32 with 150,000 words."""
Probe = list[tuple[list[int], int]]
"""Token ids, and the first of them that is scored. The longest first."""


def read_probe(rows: Sequence[Row], tokenizer: Any, longest: int | None) -> Probe:
    """Return the texts as tokens: of plain text all but the first are scored, of a question the answer.

    Args:
        rows: Plain text, or questions with answers.
        tokenizer: The base's.
        longest: Tokens the model takes; None when it does not say.

    Raises:
        NothingToLearn: Nothing is left to score.
    """
    limit = min(longest or _LONGEST, _LONGEST)
    probe = []
    for row in rows:
        if row.kind == "text":
            ids = tokenizer(row.completion[-1]["content"])["input_ids"]
        else:
            ids = tokenizer.apply_chat_template([*row.prompt, *row.completion], tokenize=True, return_dict=False)
        first = max(1, prompt_length(row, tokenizer))
        if first < len(ids[:limit]):
            probe.append((list(ids[:limit]), first))
    if not probe:
        raise NothingToLearn(
            f"Of the {len(rows)} texts of forgetting.probe none has a token to score within {limit} tokens.",
            remedy="Name a file with longer texts or shorter questions, or set forgetting.gauge: false.",
        )
    return sorted(probe, key=lambda text: -len(text[0]))


def probe_loss(model: Any, probe: Probe, pad: int, heard: Callable[[], None]) -> float:
    """Return the mean negative log-likelihood of the scored tokens, in nats.

    The model is left in the mode it was in, and no random number is drawn.

    Args:
        model: A causal model, with or without adapter.
        probe: From `read_probe`.
        pad: Token id that fills up shorter texts.
        heard: Called between two batches; may raise to end early.
    """
    total, count, place = 0.0, 0, 0
    was_training = model.training
    model.eval()
    try:
        while place < len(probe):
            rows = max(1, _TOKENS_AT_ONCE // len(probe[place][0]))
            batch = probe[place : place + rows]
            place += rows
            length = len(batch[0][0])
            ids_BT = torch.tensor([ids + [pad] * (length - len(ids)) for ids, _ in batch])
            mask_BT = torch.tensor([[1] * len(ids) + [0] * (length - len(ids)) for ids, _ in batch])
            labels_BT = torch.tensor([
                [-100] * first + ids[first:] + [-100] * (length - len(ids)) for ids, first in batch
            ])  # fmt: skip
            with torch.no_grad():
                found = model(
                    input_ids=ids_BT.to(model.device), attention_mask=mask_BT.to(model.device), use_cache=False
                )
                loss = functional.cross_entropy(
                    found.logits[:, :-1].flatten(0, 1).float(), labels_BT[:, 1:].flatten().to(found.logits.device),
                    ignore_index=-100, reduction="sum",
                )  # fmt: skip
            total += float(loss)
            count += int((labels_BT[:, 1:] != -100).sum())
            heard()
    finally:
        model.train(was_training)
    return total / count


@dataclass(slots=True)
class Gauge:
    """Compares the model with its base, and raises the alarm once each time the change reaches it."""

    settings: ForgettingSection
    probe: Probe
    pad: int
    base_loss: float
    reporter: Reporter
    change: float = 0.0
    """The newest measurement."""
    step: int | None = None
    """Of the newest measurement; None before the first."""
    alarmed: bool = field(default=False)
    """Whether the newest measurement is at the alarm or above it."""

    @classmethod
    def on(
        cls,
        base: Any,
        rows: Sequence[Row],
        tokenizer: Any,
        *,
        settings: ForgettingSection,
        path: Path,
        reporter: Reporter,
        heard: Callable[[], None],
    ) -> Gauge:
        """Return the gauge of a run, the base measured or as an earlier start measured it.

        Args:
            base: The base model before an adapter is put on it: with some adapters switching off does not give it back.
            rows: The texts.
            tokenizer: The base's.
            settings: Of the run.
            path: Where the base's loss is kept, so that a resume compares with the same.
            reporter: Told what is measured.
            heard: Called between two batches; may raise to end early.

        Raises:
            NothingToLearn: The texts have nothing to score.
            WorkspaceError: The base's loss cannot be written.
        """
        probe = read_probe(rows, tokenizer, getattr(base.config, "max_position_embeddings", None))
        pad = tokenizer.pad_token_id
        about = hashlib.sha256(json.dumps(probe).encode()).hexdigest()
        loss = _kept(path, about)
        if loss is None:
            reporter.enter("evaluating", f"the base on the {len(probe)} texts of the gauge of forgetting")
            loss = probe_loss(base, probe, pad, heard)
            tokens = sum(len(ids) - first for ids, first in probe)
            record = {"base_loss": events.json_number(loss), "texts": len(probe), "tokens": tokens, "sha256": about}
            reporter.with_room(lambda: _keep(path, record))
        return cls(settings, probe, pad, loss, reporter)

    def due(self, step: int, *, last: bool) -> bool:
        """Return whether there is to be a measurement after a step, whether or not there is an evaluation."""
        every = settled(self.settings.eval_steps)
        return isinstance(every, int) and (last or step % every == 0)

    @property
    def due_each_epoch(self) -> bool:
        return self.settings.eval_steps == "epoch"

    def measure(self, model: Any, step: int, heard: Callable[[], None]) -> float:
        """Measure the change and tell it; of a step that is measured already return what was found.

        Args:
            model: As it is now, its adapter on.
            step: Optimizer steps it has seen.
            heard: Called between two batches; may raise to end early.
        """
        if self.step == step:
            return self.change
        began = time.monotonic()
        loss = probe_loss(model, self.probe, self.pad, heard)
        self.step, self.change = step, loss - self.base_loss
        before, self.alarmed = self.alarmed, self.change >= self.settings.alarm
        self.reporter.say(
            events.ForgettingMeasured(
                step=step,
                change=self.change,
                loss=loss,
                base_loss=self.base_loss,
                alarm=self.settings.alarm,
                alarmed=self.alarmed,
                seconds=round(time.monotonic() - began, 3),
            )
        )
        if self.alarmed and not before:
            self.reporter.warn("forgetting", f"{self.told}.", "Checkpoints of before are there. Lower "
                               "training.learning_rate or lora.r, train for fewer epochs, or mix in earlier rows "
                               "(data.replay).")  # fmt: skip
        return self.change

    @property
    def told(self) -> str:
        """What the newest measurement says."""
        return (
            f"At step {self.step} the loss on the probe is {self.change:+z.3f} nats per token against the base's "
            f"{self.base_loss:.3f}, and the alarm is at {self.settings.alarm:g}"
        )

    @property
    def ends(self) -> bool:
        """Whether the run is to end for it."""
        return self.alarmed and self.settings.stop

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"step": self.step, "change": events.json_number(self.change), "alarmed": self.alarmed}

    def restore(self, state: object) -> None:
        """Take over what a checkpoint kept; what is none is nothing."""
        if isinstance(state, dict) and type(state.get("step")) is int:
            self.step, self.alarmed = state["step"], state.get("alarmed") is True
            self.change = events.number_from_json(state.get("change"))


def _kept(path: Path, about: str) -> float | None:
    try:
        record = json.loads(path.read_bytes())
        return events.number_from_json(record["base_loss"]) if record["sha256"] == about else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _keep(path: Path, record: dict[str, Any]) -> None:
    try:
        replace_file(path, json.dumps(record) + "\n")
    except OSError as error:
        raise write_error(path, error) from error
