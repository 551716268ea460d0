"""Types of GGUF files."""

from __future__ import annotations

import pytest

from engine.errors import UsageError
from engine.export.quantisation import ALL, conversion_type, expected_bytes, parse


def test_types_are_named_as_people_write_them() -> None:
    assert [one.name for one in parse("q4_k_m")] == ["q4_k_m"]
    assert [one.name for one in parse(" Q8_0, f16,q8_0 ,")] == ["q8_0", "f16"]
    assert [one.name for one in parse("Q4-K-M")] == ["q4_k_m"]


@pytest.mark.parametrize(
    ("text", "remedy"), [("q4km", "Did you mean q4_k_m?"), ("zzz", "There are f32"), (",", "There")]
)
def test_a_type_that_is_none_names_the_nearest(text: str, remedy: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse(text)
    assert raised.value.remedy.startswith(remedy)


@pytest.mark.parametrize(
    ("asked", "is_bfloat16", "expected"),
    [
        ("q4_k_m", True, "bf16"),
        ("q4_k_m", False, "f16"),
        ("f16,q4_k_m", True, "f16"),
        ("bf16,q4_k_m", False, "bf16"),
        ("bf16,f16", True, "bf16"),
        ("bf16,f16", False, "f16"),
        ("q8_0,f32", True, "f32"),
    ],
)
def test_one_conversion_serves_all_types_and_changes_no_weight_it_need_not(
    asked: str, is_bfloat16: bool, expected: str
) -> None:
    assert conversion_type(parse(asked), is_bfloat16=is_bfloat16).name == expected


def test_the_numbers_are_those_of_llama_cpp() -> None:
    gguf = pytest.importorskip("gguf")
    names = {"f32": "ALL_F32"} | {name: f"MOSTLY_{name.upper()}" for name in ALL if name != "f32"}
    assert {name: one.ftype for name, one in ALL.items()} == {
        name: int(gguf.LlamaFileType[names[name]]) for name in ALL
    }


def test_uneven_rows_are_expected_to_take_more() -> None:
    even, uneven = expected_bytes([(512, 512)], ALL["q4_k_m"]), expected_bytes([(512, 480)], ALL["q4_k_m"])
    assert uneven > even
    assert expected_bytes([(512, 100)], ALL["q4_k_m"]) == 512 * 100 * 2
    assert expected_bytes([(512,)], ALL["q4_k_m"]) == 512 * 4
