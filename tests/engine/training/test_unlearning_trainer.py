"""The trainer's loss and gradients on a real batch, against a small implementation that shares no line with it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.config.load import loads
from engine.config.model import RunConfig
from engine.data.rows import Row, read_rows
from engine.training.reporter import Reporter
from engine.training.splits import Split
from tests.engine.training.conftest import rows, write_rows

SETTINGS: dict[str, dict[str, Any]] = {
    "gradient_ascent": {},
    "grad_diff": {"retain_weight": 0.7},
    "npo": {"beta": 0.3, "retain_loss": "kl", "retain_weight": 2.0},
    "simnpo": {"beta": 2.5, "gamma": 0.4, "retain_per_unlearn": 2},
}


def build(objective: str, small_model: Path, tmp_path: Path) -> Any:
    """Return the trainer of an objective whose adapter is no longer the identity."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from engine.training.building import build_trainer
    from engine.training.method import training_method

    data = write_rows(tmp_path / "rows.jsonl", rows("retain", 5) + rows("unlearn", 3))
    config = RunConfig.model_validate({"method": {"name": objective}, "unlearning": SETTINGS[objective]})
    trainer = build_trainer(
        model=AutoModelForCausalLM.from_pretrained(small_model, dtype=torch.float32),
        tokenizer=AutoTokenizer.from_pretrained(small_model),
        arguments={"output_dir": str(tmp_path / "out"), "max_length": 96, "use_cpu": True, "bf16": False,
                   "activation_checkpointing": False, "report_to": "none", "per_device_train_batch_size": 2,
                   "max_steps": 1},
        lora={"r": 4, "lora_dropout": 0.0, "target_modules": "all-linear", "task_type": "CAUSAL_LM"},
        train=Split("train", [row for row in read_rows(data) if isinstance(row, Row)], []),
        validation=[],
        reporter=Reporter(tmp_path / "events.jsonl"),
        method=training_method(config),
    )  # fmt: skip
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return trainer


def answer_log_probs(model: Any, batch: dict[str, Tensor], row: int) -> Tensor:
    """Return the log-probability of each scored token of one row, from the logits of that row alone."""
    length = int(batch["attention_mask"][row].sum())
    ids, labels = batch["input_ids"][row, :length], batch["labels"][row, :length]
    logits = model.get_base_model()(ids[None])["logits"][0, :-1]
    picked = logits.log_softmax(-1)[range(length - 1), ids[1:]]
    return picked[labels[1:] != -100]


def by_hand(objective: str, model: Any, batch: dict[str, Tensor], count: int) -> Tensor:
    given: dict[str, Any] = {"beta": 0.1, "gamma": 0.0, "retain_weight": 1.0, **SETTINGS[objective]}
    answers = [answer_log_probs(model, batch, row) for row in range(len(batch["input_ids"]))]
    forget, kept = answers[:count], answers[count:]
    if objective == "npo":
        with torch.no_grad(), model.disable_adapter():
            before = [answer_log_probs(model, batch, row) for row in range(count)]
        terms = [(2 / given["beta"]) * torch.log1p((one.sum() - other.sum()).exp() ** given["beta"])
                 for one, other in zip(forget, before, strict=True)]  # fmt: skip
        loss = torch.stack(terms).mean()
    elif objective == "simnpo":
        terms = [torch.log1p(torch.exp(given["beta"] * one.mean() + given["gamma"])) for one in forget]
        loss = (2 / given["beta"]) * torch.stack(terms).mean()
    else:
        loss = torch.cat(forget).mean()
    if not kept:
        return loss
    if given.get("retain_loss") != "kl":
        return loss - given["retain_weight"] * torch.cat(kept).mean()
    apart, tokens = torch.zeros(()), 0
    for row in range(count, len(answers)):
        length = int(batch["attention_mask"][row].sum())
        ids, scored = batch["input_ids"][row, :length], batch["labels"][row, 1:length] != -100
        now = model.get_base_model()(ids[None])["logits"][0, :-1][scored].softmax(-1)
        with torch.no_grad(), model.disable_adapter():
            then = model.get_base_model()(ids[None])["logits"][0, :-1][scored].softmax(-1)
        apart = apart + (then * (then / now).log()).sum()
        tokens += int(scored.sum())
    return loss + given["retain_weight"] * apart / tokens


@pytest.mark.parametrize("objective", SETTINGS)
def test_loss_and_gradients_are_those_of_the_formula(objective: str, small_model: Path, tmp_path: Path) -> None:
    trainer = build(objective, small_model, tmp_path)
    batch = trainer.data_collator([trainer.train_dataset[0], trainer.train_dataset[1]])
    count = batch["num_unlearn"]
    kept = {"gradient_ascent": 0, "simnpo": 4}.get(objective, 2)
    assert (count, len(batch["input_ids"])) == (2, 2 + kept)
    model = trainer.model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    found = trainer.compute_loss(model, dict(batch))
    expected = by_hand(objective, model, batch, count)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    ours = torch.autograd.grad(found, trained)
    theirs = torch.autograd.grad(expected, trained)
    scale = max(gradient.abs().max().item() for gradient in theirs)
    assert scale > 0
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-5 * scale)


def test_npo_begins_where_its_paper_says_whatever_the_batch(small_model: Path, tmp_path: Path) -> None:
    trainer = build("npo", small_model, tmp_path)
    with torch.no_grad():
        for name, parameter in trainer.model.named_parameters():
            if "lora_B" in name:
                parameter.zero_()
    batch = trainer.data_collator([trainer.train_dataset[2]])
    # The divergence from the base is nothing either.
    assert trainer.compute_loss(trainer.model, batch).item() == pytest.approx(2 / 0.3 * math.log(2), rel=1e-6)


def test_a_section_of_another_method_is_refused(config_text: Callable[..., str]) -> None:
    from engine.errors import ConfigError

    with pytest.raises(ConfigError, match=r"unlearning.beta is for method.name .*npo.*, and it is sft"):
        loads(config_text(unlearning={"beta": 0.5}), "run.yaml").check()
