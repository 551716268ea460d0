"""What a GGUF file says of itself, against the `gguf` package and against damage."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from engine.errors import NotFound
from engine.export.gguf_header import _TYPES, GgufDamaged, read_gguf

gguf = pytest.importorskip("gguf")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A GGUF file with every kind of value."""
    import numpy as np

    path = tmp_path / "small.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("klein ü")
    writer.add_uint32("a.number", 7)
    writer.add_float32("a.float", 0.5)
    writer.add_bool("a.truth", True)
    writer.add_array("a.list", [1, 2, 3])
    writer.add_array("a.texts", ["x", "yy"])
    writer.add_tensor("one", np.ones((4, 64), dtype=np.float16))
    writer.add_tensor("two", np.ones((3,), dtype=np.float32))
    writer.add_tensor("three", gguf.quants.quantize(np.ones((2, 64), dtype=np.float32), gguf.GGMLQuantizationType.Q8_0),
                      raw_dtype=gguf.GGMLQuantizationType.Q8_0)  # fmt: skip
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_it_reads_what_the_gguf_package_reads(small: Path) -> None:
    header, reader = read_gguf(small, arrays=frozenset({"a.list"})), gguf.GGUFReader(small)
    assert [(t.name, t.shape, t.type, t.used_bytes) for t in header.tensors] == [
        (t.name, tuple(t.shape.tolist()), t.tensor_type.name, t.n_bytes) for t in reader.tensors
    ]
    for key in ("general.name", "a.number", "a.float", "a.truth", "a.list"):
        assert header.metadata[key] == reader.fields[key].contents()
    assert header.metadata["a.texts"].length == 2
    assert header.text("general.name") == "klein ü"
    assert header.number("a.number") == 7
    assert header.number("a.truth") is None
    assert header.types == {"F16": 1, "F32": 1, "Q8_0": 1}
    assert header.bits_per_weight == pytest.approx((4 * 64 * 16 + 3 * 32 + 2 * 64 * 8.5) / (4 * 64 + 3 + 2 * 64))


def test_sizes_of_types_are_those_of_the_gguf_package() -> None:
    theirs = {int(kind): (kind.name, *gguf.GGML_QUANT_SIZES[kind]) for kind in gguf.GGMLQuantizationType}
    assert {number: tuple(one) for number, one in _TYPES.items()} == {
        n: one for n, one in theirs.items() if n in _TYPES
    }


def test_a_file_cut_off_anywhere_is_known(small: Path, tmp_path: Path) -> None:
    whole, cut = small.read_bytes(), tmp_path / "cut.gguf"
    for length in (0, 3, 24, 40, 100, len(whole) // 2, len(whole) - 32):
        cut.write_bytes(whole[:length])
        with pytest.raises(GgufDamaged) as raised:
            read_gguf(cut)
        assert str(cut) in raised.value.message


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"PK\3\4" + bytes(60), "does not begin with GGUF", id="a zip file"),
        pytest.param(b"GGUF" + struct.pack("<IQQ", 9, 0, 0), "its version is 9", id="a later version"),
        pytest.param(b"GGUF" + struct.pack("<IQQ", 3, 2**60, 2**60), "ends at byte", id="absurd numbers"),
        pytest.param(b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**63), "ends at byte", id="an absurd text"),
        pytest.param(
            b"GGUF" + struct.pack("<IQQQcIIQ", 3, 0, 1, 1, b"k", 9, 4, 2**60), "ends at byte", id="an absurd list"
        ),
        pytest.param(b"GGUF" + struct.pack("<IQQQcI", 3, 0, 1, 1, b"k", 99), "unknown kind 99", id="an unknown kind"),
        pytest.param(
            b"GGUF" + struct.pack("<IQQQcIQIQ", 3, 1, 0, 1, b"t", 1, 8, 77, 0), "unknown type 77", id="an unknown type"
        ),
    ],
)
def test_what_is_no_gguf_file_is_told(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    with pytest.raises(GgufDamaged) as raised:
        read_gguf(path)
    assert says in raised.value.message


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_gguf(tmp_path / "none.gguf")
