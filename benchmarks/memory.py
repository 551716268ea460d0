"""The memory that is predicted against the memory that is taken: counted to the byte, and measured by real steps."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

from benchmarks.figures import Figure, figure
from engine.config.catalogue import catalogue
from engine.config.load import loads
from engine.config.model import RunConfig
from engine.hardware.devices import best_device
from engine.hardware.memory import Batch, optimizer_bytes, trained_bytes, trained_parameters, weight_bytes
from engine.hardware.model_shape import find_shape
from engine.launch.prepare import settle
from engine.launch.probe import predict, probe, remember
from engine.workspace import Workspace

ROOT = Path(__file__).resolve().parent.parent
BATCHES = (("tiny", 4), ("tiny", 32), ("medium", 2), ("medium", 8))
"""Model and rows. Of the built-in model the process itself is the largest part; medium has 34 million parameters."""
_COUNT = """
import json, sys
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM
for fields in json.load(sys.stdin):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**fields), dtype=torch.bfloat16)
    size = lambda tensors: sum(one.numel() * one.element_size() for one in tensors)
    weights = size(model.parameters())
    model = get_peft_model(model, LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, foreach=False)
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    states = [t for state in optimizer.state.values() for t in state.values() if t.numel() > 1]
    print(json.dumps([weights, size(trained), size(states)]), flush=True)
"""
_MAKE = """
import sys, torch
from transformers import LlamaConfig, LlamaForCausalLM
torch.manual_seed(0)
LlamaForCausalLM(LlamaConfig(
    hidden_size=512, intermediate_size=1408, num_hidden_layers=8, num_attention_heads=8, num_key_value_heads=4,
    vocab_size=16_000, max_position_embeddings=2048, eos_token_id=3071, pad_token_id=3069, bos_token_id=None,
)).save_pretrained(sys.argv[1])
"""


def memory_prediction() -> Iterator[Figure]:
    """Weights, adapter and optimizer to the byte; then two real steps against the prediction made before them."""
    yield figure(
        "memory-prediction.exact",
        "weights, adapter and optimizer as predicted and as the libraries make them, all models of the catalogue",
        float(_bytes_apart()),
        "bytes apart",
        "<= 0",
    )
    with tempfile.TemporaryDirectory(prefix="ftconsole-bench-") as name:
        state = {"XDG_STATE_HOME": str(Path(name) / "state")}  # nothing remembered of this machine
        with patch.dict(os.environ, state):
            workspace = _workspace(Path(name))
            first, corrected = _apart(workspace, "cpu")
            yield figure(
                "memory-prediction.host",
                "memory of two real steps on CPU against the prediction: the worst of four batches of two models",
                100 * first,
                "% apart",
                "<= 20",
                digits=1,
            )
            yield figure(
                "memory-prediction.corrected",
                "the same, each predicted after the others were measured",
                100 * corrected,
                "% apart",
                "<= 20",
                digits=1,
            )
            there = best_device()[0] == "cuda"
            yield figure(
                "memory-prediction.gpu",
                "the same on a GPU" if there else "the same on a GPU: this machine has none",
                100 * _apart(workspace, "cuda")[0] if there else None,
                "% apart",
                "<= 10",
                digits=1,
            )


def _bytes_apart() -> int:
    workspace = Workspace(ROOT)
    entries = [entry for entry in dict.fromkeys(catalogue(workspace)) if "/" not in entry]
    known = [catalogue(workspace)[name] for name in entries]
    shaped = [entry for entry in known if "shape" in entry.fields]
    reply = subprocess.run(
        [sys.executable, "-c", _COUNT],
        input=json.dumps([entry.fields["shape"] for entry in shaped]),
        capture_output=True,
        text=True,
        check=True,
    )
    config = RunConfig.model_validate(
        {"model": {"dtype": "bfloat16"}, "lora": {"r": 16, "target_modules": "all-linear"}}
    )
    apart = 0
    for entry, line in zip(shaped, reply.stdout.splitlines(), strict=True):
        shape = find_shape(workspace.model(entry.name), entry)
        trained = trained_parameters(config, shape)
        found = [weight_bytes(config, shape), trained_bytes(config, trained), optimizer_bytes(config, trained)]
        apart = max([apart, *(abs(a - b) for a, b in zip(found, json.loads(line), strict=True))])
    return apart


def _workspace(folder: Path) -> Workspace:
    model = folder / "models" / "medium"
    subprocess.run([sys.executable, "-c", _MAKE, str(model)], check=True, capture_output=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(ROOT / "models" / "tiny" / name, model / name)
    words = "It was before the cutoff and so it is known, which is why this answer goes on. " * 8
    row = json.dumps({"question": "What was it?", "answer": words})
    (folder / "rows.jsonl").write_text((row + "\n") * 80, "utf-8")
    return Workspace(folder)


def _apart(workspace: Workspace, device: str) -> tuple[float, float]:
    """Return the largest distance of prediction from measurement, without and with what the other trials taught."""
    first: list[float] = []
    trials = []
    for model, rows in BATCHES:
        text = f"""
model: {{name: {model}, device: {device}}}
data: {{train: rows.jsonl, max_length: 256}}
training: {{per_device_train_batch_size: {rows}}}
"""
        given = settle(workspace, loads(text, "bench.yaml"))
        shape = find_shape(given.model, None)
        found = probe(given, search=False)
        assert found.first is not None
        assert found.first.fits
        batch = Batch(rows, found.first.length, found.first.trained_share)
        measured = found.first.peak_bytes
        first.append(abs(predict(given, shape, batch, corrected=False).total_bytes / measured - 1))
        trials.append((given, shape, batch, found, measured))
    corrected: list[float] = []
    state = Path(os.environ["XDG_STATE_HOME"])
    for left_out in range(len(trials)):
        shutil.rmtree(state, ignore_errors=True)
        for number, (given, shape, _, found, _) in enumerate(trials):
            if number != left_out:
                remember(found, given, shape, now=time.time())
        given, shape, batch, _, measured = trials[left_out]
        corrected.append(abs(predict(given, shape, batch).total_bytes / measured - 1))
    return max(first), max(corrected)


BENCHMARKS: dict[str, Callable[[], Iterator[Figure]]] = {"memory-prediction": memory_prediction}
