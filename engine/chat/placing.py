"""Where the two sides of a chat are answered: one model in memory for both wherever that is exact, and why not else.

Base and adapters are rows of one batch. What cannot be: adapters that PEFT computes on whole batches only take turns
over the same weights; an adapter whose start rewrote the base has the base loaded for itself, because with the adapter
off such a base is not the base.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec as find_package
from typing import TypeAlias

from engine.adapters import CONFIG, Adapter, read_adapter
from engine.chat.asking import Side
from engine.chat.resident import BaseModel, Speaker
from engine.errors import MissingPackage, UsageError
from engine.hardware.devices import best_device
from engine.spec import Endpoint, LocalModel, base_folder, prove_base
from engine.weights import read_json


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How local models are loaded."""

    device: str = "auto"
    """"auto", "cpu", "cuda", "cuda:1" (any number) or "mps"."""
    dtype: str = "auto"
    """"auto", "float32", "bfloat16" or "float16". auto: bfloat16 where the device has it, float32 on CPU."""
    load_in_4bit: bool = False
    load_in_8bit: bool = False

    @property
    def bits(self) -> int | None:
        return 4 if self.load_in_4bit else 8 if self.load_in_8bit else None


@dataclass(frozen=True, slots=True)
class Local:
    """A side that is answered by a process of ours."""

    model: LocalModel
    base: BaseModel
    """Two sides with an equal one are answered by one process."""
    speaker: Speaker
    why_apart: str = ""
    """Why it cannot be a row beside others; empty when it can."""
    why_own_base: str = ""
    """Why its base is no other's; empty when it can be shared."""


Place: TypeAlias = Local | Endpoint


@dataclass(frozen=True, slots=True)
class Pair:
    """Both sides, and how that was decided."""

    left: Place
    right: Place
    path: str
    """The way taken, as a sentence for people. Holds foreign names: to be shown, never obeyed."""

    def side(self, side: Side) -> Place:
        return self.left if side == "left" else self.right

    @property
    def shares(self) -> bool:
        """Whether one model in memory answers for both."""
        return isinstance(self.left, Local) and isinstance(self.right, Local) and self.left.base == self.right.base


def settled(options: LoadOptions) -> LoadOptions:
    """Return options without any "auto".

    Raises:
        UsageError: They cannot be had together, or not on this device.
        MissingPackage: bitsandbytes is needed and not there.
    """
    best, bfloat16 = best_device()
    device = best if options.device == "auto" else options.device
    kind = device.partition(":")[0]
    dtype = options.dtype
    if dtype == "auto":
        dtype = "float32" if kind == "cpu" else "bfloat16" if bfloat16 or kind != best else "float16"
    if options.load_in_4bit and options.load_in_8bit:
        raise UsageError("A model is loaded in 4 bits or in 8, not both.", remedy="Choose one.")
    if options.bits is not None:
        if kind not in ("cuda", "cpu"):
            raise UsageError(
                f"Loading in {options.bits} bits needs an NVIDIA GPU or a processor, and this is {kind}.",
                remedy="Leave it out, or choose a smaller model.",
            )
        if find_package("bitsandbytes") is None:
            raise MissingPackage(
                f"Loading in {options.bits} bits needs bitsandbytes, which is not installed.",
                remedy="pip install bitsandbytes",
            )
    return LoadOptions(device, dtype, options.load_in_4bit, options.load_in_8bit)


def place(left: LocalModel | Endpoint, right: LocalModel | Endpoint, options: LoadOptions) -> Pair:
    """Return where both sides are answered. Reads some megabytes of weights, to prove that a base is the one.

    Args:
        left: From `engine.spec.pair_of`.
        right: Likewise.
        options: From `settled`.

    Raises:
        EngineError: An adapter is damaged, of another kind, or not for its base; a base is gone or changed.
    """
    one, other = placed(left, options), placed(right, options)
    return Pair(one, other, path_taken(one, other))


def placed(model: LocalModel | Endpoint, options: LoadOptions) -> Place:
    """Return where one side is answered.

    Raises:
        EngineError: As `place`.
    """
    if isinstance(model, Endpoint):
        return model
    base = prove_base(model)
    adapter = read_adapter(model.adapter) if model.adapter is not None else None
    own, apart = (_why_own_base(adapter), _why_apart(adapter)) if adapter is not None else ("", "")
    hub = base.kind == "hub"
    folder = base_folder(model)
    held = BaseModel(
        source=base.source,
        revision=(base.fingerprint or base.revision) if hub else None,
        label=base.given,
        device=options.device,
        dtype=options.dtype,
        bits=options.bits,
        trust_remote_code=model.trust_remote_code,
        fingerprint=base.fingerprint,
        only_for=str(model.adapter) if own else "",
        folder=None if folder is None else str(folder),
    )
    speaker = Speaker(
        label=model.label,
        adapter=model.adapter,
        tokenizer=model.tokenizer,
        chat_template=model.chat_template,
        apart=bool(apart),
        saved_whole=adapter.modules_to_save if adapter is not None else (),
        changes_base=bool(own),
    )
    return Local(model, held, speaker, apart, own)


def path_taken(left: Place, right: Place) -> str:
    """Return the way that was taken, as a sentence."""
    if not isinstance(left, Local) or not isinstance(right, Local):
        here = next((one for one in (left, right) if isinstance(one, Local)), None)
        if here is None:
            return "Both answer behind their addresses; no model is loaded here."
        other = right if here is left else left
        there = other.label if isinstance(other, Endpoint) else ""
        return f"One model in memory, {_held(here)}; {there} answers behind its address."
    names = f"{left.speaker.label} and {right.speaker.label}"
    if left.base != right.base:
        own = next((one for one in (left, right) if one.why_own_base), None)
        if own is not None and _same_files(left.base, right.base):
            return (
                f"Two models in memory: {own.speaker.label} {own.why_own_base}, so {left.base.label} is loaded once "
                "for each side."
            )
        return f"Two models in memory: {_held(left)}, and {_held(right)}."
    bits = f" in {left.base.bits} bits" if left.base.bits else ""
    one = f"One model in memory ({left.base.label}{bits})"
    if left.speaker == right.speaker:
        return f"{one}: both sides are {left.speaker.label}, two rows of one batch."
    if left.speaker.adapter == right.speaker.adapter:
        return f"{one}: {names} are the same weights, two rows of one batch."
    why = left.why_apart or right.why_apart
    whole = [one for one in (left, right) if one.speaker.adapter is not None]
    if not why and len(whole) == 2 and whole[0].speaker.saved_whole != whole[1].speaker.saved_whole:
        why = "have different modules whole"
    if why:
        who = next((one.speaker.label for one in (left, right) if one.why_apart), "they")
        return f"{one}: {names} take turns of a few tokens over it, because {who} {why}."
    return f"{one}: {names} are two rows of one batch."


def _held(local: Local) -> str:
    bits = f" in {local.base.bits} bits" if local.base.bits else ""
    on = f" on {local.base.label}" if local.speaker.adapter is not None else ""
    return f"{local.speaker.label}{on}{bits}"


def _same_files(one: BaseModel, other: BaseModel) -> bool:
    return (one.source, one.revision, one.fingerprint) == (other.source, other.revision, other.fingerprint)


def _why_own_base(adapter: Adapter) -> str:
    """Return in words why a base with this adapter switched off is not the base; empty when it is."""
    if adapter.changes_base:
        return f"was started by {adapter.init_lora_weights}, which changes the weights of the base"
    if adapter.bias != "none":  # PEFT writes them into the base's own layers
        return "has biases of the base trained with it"
    return ""


def _why_apart(adapter: Adapter) -> str:
    """Return in words why PEFT cannot compute it beside other rows; empty when it can."""
    said = read_json(adapter.path / CONFIG)
    if adapter.use_dora:
        return "uses DoRA, which cannot share a batch"
    if said.get("target_parameters"):
        return "adapts parameters of experts, which cannot share a batch"
    if said.get("trainable_token_indices"):
        return "has single tokens trained, which cannot share a batch"
    if said.get("alora_invocation_tokens"):
        return "is only on after its own words (aLoRA), which cannot share a batch"
    return ""
