"""Model and tokenizer, loaded as the configuration says and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from engine.config.model import RunConfig
from engine.errors import EngineError, NotFound


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


def pick_device(asked: str) -> torch.device:
    """Return the device for `model.device`.

    Raises:
        ModelUnusable: It is asked for by name and not there.
    """
    if asked == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda:0")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(asked)
    there = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}.get(device.type, lambda: True)
    if not there() or (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()):
        raise ModelUnusable(
            f"model.device is {asked} and this machine has no such device.",
            remedy="Use model.device: auto, or see `ftconsole doctor`.",
        )
    return device


def load(config: RunConfig, source: str, dtype: str, device: torch.device) -> Loaded:
    """Load the base model and its tokenizer.

    Args:
        config: For revision, quantisation, attention and `trust_remote_code`.
        source: A local folder, or a Hub name.
        dtype: "float32", "bfloat16" or "float16"; passed explicitly because TRL and transformers have other
            defaults (float32 for a path given to TRL 1.16, the file's own for transformers 5).
        device: From `pick_device`.

    Raises:
        NotFound: The model is neither on this machine nor reachable.
        ModelUnusable: It has no chat template, or needs code of its own that was not allowed.
    """
    named = config.model
    common: dict[str, Any] = {"revision": named.revision, "trust_remote_code": named.trust_remote_code}
    quantization = None
    if named.load_in_4bit or named.load_in_8bit:
        quantization = BitsAndBytesConfig(
            load_in_4bit=named.load_in_4bit,
            load_in_8bit=named.load_in_8bit,
            bnb_4bit_quant_type=named.bnb_4bit_quant_type,
            bnb_4bit_use_double_quant=named.bnb_4bit_use_double_quant,
            bnb_4bit_compute_dtype=getattr(torch, dtype),
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **common)
        model = AutoModelForCausalLM.from_pretrained(
            source,
            dtype=getattr(torch, dtype),
            quantization_config=quantization,
            attn_implementation=named.attn_implementation,
            device_map={"": device} if quantization is not None else None,
            **common,
        )
    except (OSError, ValueError) as error:
        raise _explained(error, named.name) from error
    if tokenizer.chat_template is None:
        raise ModelUnusable(
            f"The tokenizer of {named.name} has no chat template, so questions and answers cannot be told apart.",
            remedy="Use an instruct model, or name a template with trainer.chat_template_path.",
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if quantization is None:
        model.to(device)
    name = f"{device} {torch.cuda.get_device_name(device)}" if device.type == "cuda" else str(device)
    shown = "nf4" if named.load_in_4bit else "int8" if named.load_in_8bit else dtype
    return Loaded(model, tokenizer, name, shown)


def _explained(error: Exception, name: str) -> EngineError:
    said = str(error)
    if "trust_remote_code" in said:
        return ModelUnusable(
            f"{name} brings Python code of its own, which is not run unless you allow it.",
            remedy="Read that code; if you trust it, set model.trust_remote_code: true.",
        )
    first = said.strip().splitlines()[0][:300] if said.strip() else type(error).__name__
    return NotFound(
        f"The model {name} cannot be loaded: {first}",
        remedy="Check the name and revision, log in with `hf auth login` for a gated model, or give a local folder.",
    )
