"""An adapter folder, looked at without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.adapters import AdapterUnusable, misfit, read_adapter
from engine.errors import CheckpointError, NotFound
from engine.weights import Tensor, WeightsDamaged
from tests.engine.adapter_files import LORA, MODEL, write_adapter

BASE = {name: Tensor("BF16", shape) for name, shape in MODEL.items()}


def test_what_an_adapter_says_of_itself_is_told(tmp_path: Path) -> None:
    write_adapter(tmp_path, "org/base", use_dora=True, modules_to_save=["lm_head"], revision="v1")
    adapter = read_adapter(tmp_path)
    assert (adapter.r, adapter.lora_alpha, adapter.target_modules) == (2, 4, ("q_proj",))
    assert (adapter.base, adapter.revision) == ("org/base", "v1")
    assert (adapter.use_dora, adapter.use_rslora) == (True, False)
    assert adapter.modules_to_save == ("lm_head",)
    assert adapter.num_parameters == 32


@pytest.mark.parametrize(
    ("init", "changes"),
    [(True, False), (False, False), ("gaussian", False), ("orthogonal", False), ("eva", False), ("pissa", True),
     ("pissa_niter_16", True), ("olora", True), ("loftq", True), ("corda", True)],
)  # fmt: skip
def test_starts_that_rewrite_the_base_are_known(tmp_path: Path, init: object, changes: bool) -> None:
    assert read_adapter(write_adapter(tmp_path, "base", init_lora_weights=init)).changes_base is changes


def test_an_adapter_of_another_kind_is_refused(tmp_path: Path) -> None:
    write_adapter(tmp_path, "base", peft_type="PROMPT_TUNING")
    with pytest.raises(AdapterUnusable, match="PROMPT_TUNING"):
        read_adapter(tmp_path)


def test_a_pickle_is_refused_unless_allowed_by_name(tmp_path: Path) -> None:
    write_adapter(tmp_path, "base")
    (tmp_path / "adapter_model.safetensors").rename(tmp_path / "adapter_model.bin")
    with pytest.raises(AdapterUnusable, match="pickle") as error:
        read_adapter(tmp_path)
    assert "--allow-pickle" in error.value.remedy
    assert read_adapter(tmp_path, allow_pickle=True).pickle


@pytest.mark.parametrize("text", ["", "null", "[1]", "{", "{}", '{"peft_type": 3}'])
def test_a_damaged_description_is_said_to_be_damaged(tmp_path: Path, text: str) -> None:
    write_adapter(tmp_path, "base")
    (tmp_path / "adapter_config.json").write_text(text)
    with pytest.raises(CheckpointError):
        read_adapter(tmp_path)


def test_weights_that_are_cut_off_are_damaged_and_missing_ones_missing(tmp_path: Path) -> None:
    file = write_adapter(tmp_path, "base") / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(WeightsDamaged):
        read_adapter(tmp_path)
    file.unlink()
    with pytest.raises(NotFound):
        read_adapter(tmp_path)
    with pytest.raises(NotFound, match="no adapter"):
        read_adapter(tmp_path / "nothing")


def test_an_adapter_for_its_base_fits(tmp_path: Path) -> None:
    assert misfit(read_adapter(write_adapter(tmp_path, "base")), BASE) is None


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        pytest.param({name.replace("layers.0", "layers.7"): shape for name, shape in LORA.items()}, "does not have",
                     id="a layer too many"),
        pytest.param({name.replace("q_proj", "c_attn"): shape for name, shape in LORA.items()}, "does not have",
                     id="another architecture"),
        pytest.param({name: tuple(16 if side == 8 else side for side in shape) for name, shape in LORA.items()},
                     "8 x 8 weights there, and the adapter is for 16", id="wider"),
    ],
)  # fmt: skip
def test_an_adapter_for_another_base_does_not_fit(
    tmp_path: Path, tensors: dict[str, tuple[int, ...]], said: str
) -> None:
    why = misfit(read_adapter(write_adapter(tmp_path, "base", tensors)), BASE)
    assert why is not None
    assert said in why


def test_a_model_of_several_kinds_keeps_its_language_model_elsewhere(tmp_path: Path) -> None:
    nested = {name.replace("model.", "model.language_model.", 1): tensor for name, tensor in BASE.items()}
    assert misfit(read_adapter(write_adapter(tmp_path, "base")), nested) is None


def test_looking_at_one_loads_no_library() -> None:
    script = "import engine.adapters, engine.spec, sys; assert not {'torch', 'numpy', 'pydantic'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
