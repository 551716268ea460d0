"""The prediction of memory against the models themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig

from engine.config.catalogue import catalogue
from engine.config.model import RunConfig
from engine.hardware.memory import (
    COMPONENTS,
    Batch,
    Correction,
    activation_bytes,
    estimate,
    logit_bytes,
    optimizer_bytes,
    trained_bytes,
    trained_parameters,
    weight_bytes,
)
from engine.hardware.model_shape import ModelShape, NotEstimated, find_shape, shape_of
from engine.workspace import Workspace

SMALL = {
    "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 500,
    "pad_token_id": 0,
}  # fmt: skip
GROUPED = {**SMALL, "num_key_value_heads": 2}
ARCHITECTURES = [
    pytest.param({"model_type": "llama", **GROUPED}, id="llama"),
    pytest.param({"model_type": "llama", **GROUPED, "attention_bias": True, "mlp_bias": True}, id="llama with biases"),
    pytest.param({"model_type": "mistral", **GROUPED, "head_dim": 24}, id="mistral"),
    pytest.param({"model_type": "qwen2", **GROUPED, "tie_word_embeddings": True}, id="qwen2, tied"),
    pytest.param({"model_type": "qwen3", **GROUPED, "head_dim": 32}, id="qwen3"),
    pytest.param({"model_type": "gemma", **GROUPED, "head_dim": 16}, id="gemma"),
    pytest.param({"model_type": "gemma2", **GROUPED, "head_dim": 16}, id="gemma2"),
    pytest.param({"model_type": "phi3", **GROUPED}, id="phi3"),
    pytest.param({"model_type": "phi", **SMALL}, id="phi"),
]


def settings(**sections: dict[str, Any]) -> RunConfig:
    decided: dict[str, dict[str, Any]] = {
        "model": {"dtype": "float32"},
        "lora": {"r": 8, "lora_alpha": 16, "target_modules": "all-linear"},
        "training": {"activation_checkpointing": False},
    }
    return RunConfig.model_validate({name: {**decided.get(name, {}), **values} for name, values in {
        **{name: {} for name in decided}, **sections
    }.items()})  # fmt: skip


def built(fields: dict[str, Any], dtype: torch.dtype = torch.float32) -> Any:
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(**fields), dtype=dtype)


def shape(fields: dict[str, Any]) -> ModelShape:
    return shape_of(AutoConfig.for_model(**fields).to_dict(), {}, "small")


def size_of(parameters: Any) -> int:
    return sum(p.numel() * p.element_size() for p in parameters)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("fields", ARCHITECTURES)
def test_the_weights_are_those_of_the_model_to_the_byte(fields: dict[str, Any], dtype: torch.dtype) -> None:
    model = built(fields, dtype)
    config = settings(model={"dtype": str(dtype).removeprefix("torch.")})
    assert weight_bytes(config, shape(fields)) == size_of(model.parameters())
    assert {name: tuple(p.shape) for name, p in model.named_parameters()} == dict(shape(fields).tensors)


@pytest.mark.parametrize(
    "lora",
    [
        {"target_modules": "all-linear"},
        {"target_modules": ["q_proj", "down_proj", "qkv_proj", "fc2"]},
        {"target_modules": "all-linear", "use_dora": True},
        {"target_modules": ["v_proj", "o_proj", "dense"], "modules_to_save": ["embed_tokens"]},
    ],
    ids=["all", "some", "dora", "saved whole"],
)
@pytest.mark.parametrize("fields", ARCHITECTURES)
def test_adapter_and_optimizer_are_those_of_peft_and_torch_to_the_byte(
    fields: dict[str, Any], lora: dict[str, Any]
) -> None:
    config = settings(lora={"r": 8, "lora_alpha": 16, **lora}, model={"dtype": "bfloat16"})
    asked = {key: value for key, value in config.lora.model_dump().items() if key != "init_lora_weights"}
    model = get_peft_model(built(fields, torch.bfloat16), LoraConfig(task_type="CAUSAL_LM", **asked))
    trainable = [p for p in model.parameters() if p.requires_grad]
    found = trained_parameters(config, shape(fields))
    assert trained_bytes(config, found) == size_of(trainable)
    optimizer = torch.optim.AdamW(trainable, fused=False, foreach=False)
    for parameter in trainable:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    states = [value for state in optimizer.state.values() for value in state.values() if value.numel() > 1]
    assert optimizer_bytes(config, found) == size_of(states)


@pytest.mark.parametrize(
    "bits",
    [
        pytest.param({"load_in_4bit": True, "bnb_4bit_use_double_quant": True}, id="4 bits, constants too"),
        pytest.param({"load_in_4bit": True, "bnb_4bit_use_double_quant": False}, id="4 bits"),
        pytest.param({"load_in_8bit": True}, id="8 bits"),
    ],
)
def test_quantised_weights_and_their_constants_are_those_of_bitsandbytes(bits: dict[str, Any], tmp_path: Path) -> None:
    fields = {"model_type": "llama", **GROUPED, "hidden_size": 256, "intermediate_size": 512}
    AutoModelForCausalLM.from_config(AutoConfig.for_model(**fields), dtype=torch.bfloat16).save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(
        tmp_path, quantization_config=BitsAndBytesConfig(**bits), dtype=torch.bfloat16, device_map={"": "cpu"}
    )
    held = size_of(model.parameters())
    for module in model.modules():
        weight: Any = getattr(module, "weight", None)
        if (state := getattr(weight, "quant_state", None)) is not None:
            held += size_of([state.absmax, state.code])
            held += size_of([state.state2.absmax, state.state2.code, state.offset]) if state.nested else 0
        elif getattr(weight, "SCB", None) is not None:
            held += size_of([weight.SCB])
    assert weight_bytes(settings(model={"dtype": "bfloat16", **bits}), shape(fields)) == held


def test_every_model_of_the_catalogue_has_as_many_parameters_as_it_says() -> None:
    workspace = Workspace(Path("/"))
    for name, entry in catalogue(workspace).items():
        found = find_shape(workspace.model(name), entry)
        assert found.num_parameters == entry.num_parameters, name
        assert sum(1 for _ in found.adapted(list(entry.target_modules))) == sum(1 for _ in found.adapted("all-linear"))


def test_the_files_of_a_folder_say_what_its_configuration_does() -> None:
    workspace = Workspace(Path("/"))
    tiny = find_shape(workspace.model("tiny"), None)
    fields = AutoConfig.from_pretrained(workspace.model("tiny").source).to_dict()
    assert tiny.tensors == shape_of(fields, {}, "tiny").tensors
    assert tiny.num_parameters == 3_936_512


def test_a_model_nobody_knows_is_no_guess() -> None:
    with pytest.raises(NotEstimated, match="somebody/something"):
        find_shape(Workspace(Path("/")).model("somebody/something"), None)
    with pytest.raises(NotEstimated, match="of-my-own"):
        shape_of({"model_type": "of-my-own", **SMALL}, {}, "small")
    with pytest.raises(NotEstimated, match="hidden_size"):
        shape_of({"model_type": "llama"}, {}, "small")


def kept_for_backward(fields: dict[str, Any], dropout: float, batch: Batch) -> int:
    """Return what autograd itself keeps of the layers, on CPU in float32."""
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**fields))
    adapted = get_peft_model(model, LoraConfig(
        r=8, lora_alpha=16, lora_dropout=dropout, target_modules="all-linear", task_type="CAUSAL_LM",
    )).train()  # fmt: skip
    own = {p.untyped_storage().data_ptr() for p in adapted.parameters()}
    kept: dict[int, tuple[int, torch.Tensor]] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes(), tensor
        return tensor

    ids = torch.randint(1, 400, (batch.rows, batch.length))
    mask = torch.ones_like(ids)
    mask[0, -3:] = 0  # padding: with none the kernel needs no mask, and keys are not repeated for it
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        adapted.base_model.model.model(input_ids=ids, attention_mask=mask, use_cache=False)
    return sum(size for size, _ in kept.values())


@pytest.mark.parametrize("dropout", [0.0, 0.05])
@pytest.mark.parametrize("fields", ARCHITECTURES[:4] + ARCHITECTURES[-2:])
def test_activations_are_what_autograd_keeps_within_15_percent(fields: dict[str, Any], dropout: float) -> None:
    batch = Batch(4, 32)
    config = settings(lora={"r": 8, "lora_dropout": dropout, "target_modules": "all-linear"})
    measured = kept_for_backward(fields, dropout, batch)
    assert activation_bytes(config, shape(fields), batch, "cpu") == pytest.approx(measured, rel=0.15)


def test_what_costs_memory_costs_memory() -> None:
    llama = shape({"model_type": "llama", **GROUPED})

    def total(batch: Batch = Batch(4, 64), kind: str = "cuda", **sections: dict[str, Any]) -> int:  # noqa: B008 - a value
        return estimate(settings(**sections), llama, kind=kind, batch=batch).total_bytes

    assert total(Batch(8, 64)) > total() > total(Batch(4, 32))
    assert total(training={"activation_checkpointing": True}) < total()
    assert total(model={"dtype": "bfloat16"}) < total()
    assert total(model={"load_in_4bit": True}) < total(model={"load_in_8bit": True}) < total()
    assert total(lora={"r": 64, "target_modules": "all-linear"}) > total()
    assert total(training={"optim": "sgd", "activation_checkpointing": False}) < total()


def test_the_head_makes_no_more_than_a_tile_of_logits() -> None:
    large = shape({"model_type": "llama", **GROUPED, "vocab_size": 200_000})
    config = settings(model={"dtype": "bfloat16"})
    tile = 4096 * 32768 * 2
    per_token = 64 * 6
    assert logit_bytes(config, large, Batch(8, 1024), "cuda") == tile + 8 * 1024 * per_token
    assert logit_bytes(config, large, Batch(8, 1024, trained_share=0.25), "cuda") < tile
    smoothed = settings(trainer={"label_smoothing_factor": 0.1})
    assert logit_bytes(smoothed, large, Batch(1, 1024), "cuda") > 1024 * 200_000 * 12


def test_a_correction_is_applied_and_a_bar_has_every_component() -> None:
    llama = shape({"model_type": "llama", **GROUPED})
    plain = estimate(settings(), llama, kind="cpu", batch=Batch(4, 64), free_bytes=10**9)
    corrected = estimate(settings(), llama, kind="cpu", batch=Batch(4, 64), correction=Correction(10**8, 1.5))
    assert tuple(plain.components) == COMPONENTS
    assert corrected.components["context"] == 10**8
    assert corrected.components["activations"] == pytest.approx(1.5 * plain.components["activations"], abs=1)
    assert plain.fits is True
    assert corrected.fits is None
