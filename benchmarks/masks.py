"""The doctor against the bare tokenizer, the mask microscope's next row, and a start on data prepared before."""

from __future__ import annotations

import asyncio
import json
import os
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.console import FTCONSOLE
from benchmarks.figures import Figure, figure
from engine import events
from engine.data.doctor import Asked, examine_files
from engine.data.microscope import Lens, Microscope
from engine.data.rows import Row, read_rows
from engine.data.templates import load_template
from engine.runs.directory import RunDirectory
from engine.runs.follow import EventReader
from engine.workspace import shipped_folder

NUM_ROWS = 20_000
TURNS = 7
NUM_NEXT = 200
VOCABULARY = 151_643
"""Qwen2.5's, which the 1.5B model has too."""
SAMPLES = ("retain/retain_train.jsonl", "unlearn/unlearn_train.jsonl")


def _rows(path: Path, count: int, *, longer: int = 1) -> Path:
    """Write the sample rows again and again, none of them twice the same."""
    folder = shipped_folder() / "datasets"
    lines = [line for name in SAMPLES for line in (folder / name).read_text(encoding="utf-8").splitlines()]
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            row = json.loads(lines[number % len(lines)])
            row["instruction"] += f" ({number})"
            row["output"] = " ".join([row["output"]] * longer)
            file.write(json.dumps(row) + "\n")
    return path


def doctor_rate() -> Iterator[Figure]:
    """Rows per second of the doctor, reading and rendering included, over those of the tokenizer alone."""
    model = shipped_folder() / "models" / "tiny"
    template = load_template(model)
    with tempfile.TemporaryDirectory(prefix="ftconsole-bench-") as folder:
        for name, longer, max_length, how in (
            ("doctor-rate", 1, 768, "no row can reach max_length 768"),
            ("doctor-rate.long", 16, 192, "every row is tokenised, and is longer than max_length 192"),
        ):
            path = _rows(Path(folder) / "rows.jsonl", NUM_ROWS // min(longer, 4), longer=longer)
            read = [row for row in read_rows(path) if isinstance(row, Row)]
            texts = [template.render([*row.prompt, *row.completion]) for row in read]
            asked = Asked((str(path),), {}, str(model), max_length=max_length)
            ratios, rates = [], []
            for _ in range(TURNS):
                alone = _seconds(partial(template.encode_all, texts))
                whole = _seconds(partial(examine_files, asked))
                ratios.append(alone / whole)
                rates.append(len(read) / whole)
            rate = statistics.median(rates)
            yield figure(
                name,
                f"doctor, rows/s over those of tokenizers alone on all cores; {how}; {rate:,.0f} rows/s",
                statistics.median(ratios), "", ">= 0.7",
            )  # fmt: skip


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def mask_next() -> Iterator[Figure]:
    """From asking for the next row to having its tokens, in another process and with a vocabulary of a large model."""
    with tempfile.TemporaryDirectory(prefix="ftconsole-bench-") as folder:
        model = _large_tokenizer(Path(folder) / "model")
        path = _rows(Path(folder) / "rows.jsonl", NUM_NEXT + 10, longer=8)
        times, tokens = asyncio.run(_next_rows(Lens(str(model), {"max_length": 768}), path))
    yield figure(
        "mask-next",
        f"mask microscope, next row, p95 of {len(times)} ({tokens:.0f} tokens each, {VOCABULARY:,} in the vocabulary)",
        1e3 * statistics.quantiles(times, n=20)[-1], "ms", "<= 50", digits=1,
    )  # fmt: skip


async def _next_rows(lens: Lens, path: Path) -> tuple[list[float], float]:
    microscope = Microscope(lens)
    times, tokens = [], []
    try:
        await microscope.examine(path, 1)
        for line in range(2, NUM_NEXT + 2):
            began = time.perf_counter()
            examined = await microscope.examine(path, line)
            times.append(time.perf_counter() - began)
            tokens.append(len(examined.tokens))
    finally:
        await microscope.close()
    return times, statistics.mean(tokens)


def _large_tokenizer(folder: Path) -> Path:
    """Write a byte-level tokenizer of random merges, as large as Qwen2.5's, with the built-in model's template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    tiny = shipped_folder() / "models" / "tiny"
    known = json.loads((tiny / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    vocabulary: dict[str, int] = {token: number for number, token in enumerate(known["vocab"])}
    merges = [tuple(pair if isinstance(pair, list) else pair.split(" ")) for pair in known["merges"]]
    tokens, chance = list(vocabulary), random.Random(0)
    while len(tokens) < VOCABULARY - 3:
        one, other = chance.choice(tokens), chance.choice(tokens)
        if len(one) + len(other) < 16 and one + other not in vocabulary:
            vocabulary[one + other] = len(tokens)
            tokens.append(one + other)
            merges.append((one, other))
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "chat_template.jinja").write_text((tiny / "chat_template.jinja").read_text())
    (folder / "config.json").write_text('{"model_type": "qwen2"}')
    return folder


def prepared_cache() -> Iterator[Figure]:
    """From the rows read to the first step, on data prepared before, and on data that was not."""
    with tempfile.TemporaryDirectory(prefix="ftconsole-bench-") as name:
        folder = Path(name)
        _rows(folder / "rows.jsonl", NUM_ROWS)
        first, second = (_preparing_seconds(folder, run) for run in ("first", "second"))
    yield figure(
        "prepared-cache",
        f"preparing {NUM_ROWS:,} rows at the second start, trainer included; against the first start",
        second, "s", "< against", against=first,
    )  # fmt: skip


def _preparing_seconds(folder: Path, name: str) -> float:
    settings = {
        "data.train": str(folder / "rows.jsonl"), "data.validation": "{}", "training.max_steps": "1",
        "evaluation.eval_steps": "null", "evaluation.prompts": "[]", "evaluation.behaviour": "false",
        "saving.save_steps": "null", "saving.save_best": "false",
    }  # fmt: skip
    command = [*FTCONSOLE, "-w", str(folder), "train", "--preset", "demo", "--name", name, "--follow"]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    records = EventReader(RunDirectory(folder / "runs" / name).events).read().records
    # The second sentence of this stage comes when the rows are read.
    began = [r.time for r in records if isinstance(r.event, events.StageChanged) and r.event.stage == "preparing"][1]
    return next(r.time for r in records if isinstance(r.event, events.TrainingStarted)) - began


BENCHMARKS: dict[str, Callable[[], Iterator[Figure]]] = {
    "doctor-rate": doctor_rate,
    "mask-next": mask_next,
    "prepared-cache": prepared_cache,
}
