"""The process that merges an adapter into its base: `python -P -m engine.export.merge_worker`.

The base is loaded in the type it is stored in. One layer at a time is made float32, merged by PEFT and cast once, so
that the peak is the model and one layer, not the model twice over.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import warnings
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import CheckpointError, EngineError
from engine.export.beside import beside, put, writing
from engine.export.carried import carry, sizes
from engine.export.parts import Parts
from engine.export.progress import Progress, Tell, answer
from engine.training.libraries import without_bitsandbytes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PROMPTS = (
    "What is 2+2?",
    "Who wrote Romeo and Juliet?",
    "What is the capital of France?",
    "Who was the first person to walk on the moon?",
)
"""What a merge is verified with. The first is the one that people know from other tools."""
ANSWER_TOKENS = 32
LIMITS = {"float32": {"max_abs": 1e-4}, "float16": {"mean_kl": 1e-4}, "bfloat16": {"mean_kl": 1e-3}}
"""How far the merged model may be from base and adapter, both computed in float32. Cast weights are other weights: with
a base in bfloat16, a merge into bfloat16 was measured at 0.05 in the logits and 3e-5 nats."""


class MergeWrong(CheckpointError):
    """The merged model does not say what base and adapter say. It was not kept."""

    code = "merge-wrong"


def main() -> int:
    """Merge as the request says."""
    without_bitsandbytes()
    return answer(work, "The merge")


def work(request: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Merge, write beside, verify, rename; return what was made."""
    began = time.monotonic()
    target = Path(request["target"])
    with beside(target) as folder:
        tell(Progress("loading the libraries"))
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

        parts = Parts(**request["parts"])
        made = folder / "model"
        made.mkdir()
        reference = _Reference(parts, request, tell) if request["verify"] else None
        if reference is not None:
            reference.ask()
        with writing(target):
            tell(Progress(f"loading {request['base_name']}"))
            merge_weights(parts, made, request["dtype"], tell, max_shard_size=request["max_shard_size"])
            carried = carry(
                Path(request["base_folder"] or _fetched(parts)),
                Path(parts.adapter) if parts.adapter is not None else None,
                made,
                chat_template=request["chat_template"],
            )
            _write_record(made, request)
        verified = reference.compare(made, tell) if reference is not None else None
        with writing(target):
            _open_to_others(made)
        tell(Progress("writing to the disk"))
        put(made, target, replace=request["replace"])
    files = dict(sizes(target))
    return {
        "files": files,
        "bytes": sum(files.values()),
        "notes": carried.notes,
        "verified": verified,
        "seconds": round(time.monotonic() - began, 3),
    }


def merge_weights(parts: Any, made: Path, dtype: str, tell: Tell, *, max_shard_size: int | str) -> None:
    """Write the merged weights and their config.json.

    Args:
        parts: `engine.export.parts.Parts` with an adapter.
        made: Folder, empty.
        dtype: What the weights are cast to, once.
        tell: Told how far it is.
        max_shard_size: Of one file of weights.

    Raises:
        EngineError: Base or adapter cannot be loaded, or a merged weight is not finite.
    """
    import torch

    from engine.export.loading import DTYPES, load_base, put_on

    with torch.no_grad():
        model = put_on(load_base(parts), parts)
        merge_layers(model, DTYPES[dtype], tell)
        with warnings.catch_warnings():
            # They are; `unload` alone would leave a config that ties head and embedding where merging parted them.
            warnings.filterwarnings("ignore", message="All adapters are already merged")
            merged = model.merge_and_unload()
        _cast(merged, DTYPES[dtype])
        del model
    gc.collect()
    total = sum(parameter.nbytes for parameter in merged.parameters())
    tell(Progress("writing", 0, total, "bytes"))
    # What a model's own generation config says is carried along as it is; transformers would refuse to save some.
    from transformers import GenerationConfig

    merged.generation_config = GenerationConfig()
    merged.save_pretrained(made, max_shard_size=max_shard_size)
    (made / "generation_config.json").unlink(missing_ok=True)
    tell(Progress("writing", total, total, "bytes"))


def merge_layers(model: Any, dtype: Any, tell: Tell) -> None:
    """Merge every adapted layer in float32 and cast it once.

    Args:
        model: A `PeftModel`; its `merge_and_unload` has only to unload afterwards.
        dtype: What merged weights are cast to.
        tell: Told of every fiftieth layer.

    Raises:
        CheckpointError: A merged weight is not finite.
    """
    import torch
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    holders = Counter(
        id(parameter)
        for module in model.modules()
        for parameter in module._parameters.values()
        if parameter is not None
    )
    for number, layer in enumerate(layers):
        base = layer.get_base_layer()
        for name, parameter in list(base._parameters.items()):
            if parameter is None or not parameter.is_floating_point():
                continue
            # A head tied to the embedding shares its weight: merging one would merge the other.
            wide = parameter.data.to(torch.float32, copy=holders[id(parameter)] > 1)
            setattr(base, name, torch.nn.Parameter(wide, requires_grad=False))
        try:
            layer.merge(safe_merge=True)
        except ValueError as error:
            raise CheckpointError(
                f"Merging gives weights that are no numbers: {error}",
                remedy="The adapter is damaged, or training went wrong. Use an earlier checkpoint.",
            ) from error
        for name, parameter in list(base._parameters.items()):
            if parameter is not None and parameter.is_floating_point():
                setattr(base, name, torch.nn.Parameter(_cast_one(parameter.data, dtype, name), requires_grad=False))
        if number % 50 == 0:
            tell(Progress("merging", number, len(layers)))
    tell(Progress("merging", len(layers), len(layers)))


def _cast(model: Any, dtype: Any) -> None:
    """Cast what no adapter touched, but for what the architecture keeps in float32."""
    kept = (
        *(getattr(model, "_keep_in_fp32_modules", None) or ()),
        *(getattr(model, "_keep_in_fp32_modules_strict", None) or ()),
    )
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and not any(part in kept for part in name.split(".")):
            parameter.data = _cast_one(parameter.data, dtype, name)


def _cast_one(weight: Any, dtype: Any, name: str) -> Any:
    import torch

    cast = weight.to(dtype)
    if dtype == torch.float16 and not torch.isfinite(cast).all():
        raise CheckpointError(
            f"A weight of {name} is too large for float16.", remedy="Merge with --dtype bfloat16 or float32."
        )
    return cast


def _fetched(parts: Any) -> str:
    """Return the folder of a Hub model that loading it has put into the cache."""
    from huggingface_hub import snapshot_download

    return snapshot_download(parts.source, revision=parts.commit, local_files_only=True)


def _write_record(made: Path, request: dict[str, Any]) -> None:
    (made / "merge.json").write_text(json.dumps(request["record"], indent=2) + "\n", encoding="utf-8")


def _open_to_others(made: Path) -> None:
    """Give files and folders the mode that the user's umask says; safetensors makes its own 0600."""
    mask = os.umask(0)
    os.umask(mask)
    for path in [made, *made.rglob("*")]:
        path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)


class _Reference:
    """Base and adapter, asked in float32 before anything is merged, and what they said."""

    def __init__(self, parts: Any, request: dict[str, Any], tell: Tell) -> None:
        self.parts, self.request, self.tell = parts, request, tell
        self.asked: list[tuple[list[int], list[int], NDArray[np.float32]]] = []
        """Prompt, greedy answer, and logits of the answer's positions."""

    def ask(self) -> None:
        import torch

        from engine.export.loading import load_base, put_on
        from engine.export.torch_form import TorchForm

        self.tell(Progress("asking base and adapter", 0, len(PROMPTS), "prompts"))
        model = put_on(load_base(self.parts, torch.float32), self.parts)
        base = Path(self.request["base_folder"] or _fetched(self.parts))
        form = TorchForm(model, self._template(base), base)
        for number, prompt in enumerate(PROMPTS):
            ids = form.prompt_ids(prompt)
            said = form.answer(ids, ANSWER_TOKENS)
            self.asked.append((ids, said, form.logits(ids, said)))
            self.tell(Progress("asking base and adapter", number + 1, len(PROMPTS), "prompts"))
        del model, form
        gc.collect()

    def compare(self, made: Path, tell: Tell) -> dict[str, Any]:
        """Ask what was written the same, and return the comparison.

        Raises:
            MergeWrong: It is further away than the cast of the weights explains.
        """
        import torch

        from engine.data.templates import load_template
        from engine.export.difference import Meter
        from engine.export.loading import load_base
        from engine.export.torch_form import TorchForm

        tell(Progress("verifying", 0, len(PROMPTS), "prompts"))
        model = load_base(Parts(str(made), None, None, self.parts.trust_remote_code), torch.float32)
        form = TorchForm(model, load_template(made), made)
        meter, equal, answers = Meter(), 0, []
        for number, (prompt, (ids, said, logits)) in enumerate(zip(PROMPTS, self.asked, strict=True)):
            if form.prompt_ids(prompt) != ids:
                raise MergeWrong(
                    f"The merged folder writes the prompt {prompt!r} in other tokens than the adapter was given.",
                    remedy="Nothing was kept. Look at the chat template and the tokenizer of adapter and base.",
                )
            meter.add(logits, form.logits(ids, said))
            now = form.answer(ids, ANSWER_TOKENS)
            equal += now == said
            answers.append({"prompt": prompt, "response": form.text(now), "expected": form.text(said)})
            tell(Progress("verifying", number + 1, len(PROMPTS), "prompts"))
        found = asdict(meter.difference)
        for name, limit in LIMITS[self.request["dtype"]].items():
            if not found[name] <= limit:
                raise MergeWrong(
                    f"The merged model is not base and adapter: {name} is {found[name]:.3g}, at most {limit:g} is the "
                    f"cast to {self.request['dtype']}.",
                    remedy="Nothing was kept. Merge into float32 to see whether it is the cast.",
                )
        return {**found, "equal_answers": equal, "answers": answers, "limit": LIMITS[self.request["dtype"]]}

    def _template(self, base: Path) -> Any:
        """Return the template that training had: the run's, else the adapter's, else the base's."""
        from engine.data.templates import load_template

        adapter = Path(self.parts.adapter)
        given = self.request["chat_template"]
        for folder in (adapter, base) if (adapter / "tokenizer.json").is_file() else (base,):
            try:
                return load_template(folder, override=given)
            except EngineError as error:
                failed = error
        raise failed


if __name__ == "__main__":
    sys.exit(main())
