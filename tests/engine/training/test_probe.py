"""Two steps of pairs and of unlearning are steps of these methods, with all they put into a batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.config.load import loads
from engine.config.methods import sequences_per_row
from engine.launch.prepare import settle
from engine.launch.probe import _specification
from engine.workspace import Workspace
from tests.engine.training.conftest import rows, write_rows


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("dpo", {}),
        ("kto", {}),
        ("npo", {"unlearning": {"target": "completion", "retain_per_unlearn": 2}}),
        ("grad_diff", {"unlearning": {"target": "completion", "retain_loss": "kl"}}),
    ],
)
def test_what_is_tried_is_a_step_of_the_method(
    method: str, more: dict[str, Any], small_model: Path, tmp_path: Path
) -> None:
    from engine.hardware.machine import Room
    from engine.training.probe import _Probe

    pairs = [{"prompt": row["instruction"], "chosen": row["output"], "rejected": "No."} for row in rows(count=6)]
    long = {"prompt": "What?", "chosen": "Yes.", "rejected": "I cannot say " * 6}
    train = rows("retain", 6) + rows("unlearn", 4) if more else [*pairs, long]
    write_rows(tmp_path / "train.jsonl", train)
    text = json.dumps({
        "model": {"name": str(small_model), "device": "cpu"}, "data": {"train": "train.jsonl", "max_length": 160},
        "method": {"name": method}, "lora": {"r": 2}, "training": {"per_device_train_batch_size": 2}, **more,
    })  # fmt: skip
    given = settle(Workspace(tmp_path), loads(text, "test.yaml"))
    probe = _Probe(_specification(given, Room("cpu", "any", None, None)))
    probe.load()
    found = probe.trial(2, 0)
    assert found["fits"], found
    assert found["tokens_per_second"] > 0
    # The rejected answer is the longest there is; of unlearning every row is padded to the refusal.
    assert found["length"] >= (80 if method == "dpo" else 60)
    sequences = sequences_per_row(given.resolved.config)
    assert sequences == {"dpo": 2, "kto": 1, "npo": 3, "grad_diff": 2}[method]
    assert 0 < found["trained_share"] < 1
    assert probe.trial(1 if method != "kto" else 2, 96)["fits"]
