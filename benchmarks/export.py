"""Exports: what they cost against llama.cpp's converter and cyllama alone, and whether llama.cpp computes the same."""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.console import FTCONSOLE
from benchmarks.figures import Figure, figure
from engine.export.converter_fetch import fetch_converter
from engine.export.gguf import export
from engine.export.gguf_plan import Asked, plan_export
from engine.export.quantisation import parse
from engine.spec import local_model
from engine.workspace import Workspace, shipped_folder

TYPES = "f16,q8_0,q6_k,q5_k_m,q4_k_m,q4_k_s,q3_k_m"
NUM_TOKENS = 64
TURNS = {"tiny": 3, "0.5b": 1}


@dataclass(frozen=True)
class Cost:
    """Of a process and of all it has started."""

    seconds: float
    processor_seconds: float
    peak_bytes: int
    """Of the largest of them."""


def export_cost() -> Iterator[Figure]:
    """Conversion and seven types: `ftconsole export` against the converter and cyllama called by a script, in turns."""
    converter = fetch_converter()
    with tempfile.TemporaryDirectory(prefix="ftconsole-bench-") as folder:
        for name, make in (("tiny", _built_in), ("0.5b", _half_a_billion)):
            model = make(Path(folder) / "model")
            ours, bare = list[Cost](), list[Cost]()
            for _ in range(TURNS[name]):
                out = Path(folder) / "out"
                out.mkdir()
                bare.append(
                    _cost([sys.executable, "-m", "benchmarks.bare_export", str(converter.folder), str(model),
                           str(out / "bare"), TYPES])
                )  # fmt: skip
                _empty(out)
                ours.append(
                    _cost([*FTCONSOLE, "export", str(model), "-o", str(out / "x.gguf"), "--quant", TYPES, "--json",
                           "--llama-cpp-path", str(converter.folder)])
                )  # fmt: skip
                _empty(out)
                out.rmdir()
            processor = _ratio(ours, bare, lambda cost: cost.processor_seconds)
            yield figure(
                f"export-cost.{name}-time",
                f"export of {name}, conversion and {TYPES.count(',')} types, time over converter and cyllama alone "
                f"({statistics.median(one.seconds for one in ours):.0f} s; processor time {processor:.2f})",
                _ratio(ours, bare, lambda cost: cost.seconds), "", "<= 1.1",
            )  # fmt: skip
            yield figure(
                f"export-cost.{name}-memory",
                f"export of {name}, peak memory over theirs "
                f"({max(one.peak_bytes for one in ours) / 1e9:.2f} GB)",
                _ratio(ours, bare, lambda cost: float(cost.peak_bytes)), "", "<= 1.1",
            )  # fmt: skip


def architectures() -> Iterator[Figure]:
    """How often llama.cpp has the same likeliest token as transformers, for random models exported as f16."""
    import torch
    from transformers import AutoModelForCausalLM

    from benchmarks.architectures import ARCHITECTURES, build

    converter = fetch_converter()
    chance = random.Random(0)
    for name in ARCHITECTURES:
        with tempfile.TemporaryDirectory(prefix="ftconsole-bench-") as folder:
            model, target = build(name, Path(folder) / name), Path(folder) / "x.gguf"
            asked = Asked(
                local_model(Workspace(Path(folder)), str(model)), target, parse("f16"), llama_cpp=str(converter.folder)
            )
            export(plan_export(asked))
            loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
            ids = [chance.randrange(300, loaded.config.vocab_size - 8) for _ in range(NUM_TOKENS)]
            with torch.inference_mode():
                wanted = loaded(torch.tensor([ids])).logits[0].argmax(-1).tolist()
            said = subprocess.run(
                [sys.executable, "-m", "benchmarks.llama_argmax", str(target), json.dumps(ids)],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            same = sum(one == other for one, other in zip(wanted, json.loads(said.stdout), strict=True))
        yield figure(
            f"architectures.{name}",
            f"{name}: the same likeliest token in llama.cpp (f16) as in transformers (float32), of {NUM_TOKENS}, "
            f"{len(set(wanted))} of them different",
            same / NUM_TOKENS, "", ">= 0.97", digits=3,
        )  # fmt: skip


def _cost(command: Sequence[str]) -> Cost:
    import time

    began = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    process = subprocess.Popen(
        list(command), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment
    )
    assert process.stderr is not None
    words = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    if process.returncode:
        raise RuntimeError(words.decode(errors="replace")[-2000:])
    return Cost(time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def _ratio(ours: Sequence[Cost], bare: Sequence[Cost], what: Callable[[Cost], float]) -> float:
    return statistics.median(what(one) / what(other) for one, other in zip(ours, bare, strict=True))


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def _built_in(folder: Path) -> Path:
    del folder
    return shipped_folder() / "models" / "tiny"


def _half_a_billion(folder: Path) -> Path:
    """Write a model of the shape of Qwen2.5-0.5B with random weights, and the built-in model's tokenizer."""
    import shutil

    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tiny = shipped_folder() / "models" / "tiny"
    config = Qwen2Config(
        vocab_size=151_936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14,
        num_key_value_heads=2, tie_word_embeddings=True, eos_token_id=3071, pad_token_id=3069, bos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    previous = torch.get_default_dtype()
    torch.set_default_dtype(torch.float16)
    try:
        Qwen2ForCausalLM(config).save_pretrained(folder)
    finally:
        torch.set_default_dtype(previous)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        shutil.copyfile(tiny / name, folder / name)
    return folder


BENCHMARKS = {"export-cost": export_cost, "architectures": architectures}
