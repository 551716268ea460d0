"""What the methods that compare answers share: their data sets, their counts, and references computed once.

The reference is the base model: TRL switches the adapter off for it, so no second model is held. Of a run, or a stage,
that goes on with an adapter it is a frozen copy of that one, unless the base is asked for.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, concatenate_datasets

from engine.data.preparing import PreparedCache, Preparing
from engine.data.rows import Row
from engine.errors import WorkspaceError
from engine.training.method import Counted

_LORA = "lora_"
"""What the names of an adapter's parameters have in them; the base has none."""
_REFERENCE = "ref"
"""What TRL calls its copy of the adapter that a trainer began with."""


class PreparingPreferences(Preparing):
    """Mixed in before TRL's DPO and KTO trainers: the reference's figures are kept with the prepared rows."""

    def __init__(
        self, *, between: Callable[[], None] | None = None, base_is_reference: bool = False, **arguments: Any
    ) -> None:
        self.between = between
        self.base_is_reference = base_is_reference
        super().__init__(**arguments)
        self._leave_reference_out()

    def _leave_reference_out(self) -> None:
        """Delete TRL's copy of the adapter begun with: without one it switches the adapter off."""
        if self.base_is_reference and _REFERENCE in getattr(self.model, "peft_config", {}):
            self.model.delete_adapter(_REFERENCE)

    def compute_ref_log_probs(self, model: Any, inputs: Any) -> Any:
        """Let TRL compute, and hear between two batches whether to go on."""
        if self.between is not None:
            self.between()
        return super().compute_ref_log_probs(model, inputs)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Save as the library does, without its copy of the adapter that the run began with.

        That copy is the reference of a run on top of another. It is made anew at each start, from the run's `start/`.
        """
        super()._save(output_dir, state_dict)
        shutil.rmtree(Path(output_dir or self.args.output_dir) / _REFERENCE, ignore_errors=True)

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        """Let TRL compute the reference's log-probabilities, or take those of an earlier start.

        Overridden because TRL remembers them beside its own temporary files only, under a key in which the weights
        of the new adapter stand, so that another rank or seed would compute the same figures again.
        """
        self._leave_reference_out()  # TRL comes here from its `__init__`
        key = self._reference_key(dataset, batch_size)
        found = self.prepared.get(key) if self.prepared is not None and key is not None else None
        several = self.prepared.together if self.prepared is not None else None
        if several is not None and self.prepared is not None and not dataset.cache_files:
            raise WorkspaceError(
                "The prepared rows could not be kept on the disk, where several processes find each other's figures.",
                remedy=f"Make room in {self.prepared.folder}, or set dpo.precompute_ref_log_probs: false.",
            )
        there = found is not None and len(found) == len(dataset)
        there = several.all(there) if several is not None else there
        if not there:
            together = super()._precompute_ref_logps(dataset, name, batch_size)
            if self.prepared is None or key is None:
                return together
            columns = [column for column in together.column_names if column not in dataset.column_names]
            if several is None or several.first:
                self.prepared.put(key, together.select_columns(columns).with_format(None).flatten_indices())
        else:
            together = concatenate_datasets([dataset, found], axis=1)
        assert self.prepared is not None
        return self.prepared.same(together, dataset)

    def _reference_key(self, dataset: Any, batch_size: int) -> str | None:
        """Return the hash of what the reference's figures depend on: rows, weights, and how they are batched."""
        prepared: PreparedCache | None = self.prepared
        rows = prepared.key_of(dataset) if prepared is not None else None
        if rows is None:
            return None
        if not hasattr(self, "_reference_weights"):
            self._reference_weights = weights_hash(
                (name, tensor)
                for name, tensor in self.model.named_parameters()
                if _LORA not in name or f".{_REFERENCE}." in name  # of a run on top of another, what it began with
            )
        about = {
            "rows": rows,
            "weights": self._reference_weights,
            # Padding and the order of additions change the last digits.
            "batch": batch_size,
            "max_length": self.args.max_length,
            "device": self.args.device.type,
            "kind": type(self.args).__name__,
            "options": [getattr(self.args, name, None) for name in ("ld_alpha", "loss_type", "bf16", "fp16")],
            "attention": getattr(self.model.config, "_attn_implementation", None),
        }
        return hashlib.blake2b(json.dumps(about, default=str).encode(), digest_size=20).hexdigest()


def weights_hash(tensors: Iterable[tuple[str, torch.Tensor]]) -> str:
    """Return a hash of parameters: a second for a gigabyte."""
    digest = hashlib.blake2b(digest_size=20)
    for name, tensor in tensors:
        digest.update(name.encode())
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(memoryview(tensor.detach().contiguous().view(-1).view(torch.uint8).cpu().numpy()))
    return digest.hexdigest()


def count_answers(rows: Sequence[Row], dataset: Dataset, max_length: int | None, answers: Sequence[str]) -> Counted:
    """Return what a prepared data set holds of prompts with one or several answers each.

    TRL drops rows whose prompt fills the whole length, and keeps the numbers of the others.

    Args:
        rows: As read.
        dataset: With `prompt_ids` and the columns in `answers`.
        max_length: Tokens of a prompt with an answer; what is longer is cut.
        answers: Columns of token ids.
    """
    counted, kept = Counted(), set[int]()
    for batch in dataset.select_columns(["row", "prompt_ids", *answers]).iter(1_000):
        for position, number in enumerate(batch["row"]):
            kept.add(number)
            prompt, cut = len(batch["prompt_ids"][position]), False
            for column in answers:
                answer = len(batch[column][position])
                left = answer if max_length is None else max(0, min(answer, max_length - prompt))
                counted.num_tokens += prompt + left
                counted.num_trained_tokens += left
                cut = cut or left < answer
            counted.rows_cut += cut
    counted.unlearnable = [number for number in range(len(rows)) if number not in kept]
    return counted
