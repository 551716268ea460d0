"""What memory a run will need, by component, before anything is loaded.

Weights, adapter, gradients and optimizer are counted exactly. Activations are what autograd keeps of each layer, from
the code of transformers 5.23, PEFT 0.21 and TRL 1.16; a probe on the machine (`engine.launch.probe`) measures them, and
what it found corrects the next prediction.

Shapes: N tokens of a batch (rows x length), d hidden size, f intermediate size, q and k widths of query and of key,
V vocabulary, r rank.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, prod

from engine.config.model import RunConfig, settled
from engine.hardware.model_shape import ModelShape

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
COMPONENTS = ("weights", "adapter", "gradients", "optimizer", "activations", "logits", "context")
"""In the order of the bar. `context` is what a process has before any model: libraries, CUDA's own memory."""
CONTEXT = {"cpu": 547 << 20, "cuda": 700 << 20, "mps": 700 << 20}
"""Until a probe has measured it. CPU: resident memory with torch, transformers, PEFT and TRL loaded, measured with
torch 2.13; the others are not measured."""
ALLOCATOR = {"cpu": 1.28, "cuda": 1.0, "mps": 1.0}
"""Measured peak over what is kept, for activations and logits. On CPU the C library keeps the holes it was given back:
1.33 and 1.28 with 4 million parameters (880 and 28,160 tokens), 1.24 and 1.26 with 125 million (256 and 1,024)."""
TOKEN_CHUNK, VOCABULARY_CHUNK = 4096, 32768
"""The tile in which TRL's head makes logits (`trl.kernels.chunked_logprob`)."""
_HEAD_TEMPORARIES = 29
"""Bytes per logit beside the tile where the head has no Triton kernel: five float32 arrays, two more in the
middle of a sum, and a mask (`_backward_tile`)."""
_BLOCKWISE_8BIT = 256
_SMALLEST_8BIT = 4096
"""bitsandbytes keeps the states of smaller tensors in 32 bits."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The largest batch of a run."""

    rows: int
    length: int
    """Tokens per row, padding included; with packing, tokens of one sequence."""
    trained_share: float = 1.0
    """Part of the tokens that have a label: on a GPU only those get logits."""

    @property
    def num_tokens(self) -> int:
        return self.rows * self.length


@dataclass(frozen=True, slots=True)
class Correction:
    """What was measured on this machine, applied to the next prediction."""

    context_bytes: int | None = None
    """Of a process with the libraries loaded. None: never measured here."""
    activation_factor: float = 1.0
    """Measured over predicted, for activations and logits together."""
    reason: str = ""
    """Where it comes from, in words; empty when nothing was measured."""


NOTHING_MEASURED = Correction()


@dataclass(frozen=True, slots=True)
class Estimate:
    """Predicted memory of a run at its peak, in bytes."""

    components: dict[str, int]
    """By the names of `COMPONENTS`."""
    batch: Batch
    kind: str
    """"cuda", "mps" or "cpu": whose memory it is."""
    free_bytes: int | None
    """For a new process, now. None where the machine does not tell."""
    device_bytes: int | None
    correction: Correction = field(default=NOTHING_MEASURED)

    @property
    def total_bytes(self) -> int:
        return sum(self.components.values())

    @property
    def fits(self) -> bool | None:
        """Whether it is below what is free; None when that is not known."""
        return None if self.free_bytes is None else self.total_bytes <= self.free_bytes


@dataclass(frozen=True, slots=True)
class Trained:
    """The parameters that get gradients."""

    adapter: int
    """Numbers in LoRA's matrices."""
    whole: int
    """Numbers in the copies of `modules_to_save`."""
    tensors: tuple[int, ...]
    """Size of each trained tensor, those of DoRA's magnitudes last."""
    magnitudes: int = 0
    """Numbers in DoRA's magnitude vectors."""


def estimate(
    config: RunConfig,
    shape: ModelShape,
    *,
    kind: str,
    batch: Batch,
    frozen: int = 0,
    free_bytes: int | None = None,
    device_bytes: int | None = None,
    correction: Correction = NOTHING_MEASURED,
) -> Estimate:
    """Return the memory that a resolved configuration needs for one batch.

    Args:
        config: Without any "auto".
        shape: Of its base model.
        kind: Of device: "cuda", "mps" or "cpu".
        batch: The largest there will be.
        frozen: Numbers in adapters that act beside the trained one and are not trained: an earlier one, or a copy that
            is compared with. PEFT holds them in float32; autograd keeps nothing for them.
        free_bytes: What a new process could take.
        device_bytes: What the device has in all.
        correction: From measurements on this machine.
    """
    trained = trained_parameters(config, shape)
    adapter = trained_bytes(config, trained)
    factor = correction.activation_factor * ALLOCATOR[kind]
    components = {
        "weights": weight_bytes(config, shape),
        "adapter": adapter + BYTES["float32"] * frozen,
        "gradients": adapter,
        "optimizer": optimizer_bytes(config, trained),
        "activations": round(factor * activation_bytes(config, shape, batch, kind)),
        "logits": round(factor * logit_bytes(config, shape, batch, kind)),
        "context": CONTEXT[kind] if correction.context_bytes is None else correction.context_bytes,
    }
    return Estimate(components, batch, kind, free_bytes, device_bytes, correction)


def weight_bytes(config: RunConfig, shape: ModelShape) -> int:
    """Return the bytes of the base weights, quantisation constants included.

    Equal to the sum of `p.numel() * p.element_size()` where nothing is quantised.
    """
    model = config.model
    size = BYTES[settled(model.dtype)]
    if not (model.load_in_4bit or model.load_in_8bit):
        return shape.num_parameters * size
    head = {"lm_head"}  # transformers leaves the head as it is
    quantised = {f"{name}.weight": (i, o) for name, i, o in shape.matrices() if name not in head}
    total = sum(prod(of) * size for name, of in shape.tensors.items() if name not in quantised)
    for inputs, outputs in quantised.values():
        if model.load_in_8bit:
            total += inputs * outputs + 4 * outputs  # one float32 scale per row
        else:
            total += ceil(inputs * outputs / 2) + _constants_4bit(inputs * outputs, model.bnb_4bit_use_double_quant)
    return total


def _constants_4bit(numbers: int, double: bool) -> int:
    """bitsandbytes: a float32 per block of 64, or a byte per block and a float32 per 256 of those."""
    blocks = ceil(numbers / 64)
    return blocks + 4 * ceil(blocks / 256) + 4 + 1024 + 64 if double else 4 * blocks + 64


def trained_parameters(config: RunConfig, shape: ModelShape) -> Trained:
    """Return how many numbers are trained: LoRA's matrices, DoRA's magnitudes and modules saved whole."""
    lora = config.lora
    rank, targets = settled(lora.r), settled(lora.target_modules)
    layers = list(shape.adapted(targets))
    matrices = [size for _, inputs, outputs in layers for size in (rank * inputs, rank * outputs)]
    whole = [prod(size) for size in shape.whole(lora.modules_to_save or [])]
    magnitudes = [outputs for _, _, outputs in layers] if lora.use_dora else []
    return Trained(sum(matrices), sum(whole), (*matrices, *whole, *magnitudes), sum(magnitudes))


def trained_bytes(config: RunConfig, trained: Trained) -> int:
    """Return the bytes of what is trained, or of its gradients.

    PEFT holds adapters in float32; on a quantised base TRL makes them bfloat16, and float16's loss scaling needs
    them in float32 again. Modules saved whole keep the type of the base.
    """
    model = config.model
    quantised = model.load_in_4bit or model.load_in_8bit
    size = 2 if quantised and model.dtype != "float16" else 4
    whole = size if quantised else BYTES[settled(model.dtype)]
    return trained.adapter * size + trained.whole * whole + trained.magnitudes * 4


def optimizer_bytes(config: RunConfig, trained: Trained) -> int:
    """Return the bytes of the optimizer's state; AdamW's counters of steps are not counted, 4 bytes a tensor."""
    optim, mean_size = config.training.optim, trained_bytes(config, trained)
    match optim:
        case "adamw_torch_fused" | "adamw_torch":
            return 2 * mean_size  # both moments have the parameter's own type
        case "sgd":
            return 0
        case "adafactor":
            return sum(_factored(config, trained))
        case "paged_adamw_32bit":
            return 8 * sum(trained.tensors)
        case "lion_32bit":
            return 4 * sum(trained.tensors)
        case "lion_8bit":
            return sum(_blockwise(size) for size in trained.tensors)
        case _:  # adamw_bnb_8bit, paged_adamw_8bit
            return 2 * sum(_blockwise(size) for size in trained.tensors)


def _blockwise(numbers: int) -> int:
    return numbers + 4 * ceil(numbers / _BLOCKWISE_8BIT) if numbers >= _SMALLEST_8BIT else 4 * numbers


def _factored(config: RunConfig, trained: Trained) -> list[int]:
    """A row and a column of float32 for a matrix of rank r: r and the other side."""
    rank = settled(config.lora.r)
    return [4 * (rank + ceil(numbers / rank)) for numbers in trained.tensors]


def activation_bytes(config: RunConfig, shape: ModelShape, batch: Batch, kind: str) -> int:
    """Return what autograd keeps of all layers for the backward pass.

    With activations computed again it is one hidden state per layer, and one layer whole while that is worked on.
    """
    layers = shape.num_hidden_layers
    number = batch.num_tokens
    per_token = _layer_bytes_per_token(config, shape, kind)
    hidden = shape.hidden_size * _stream_bytes(config)
    outside = number * (2 * hidden + shape.hidden_size * 4)  # embedding, the last norm's input
    if settled(config.training.activation_checkpointing):
        every = config.trainer.get("activation_checkpointing_kwargs")
        step = every.get("every_n_layers", 1) if isinstance(every, dict) else 1
        step = step if isinstance(step, int) and step > 0 else 1
        kept = layers - ceil(layers / step)
        return round(number * (layers * hidden + (kept + 1) * per_token) + outside)
    return round(number * layers * per_token + outside)


def _stream_bytes(config: RunConfig) -> int:
    """Bytes of one number of the hidden state between two layers."""
    return BYTES[settled(config.model.dtype)]


def _layer_bytes_per_token(config: RunConfig, shape: ModelShape, kind: str) -> float:
    """Return what one decoder layer keeps per token.

    Of each adapted layer: its input after dropout, dropout's mask, and the r numbers between the two matrices.
    Of attention: query, key, value and output of the fused kernel. Of the MLP: the activation's input and output and
    the factor beside it. Of each norm: its input in float32.
    """
    lora = config.lora
    size = _stream_bytes(config)
    mixed = size != 4  # autocast: PEFT hands dropout float32, the product keeps a copy of half the size
    rank = settled(lora.r)
    layers = max(1, shape.num_hidden_layers)
    adapted = list(shape.adapted(settled(lora.target_modules)))
    inputs = sum(inputs for _, inputs, _ in adapted) / layers
    d, f = shape.hidden_size, shape.intermediate_size
    q, k = shape.num_attention_heads * shape.head_dim, shape.num_key_value_heads * shape.head_dim
    if lora.lora_dropout > 0:
        mask = 1 if kind == "cuda" else 4  # only CUDA has the kernel that keeps a byte
        through_lora = inputs * (size + mask)
    else:
        through_lora = inputs * size if mixed else d * 2 * size + q * size + f * size
    through_lora += rank * size * len(adapted) / layers
    attention = (2 * q + 2 * (k if kind == "cuda" else q)) * size
    gated = shape.model_type != "phi" and f > 0
    mlp = (3 if gated else 4) * f * size  # gelu written out keeps more than silu and a product
    num_norms = {"gemma2": 4, "phi": 1}.get(shape.model_type, 2)
    norms = num_norms * d * (4 if not mixed else 4 + size)
    return through_lora + attention + mlp + norms


def logit_bytes(config: RunConfig, shape: ModelShape, batch: Batch, kind: str) -> int:
    """Return what the fused head takes at its peak: one tile of logits, and the gradient of the hidden states.

    Equal to the buffers of `trl.kernels.chunked_logprob`: with Triton one tile in the type of the arithmetic and only
    the trained tokens; without, temporaries in float32 beside it and all tokens.
    """
    size = BYTES[settled(config.model.dtype)]
    scored = batch.num_tokens * (batch.trained_share if kind == "cuda" else 1.0)
    rows, columns = min(scored, TOKEN_CHUNK), min(shape.vocab_size, VOCABULARY_CHUNK)
    per_logit = size if kind == "cuda" else size + _HEAD_TEMPORARIES
    gradient = scored * shape.hidden_size * (4 + size)
    if config.trainer.get("label_smoothing_factor"):  # TRL then builds all logits, and again in float32
        gradient += batch.num_tokens * shape.vocab_size * (size + 8)
    return round(rows * columns * per_logit + gradient)
