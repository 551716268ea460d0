"""Models and tokenizers, loaded as they are asked for and nothing else: to train, to be asked, to be merged."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from engine.config.arguments import model_arguments, quantization_arguments
from engine.config.resolved import ResolvedConfig
from engine.errors import EngineError, NotFound
from engine.weights import weight_files

ALLOW = "Read that code; if you trust it, set model.trust_remote_code: true."


class ModelUnusable(EngineError):
    """The base model is there but cannot be used for this."""

    code = "model-unusable"
    exit_code = 3


@dataclass(slots=True)
class Loaded:
    """A base model on its device."""

    model: Any
    tokenizer: Any
    device: str
    """As torch names it, and the card's name on CUDA: "cuda:0 NVIDIA H200"."""
    dtype: str


def pick_device(asked: str, number: int = 0) -> torch.device:
    """Return the device for a settled `model.device`. The environment shows torch that one alone.

    Args:
        asked: The setting.
        number: Of several processes on this machine, which see as many GPUs.

    Raises:
        ModelUnusable: It is not there.
    """
    kind = asked.partition(":")[0]
    there = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}.get(kind, lambda: True)
    if not there():
        raise ModelUnusable(
            f"model.device is {asked} and torch {torch.__version__} finds no such device here.",
            remedy="Set model.device: cpu, or see `ftconsole doctor`.",
        )
    return torch.device(f"cuda:{number}" if kind == "cuda" else kind)


def load(resolved: ResolvedConfig, source: str, device: torch.device, *, commit: str | None = None) -> Loaded:
    """Load the base model and its tokenizer.

    Args:
        resolved: The run's settings.
        source: A local folder, or a Hub name.
        device: From `pick_device`.
        commit: Of a Hub model, before `model.revision`; None takes that.

    Raises:
        NotFound: The model is neither on this machine nor reachable.
        ModelUnusable: It has no chat template, or needs code of its own that was not allowed.
    """
    named = resolved.config.model
    asked = quantization_arguments(resolved)
    quantization = BitsAndBytesConfig(**asked) if asked is not None else None
    arguments = model_arguments(resolved)
    if commit is not None:
        arguments["revision"] = commit
    tokenizer = load_tokenizer(
        source,
        name=named.name,
        revision=arguments.get("revision"),
        chat_template=named.chat_template,
        trust_remote_code=named.trust_remote_code,
    )
    model = pretrained(
        source,
        named.name,
        quantization_config=quantization,
        device_map={"": device} if quantization is not None else None,
        **arguments,
    )
    if quantization is None:
        model.to(device)
    name = f"{device} {torch.cuda.get_device_name(device)}" if device.type == "cuda" else str(device)
    shown = "nf4" if named.load_in_4bit else "int8" if named.load_in_8bit else named.dtype
    return Loaded(model, tokenizer, name, shown)


def load_for_inference(asked: Mapping[str, Any]) -> tuple[Any, Any]:
    """Load a model to be asked, with its adapter switched on, and its tokenizer.

    Args:
        asked: `base` (the fields of a `ModelSource`), `adapter` and `tokenizer` (folders; None for none, and for the
            base's own), `chat_template` (text or None), `label`, `device` ("auto", "cpu", "cuda:0" ...) and
            `trust_remote_code`.

    Raises:
        NotFound: The model is neither on this machine nor reachable.
        ModelUnusable: It has no chat template, or needs code of its own that was not allowed.
    """
    base, label, trusted = asked["base"], asked["label"], asked["trust_remote_code"]
    revision = base["fingerprint"] or base["revision"] if base["kind"] == "hub" else None
    kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    device = pick_device(kind if asked["device"] == "auto" else asked["device"])
    tokenizer = load_tokenizer(
        asked["tokenizer"] or base["source"],
        name=label,
        revision=None if asked["tokenizer"] else revision,
        chat_template=asked["chat_template"],
        trust_remote_code=trusted,
    )
    # What it was trained in is nearly always bfloat16; on CPU that is slower than float32 and rounds.
    dtype = torch.float32 if device.type == "cpu" else "auto"
    model = pretrained(base["source"], label, revision=revision, dtype=dtype, trust_remote_code=trusted).to(device)
    if asked["adapter"] is not None:
        from peft import PeftModel  # four seconds, and a full model needs none

        with _in_words(label):
            model = PeftModel.from_pretrained(model, asked["adapter"])
    return model.eval(), tokenizer


def pretrained(source: str, name: str, *, allow: str = ALLOW, **arguments: Any) -> Any:
    """Return what `AutoModelForCausalLM.from_pretrained` does: whoever loads a model begins here.

    Args:
        source: A local folder, or a Hub name.
        name: What the user calls it.
        allow: How code that the model brings is allowed, in a sentence.
        arguments: Of `from_pretrained`: type, device, quantisation are the caller's business. `use_safetensors` is True
            where nothing else is said: a `.bin` is a pickle, a program of its own.

    Raises:
        NotFound: The model is neither on this machine nor reachable, or has its weights in pickles.
        WeightsDamaged: The index of a local folder's weights is none.
        ModelUnusable: It needs code of its own that was not allowed.
    """
    if arguments.setdefault("use_safetensors", True) and Path(source).is_dir():
        weight_files(Path(source))
    with _in_words(name, allow):
        return AutoModelForCausalLM.from_pretrained(source, **arguments)


@contextlib.contextmanager
def _in_words(name: str, allow: str = ALLOW) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            raise  # nothing is wrong with the model: the worker calls it by its name
        raise unusable(error, name, allow) from error


def with_adapter(model: Any, folder: Path, *, beside: dict[str, Any] | None = None) -> Any:
    """Return the base model with the adapter of a folder on it, to be trained on. Not wrapped in another one.

    Args:
        model: From `load`.
        folder: `start/` of the run: `adapter_config.json` and safetensors.
        beside: Settings of a new adapter that is trained beside it, while it is frozen; None trains it.

    Raises:
        ModelUnusable: The adapter does not fit this base.
    """
    from peft import PeftModel

    from engine.training.stacking import stacked

    try:
        if beside is not None:
            return stacked(model, folder, beside)
        return PeftModel.from_pretrained(model, str(folder), is_trainable=True)
    except (RuntimeError, ValueError) as error:
        said = str(error).strip().splitlines()
        raise ModelUnusable(
            f"The adapter in {folder} does not go on this model: {said[0][:300] if said else type(error).__name__}",
            remedy="It belongs to the base it was trained on; name that one as model.name.",
        ) from error


def load_tokenizer(
    source: str,
    *,
    name: str = "",
    revision: str | None = None,
    chat_template: str | None = None,
    trust_remote_code: bool = False,
) -> Any:
    """Load a tokenizer, with a chat template and a padding token.

    Args:
        source: A local folder, or a Hub name.
        name: What the user calls it; empty for `source`.
        revision: Branch, tag or commit of a Hub model.
        chat_template: Text of a template instead of its own.
        trust_remote_code: Whether the repository's own code may run.

    Raises:
        NotFound: It is neither on this machine nor reachable.
        ModelUnusable: It has no chat template and none is given, or needs code of its own that was not allowed.
    """
    with _in_words(name or source):
        tokenizer = AutoTokenizer.from_pretrained(source, revision=revision, trust_remote_code=trust_remote_code)
    if chat_template is not None:
        tokenizer.chat_template = chat_template
    if tokenizer.chat_template is None:
        raise ModelUnusable(
            f"The tokenizer of {name or source} has no chat template, so questions and answers cannot be told apart.",
            remedy="Use an instruct model, or set model.chat_template to a .jinja file.",
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def unusable(error: Exception, name: str, allow: str = ALLOW) -> EngineError:
    """Return what it means that transformers cannot load a model or a tokenizer."""
    said = str(error)
    if "trust_remote_code" in said:
        return ModelUnusable(
            f"{name} brings Python code of its own, which is not run unless you allow it.",
            remedy=allow,
        )
    first = said.strip().splitlines()[0][:300] if said.strip() else type(error).__name__
    if "safetensors" in first and "file named" in first:
        return NotFound(
            f"The model {name} has no weights in safetensors files, and a pickle runs whatever program it holds.",
            remedy="Save it once with save_pretrained, or ask the Hub for a conversion: safetensors/convert.",
        )
    return NotFound(
        f"The model {name} cannot be loaded: {first}",
        remedy="Check the name and revision, log in with `hf auth login` for a gated model, or give a local folder.",
    )
