"""Two real steps on the longest batch, and what they took: `python -P -m engine.training.probe SPEC`.

One JSON object per line on stdout, see `engine.launch.probe`. Running out of memory is one of the answers.
"""

from __future__ import annotations

import contextlib
import gc
import heapq
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.errors import EngineError, NothingToLearn, OutOfMemory
from engine.training.libraries import importing, trains_without_bitsandbytes, without_bitsandbytes

_STEPS = 2
"""The optimizer's state is made in the first step, so the second is the one that needs all of it."""
_CANDIDATES = 256
"""Longest rows by characters that are tokenised to find the longest by tokens."""
_WARM_UP = 256
_ALSO_MEMORY = ("could not create a primitive", "can't start new thread")
"""What oneDNN and Python say when the memory limit set here is reached; in a run they may mean something else."""


def main(arguments: list[str] | None = None) -> int:
    """Read the specification, measure, and print. Returns 1 when it could not be tried."""
    specification = json.loads(Path((arguments or sys.argv[1:])[0]).read_text("utf-8"))
    # Libraries print; stdout is ours alone.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(event: str, **values: Any) -> None:
        out.write(json.dumps({"event": event, **values}) + "\n")
        out.flush()

    stage = "loading"
    try:
        say("stage", name="the training libraries")
        probe = _Probe(specification)
        say("context", bytes=probe.context_bytes)
        say("stage", name=f"loading {probe.resolved.config.model.name}")
        probe.load()
        stage = "preparing"
        say("loaded", **probe.counted())
        stage = "training"
        for rows, max_length in _sizes(specification, sys.stdin):
            shorter = f" of at most {max_length} tokens" if max_length else ""
            say("stage", name=f"two steps of {rows} row" + ("s" if rows > 1 else "") + shorter)
            say("trial", **probe.trial(rows, max_length), max_length=max_length)
    except BaseException as error:  # noqa: BLE001 - the boundary of the process: whatever it is, it is an answer
        from engine.training.failures import explained

        failure = explained(error, stage)
        if not isinstance(error, EngineError):
            import traceback

            traceback.print_exc()
        say("failed", out_of_memory=isinstance(failure, OutOfMemory), **failure.as_dict())
        return 1
    return 0


def _sizes(specification: dict[str, Any], asked: Iterator[str]) -> Iterator[tuple[int, int]]:
    """Yield rows and maximum length to try: first as configured, then what is asked for on stdin until it closes.

    A length of 0 is the configured one.
    """
    yield int(specification["rows"]), 0
    for line in asked:
        rows, _, max_length = line.partition(" ")
        yield int(rows), int(max_length)


class _Probe:
    """A model on its device, and trials with it."""

    def __init__(self, specification: dict[str, Any]) -> None:
        from engine.config.resolved import ResolvedConfig

        self.files: list[dict[str, Any]] = specification["files"]
        self.source: str = specification["source"]
        self.commit: str | None = specification["commit"]
        self.beside: str | None = specification["beside"]
        self.resolved = ResolvedConfig.from_yaml(specification["config"])
        if trains_without_bitsandbytes(self.resolved, self.source, self.commit):
            without_bitsandbytes()
        with importing():
            import datasets
            import torch
            import transformers
            from trl import SFTTrainer

            from engine.training import loading

        datasets.disable_progress_bars()
        transformers.utils.logging.disable_progress_bar()
        self.trainer_class, self.loading, self.torch = SFTTrainer, loading, torch
        used_before = self._device_used() if self.resolved.config.model.device.startswith("cuda") else 0
        self.device = loading.pick_device(self.resolved.config.model.device)
        self._warm_up()
        self.context_bytes = self._context(used_before)
        if self.device.type == "cpu":
            _limit_memory(specification["free_bytes"])
        self.tried = False
        self.model: Any = None
        self.rows: list[Any] = []
        self.folder = tempfile.TemporaryDirectory(prefix="ftconsole-probe-")

    def load(self) -> None:
        """Load model, tokenizer and the longest rows."""
        from engine.config.arguments import lora_arguments

        loaded = self.loading.load(self.resolved, self.source, self.device, commit=self.commit)
        self.model, self.tokenizer = loaded.model, loaded.tokenizer
        self.base_bytes = _bytes_of(self.model.parameters())
        self.rows = _longest_rows(self.files)
        # What the first weights are decides nothing about memory, and taking the base apart takes minutes.
        self.peft: Any = {**lora_arguments(self.resolved), "init_lora_weights": True}
        if self.beside is not None:
            self.model = self.loading.with_adapter(self.model, Path(self.beside), beside=self.peft)

    def counted(self) -> dict[str, int]:
        return {"weight_bytes": self.base_bytes}

    def trial(self, rows: int, max_length: int) -> dict[str, Any]:
        """Return what two steps of `rows` rows take, or that they do not fit; at `max_length` 0 as long as they are."""
        began = time.monotonic()
        trainer: Any = None
        try:
            trainer = self._trainer(rows, max_length)
            measured = self._measure(trainer, rows)
        except BaseException as error:
            from engine.training.failures import explained

            failure = explained(error, "training")
            if not isinstance(failure, OutOfMemory) and not any(said in str(error) for said in _ALSO_MEMORY):
                raise
            measured = {"rows": rows, "fits": False, "said": failure.message}
        if trainer is not None:
            self.model = trainer.model  # with the adapter on it
            trainer.model = trainer.model_wrapped = trainer.optimizer = None
        del trainer
        gc.collect()
        if self.device.type == "cuda":
            self.torch.cuda.empty_cache()
        return {**measured, "wall_seconds": round(time.monotonic() - began, 3)}

    def _trainer(self, rows: int, max_length: int) -> Any:
        from peft import LoraConfig, PeftModel
        from trl import SFTConfig

        from engine.config.arguments import sft_arguments
        from engine.config.methods import method_of
        from engine.training.splits import Split

        method = method_of(self.resolved.config)
        if method.trainer != "sft" or method.pushes_away:
            return self._trainer_of_method(rows, max_length)
        arguments = self._shortened(sft_arguments(self.resolved, Path(self.folder.name)), rows, max_length)
        arguments["shuffle_dataset"] = False
        config = SFTConfig(**arguments)
        copies = self.rows
        if config.packing:  # enough to fill the sequences
            copies = self.rows * max(1, -(-2 * rows * _STEPS * (config.max_length or 1024) // (64 * len(self.rows))))
        adapted = isinstance(self.model, PeftModel)
        trainer = self.trainer_class(
            model=self.model,
            args=config,
            train_dataset=Split("train", copies, []).dataset(),
            processing_class=self.tokenizer,
            peft_config=None if adapted else LoraConfig(**self.peft),
        )
        prepared = trainer.train_dataset
        if not len(prepared):
            raise _nothing_left(config.max_length)
        lengths = [len(ids) for ids in prepared["input_ids"]]
        longest = sorted(range(len(lengths)), key=lambda n: -lengths[n])
        # The longest `rows` rows, again in the next step; where there are fewer, some twice.
        chosen = [longest[n % len(longest)] for n in range(rows)]
        trainer.train_dataset = prepared.select(chosen * _STEPS)
        self._widened(trainer)
        return trainer

    def _trainer_of_method(self, rows: int, max_length: int) -> Any:
        """Return a trainer of pairs or of unlearning: its own loss, what it sees of the reference, its own batches."""
        from peft import LoraConfig, PeftModel

        from engine.config.arguments import trainer_arguments
        from engine.runs.directory import RunDirectory
        from engine.training.control import CommandReader, Control
        from engine.training.method import training_method
        from engine.training.observation import Observation
        from engine.training.reporter import Reporter
        from engine.training.splits import Split

        config, folder = self.resolved.config, Path(self.folder.name)
        method = training_method(config)
        arguments = self._shortened(trainer_arguments(self.resolved, folder), rows, max_length)
        split = Split("train", self._longest_by_tokens(rows), [])
        method.arrange(split)
        trainer = method.trainer_class(
            model=self.model,
            args=method.arguments_class(**arguments),
            train_dataset=method.dataset(split.rows),
            processing_class=self.tokenizer,
            peft_config=None if isinstance(self.model, PeftModel) else LoraConfig(**self.peft),
            **method.trainer_arguments,
        )
        if not len(trainer.train_dataset):
            raise _nothing_left(trainer.args.max_length)
        trainer.take_prepared(split.rows)
        reporter = Reporter(folder / "events.jsonl")
        control = Control(CommandReader(folder / "commands.jsonl"), reporter)
        trainer.observe(Observation(RunDirectory(folder), "", reporter, control))
        self._widened(trainer)
        return trainer

    def _longest_by_tokens(self, rows: int) -> list[Any]:
        """Return as many rows as two steps take, the longest of each kind again and again."""

        def tokens(row: Any) -> int:
            answers = [row.completion, *([row.rejected] if row.rejected else [])]
            texts = [self.tokenizer.apply_chat_template([*row.prompt, *one], tokenize=False) for one in answers]
            return max(len(self.tokenizer(text)["input_ids"]) for text in texts)

        ordered = sorted((row for row in self.rows if row.prompt), key=tokens, reverse=True)
        kinds = [[row for row in ordered if row.dataset_type == kind] for kind in ("unlearn", "retain")]
        kinds = kinds if any(kinds) else [ordered]
        return [kind[:rows][place % len(kind[:rows])] for kind in kinds if kind for place in range(rows * _STEPS)]

    def _shortened(self, arguments: dict[str, Any], rows: int, max_length: int) -> dict[str, Any]:
        """Return the arguments of a run as those of two steps with so many rows."""
        arguments = {
            **arguments,
            "per_device_train_batch_size": rows,
            "gradient_accumulation_steps": 1,
            "max_steps": _STEPS,
            "eval_strategy": "no",
            "report_to": "none",
            "logging_steps": 1,
            "dataloader_num_workers": 0,
            "train_sampling_strategy": "sequential",
        }
        for name in ("model_init_kwargs", "dataloader_prefetch_factor"):
            arguments.pop(name, None)
        if max_length:
            arguments["max_length"] = max_length
        return arguments

    @staticmethod
    def _widened(trainer: Any) -> None:
        if trainer.args.fp16:
            for parameter in trainer.model.parameters():
                if parameter.requires_grad:
                    parameter.data = parameter.data.float()

    def _measure(self, trainer: Any, rows: int) -> dict[str, Any]:
        from transformers import TrainerCallback

        from engine.config.methods import sequences_per_row

        ends: list[float] = []
        shapes: list[tuple[int, int]] = []

        class Clock(TrainerCallback):
            def on_step_end(self, *_: Any, **__: Any) -> None:
                ends.append(time.monotonic())

        collate = trainer.data_collator

        def seen(features: Any) -> Any:
            batch = collate(features)
            shapes.append(tuple(batch["input_ids"].shape))
            trained = batch["completion_mask"] if "completion_mask" in batch else batch["labels"] != -100
            self.trained_share = float(trained.float().mean())
            return batch

        trainer.data_collator = seen
        trainer.add_callback(Clock())
        if self.device.type != "cuda":  # with the trainer's own modules; weights may be mapped and not read yet
            held = _bytes_of(trainer.model.parameters())
            if not self.tried:
                self.context_bytes = max(self.context_bytes, _resident_bytes() - held)
            self.tried = True
        _reset_peak(self.torch, self.device)
        began = time.monotonic()
        trainer.train()
        peak = _peak(self.torch, self.device)
        states = [value for state in trainer.optimizer.optimizer.state.values() for value in state.values()]
        tensors = [value for value in states if self.torch.is_tensor(value) and value.numel() > 1]
        last = ends[-1] - (ends[-2] if len(ends) > 1 else began)
        number = shapes[-1][0] * shapes[-1][1]
        return {
            "rows": rows,
            "fits": True,
            "length": number // (rows * sequences_per_row(self.resolved.config)),
            "trained_share": round(self.trained_share, 4),
            "context_bytes": self.context_bytes,
            "peak_bytes": peak + (self.context_bytes if self.device.type == "cuda" else 0),
            "adapter_bytes": _bytes_of(trainer.model.parameters()) - self.base_bytes,
            "optimizer_bytes": _bytes_of(tensors),
            "step_seconds": round(last, 4),
            "tokens_per_second": round(number / last, 1) if last > 0 else None,
        }

    def _warm_up(self) -> None:
        """Do a little of what training does, so that threads, kernels and generated code are there already."""
        torch = self.torch
        weights = torch.nn.Linear(_WARM_UP, _WARM_UP, device=self.device)
        optimizer = torch.optim.AdamW(weights.parameters())
        weights(torch.randn(_WARM_UP, _WARM_UP, device=self.device)).square().mean().backward()
        optimizer.step()

    def _context(self, used_before: int) -> int:
        if self.device.type == "cuda":
            reserved = int(self.torch.cuda.memory_reserved())
            return max(0, self._device_used() - used_before - reserved)
        return _resident_bytes()

    def _device_used(self) -> int:
        """Return what all processes use of the card that is visible here; 0 when the driver does not tell."""
        from engine.hardware.devices import cuda_readings

        number = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
        found = [one for one in cuda_readings() if number in (str(one.index), one.uuid)]
        return found[0].used_bytes or 0 if found else 0


def _longest_rows(files: list[dict[str, Any]]) -> list[Any]:
    """Return the longest rows of the training files by characters, the longest first."""
    from engine.data.rows import Row, read_rows

    def rows() -> Iterator[tuple[int, int, Row]]:
        number = 0
        for file in files:
            for row in read_rows(Path(file["path"]), limit=file["limit"], mapping=file["mapping"]):
                if isinstance(row, Row):
                    number += 1
                    answers = [sum(len(turn["content"]) for turn in one) for one in (row.completion, row.rejected)]
                    yield sum(len(turn["content"]) for turn in row.prompt) + max(answers), -number, row

    longest: dict[str | None, list[tuple[int, int, Row]]] = {}
    for item in rows():  # of each kind: the longest rows to unlearn are rarely the longest
        kept = longest.setdefault(item[2].dataset_type, [])
        heapq.heappush(kept, item) if len(kept) < _CANDIDATES else heapq.heappushpop(kept, item)
    found = [item for kept in longest.values() for item in kept]
    return [_without_metadata(row) for _, _, row in sorted(found, reverse=True)]


def _without_metadata(row: Any) -> Any:
    return replace(row, metadata={"dataset_type": row.dataset_type} if row.dataset_type is not None else {})


def _nothing_left(max_length: object) -> NothingToLearn:
    return NothingToLearn(
        f"No token of an answer is left within data.max_length {max_length}, so there is nothing to try.",
        remedy="Set data.max_length higher, or shorten the questions.",
    )


def _bytes_of(tensors: Any) -> int:
    return sum(one.numel() * one.element_size() for one in tensors)


def _limit_memory(free: int | None) -> None:
    """Have allocations fail beyond what is free, as an answer; else the kernel might kill whatever is largest."""
    if free is None or not Path("/proc/self/status").exists():
        return
    import resource

    limit = _resident_bytes("VmData") + max(0, free - _resident_bytes())
    with contextlib.suppress(ValueError, OSError):  # a lower limit is set already
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _resident_bytes(field: str = "VmRSS") -> int:
    """Return a line of /proc/self/status in bytes; elsewhere the peak of the process so far."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _reset_peak(torch: Any, device: Any) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        with contextlib.suppress(OSError):  # 5: forget the peak of resident memory (Linux only)
            Path("/proc/self/clear_refs").write_text("5")


def _peak(torch: Any, device: Any) -> int:
    return int(torch.cuda.max_memory_allocated()) if device.type == "cuda" else _resident_bytes("VmHWM")


if __name__ == "__main__":
    sys.exit(main())
