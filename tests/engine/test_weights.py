"""What files of weights say of themselves."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from engine.errors import NotFound
from engine.weights import Tensor, WeightsDamaged, read_header, read_tensors
from engine.workspace import shipped_folder
from tests.engine.adapter_files import MODEL, write_model, write_weights


def test_the_header_of_the_built_in_model_is_read() -> None:
    tensors = read_tensors(shipped_folder() / "models" / "tiny")
    assert tensors["model.embed_tokens.weight"] == Tensor("BF16", (3072, 256))
    assert sum(tensor.num_elements for tensor in tensors.values()) == 3_936_512


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(lambda raw: b"", "too few", id="empty"),
        pytest.param(lambda raw: raw[:5], "too few", id="five bytes"),
        pytest.param(lambda raw: raw[: len(raw) // 4], "too few", id="cut in the header"),
        pytest.param(lambda raw: raw[:-1], "its header speaks of", id="cut in the weights"),
        pytest.param(lambda raw: raw + b"x", "its header speaks of", id="longer"),
        pytest.param(lambda raw: struct.pack("<Q", 2**62) + raw[8:], "too few", id="a length beyond all bounds"),
        pytest.param(lambda raw: raw[:8] + b"\xff" + raw[9:], "not readable", id="no JSON"),
        pytest.param(lambda raw: b"version https://git-lfs.github.com/spec/v1\n" + raw, "too few", id="a pointer"),
    ],
)
def test_a_damaged_file_is_said_to_be_damaged(tmp_path: Path, damage, said: str) -> None:  # type: ignore[no-untyped-def]
    file = write_weights(tmp_path / "model.safetensors", MODEL)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(WeightsDamaged, match=said):
        read_header(file)


@pytest.mark.parametrize("header", [[], {"w": 3}, {"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}])
def test_a_header_of_another_form_is_damage(tmp_path: Path, header: object) -> None:
    text = json.dumps(header).encode()
    file = tmp_path / "model.safetensors"
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
    with pytest.raises(WeightsDamaged):
        read_header(file)


def test_a_sharded_model_is_read_as_one(tmp_path: Path) -> None:
    names = list(MODEL)
    for number, name in enumerate(names):
        write_weights(tmp_path / f"model-{number}.safetensors", {name: MODEL[name]})
    index = {"weight_map": {name: f"model-{number}.safetensors" for number, name in enumerate(names)}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert set(read_tensors(tmp_path)) == set(MODEL)


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "", ".."])
def test_an_index_names_no_file_outside_of_its_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": name}}))
    with pytest.raises(WeightsDamaged):
        read_tensors(tmp_path)


def test_pickles_are_not_read_and_named(tmp_path: Path) -> None:
    write_model(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(NotFound, match="a pickle"):
        read_tensors(tmp_path)
