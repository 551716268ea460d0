"""YAML that means the same to everyone, and sentences for what is no YAML."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.config.yaml_text import MAX_BYTES, read_file, read_mapping, read_value, write_value
from engine.errors import ConfigError, NotFound


def plain(text: str) -> dict[str, Any]:
    """Return a mapping without lines."""
    return {
        section: {key: inner.value for key, inner in entry.value.items()}
        if isinstance(entry.value, dict)
        else entry.value
        for section, entry in read_mapping(text, "run.yaml").items()
    }


def problem(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_mapping(text, "run.yaml")
    (only,) = caught.value.problems
    assert "\n" not in only
    assert only.isprintable()
    return only


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("2e-4", 2e-4, id="an exponent needs no dot"),
        pytest.param("1E5", 1e5, id="a capital exponent"),
        pytest.param("-.5", -0.5, id="no leading zero"),
        pytest.param("3.", 3.0, id="no decimals"),
        pytest.param("16", 16, id="a whole number"),
        pytest.param("010", 10, id="a leading zero is not octal"),
        pytest.param("0x10", 16, id="hexadecimal"),
        pytest.param("1_000", "1_000", id="underscores are a text"),
        pytest.param("1:30", "1:30", id="no numbers to the base of 60"),
        pytest.param("2024-01-31", "2024-01-31", id="no dates"),
        pytest.param("yes", "yes", id="yes is a text"),
        pytest.param("off", "off", id="off is a text"),
        pytest.param("n", "n", id="n is a text"),
        pytest.param("true", True, id="true"),
        pytest.param("False", False, id="False"),
        pytest.param("null", None, id="null"),
        pytest.param("", None, id="nothing"),
        pytest.param("'2e-4'", "2e-4", id="quotes make a text"),
        pytest.param("[a, 1, 2e-4, no]", ["a", 1, 2e-4, "no"], id="a list"),
        pytest.param("{min_lr: 1e-6}", {"min_lr": 1e-6}, id="a mapping"),
        pytest.param("x # not this", "x", id="a comment"),
    ],
)
def test_values_are_read_by_the_rules_of_yaml_1_2(text: str, value: object) -> None:
    assert read_value(text) == value
    assert type(read_value(text)) is type(value)


def test_what_is_not_a_number_is_read_as_such() -> None:
    assert read_value(".inf") == math.inf
    assert read_value("-.inf") == -math.inf
    assert math.isnan(read_value(".nan"))


@pytest.mark.parametrize("text", ["[a", "@x", "a: b: c", "!!python/name:os.system x", "*a", "--- a\n--- b"])
def test_what_is_no_value_says_why_without_a_place(text: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        read_value(text)
    assert "line" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param("", "run.yaml is empty", id="empty"),
        pytest.param("# only a comment\n", "run.yaml is empty", id="a comment alone"),
        pytest.param("- a\n- b\n", "run.yaml holds a list, not settings", id="a list"),
        pytest.param("hello", "run.yaml holds a single value, not settings", id="a word"),
        pytest.param("a:\n\tb: 1\n", "run.yaml, line 2: indented with a tab; YAML wants spaces", id="a tab"),
        pytest.param("a: 1\nb: 2\na: 3", 'run.yaml, line 3: "a" is set twice, first in line 1', id="a section twice"),
        pytest.param("a:\n  b: 1\n  b: 2", 'run.yaml, line 3: "b" is set twice, first in line 2', id="a key twice"),
        pytest.param("a: b: c", "run.yaml, line 1: a colon where none may be", id="a colon too much"),
        pytest.param("a: [1\n", "run.yaml, line 2: not YAML", id="an open bracket"),
        pytest.param("a: 'x\n", "run.yaml, line", id="an open quote"),
        pytest.param("a: &x 1\nb: *x", "run.yaml, line 2: aliases (*name) are not supported", id="an alias"),
        pytest.param("a: {<<: {b: 1}}", "run.yaml, line 1: merging with << is not supported", id="a merge"),
        pytest.param("a: !!python/object:os.system x", "run.yaml, line 1: the tag", id="a python tag"),
        pytest.param("a: !x 1", 'run.yaml, line 1: the tag "!x" is not accepted', id="a tag"),
        pytest.param("[a]: 1", "run.yaml, line 1: a list, mapping or alias cannot be a key", id="a list as key"),
        pytest.param("a: 1\n---\nb: 1", "run.yaml, line 2: a second document begins", id="two documents"),
        pytest.param("a: 1\nb: \x00", r"run.yaml, line 2: holds the character \x00", id="a NUL"),
        pytest.param("a: \x1b[2J", r"run.yaml, line 1: holds the character \x1b", id="an escape sequence"),
        pytest.param("a: " + "9" * 5000, "run.yaml, line 1: a number of 5000 digits", id="an endless number"),
    ],
)
def test_what_is_no_configuration_is_said_in_a_sentence_with_the_line(text: str, sentence: str) -> None:
    assert problem(text).startswith(sentence)


@pytest.mark.parametrize("text", ["[" * 200_000, "a: " + "[" * 200_000 + "]" * 200_000, "a: " + "{b: " * 200_000])
def test_a_file_of_brackets_is_refused_and_does_not_crash_the_process(text: str) -> None:
    assert "nested deeper than 32 levels" in problem(text)


def test_a_text_in_an_error_can_do_nothing_to_a_terminal() -> None:
    assert "\u202e" not in problem("a: [\u202e\u200b evil\nb: }")


def test_entries_know_their_lines_and_where_their_values_end() -> None:
    entries = read_mapping("a:\n  b: 'é😀'  # one\n  c: [1,\n    2]\n  d:\n    - x\ne: 1\n", "run.yaml")
    inner = entries["a"].value
    assert [(key, entry.line, entry.end_line) for key, entry in inner.items()] == [
        ("b", 2, 2),
        ("c", 3, 4),
        ("d", 5, 6),
    ]
    assert "  b: 'é😀'  # one"[inner["b"].end_column :] == "  # one"
    assert entries["e"].line == 7


VALUES = [
    *["tiny", "org/name-1.5", "a/b_c.jsonl", "", " ", "yes", "No", "on", "null", "~", "true", "2e-4", "1.5", ".5"],
    *["0x10", "1_000", "1:30", "2024-01-31", "- a", "# c", "a: b", "a #b", "[a", "{a", "*a", "&a", "!a", "@a", "%a"],
    *['say "hi"', "it's", "back\\slash", "two\nlines", "tab\there", "\x1b[31m", "\x7f\x85\u2028", "\u202e\u200b\ufeff"],
    *["é 漢字 😀", "é", "y", "N", ".inf", "=", "<<", "|", ">"],
    *[None, True, False, 0, -3, 2**70, 0.0, 2e-4, 1e-5, 1e300, -1.5, math.inf, -math.inf],
    *[[], ["a", "no", 1], [["a"], {"b": None}], {}, {"min_lr": 1e-6, "yes": "no"}, {"a b": {"c": [1.0]}}],
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_what_is_written_is_read_back_the_same_by_us_and_by_yaml_1_1(value: object) -> None:
    text = write_value(value)
    assert "\n" not in text
    assert text.isprintable()
    assert read_value(text) == value
    assert yaml.safe_load(text) == value
    assert plain(f"a:\n  b: {text}  # c\n") == {"a": {"b": value}}


def test_half_a_surrogate_pair_becomes_a_question_mark() -> None:
    assert read_value(write_value("caf\udce9")) == "caf?"


def test_what_has_no_yaml_form_is_a_bug() -> None:
    with pytest.raises(TypeError):
        write_value(object())


def test_a_byte_order_mark_is_not_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    assert plain(read_file(path)) == {"a": 1, "b": 2}


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"There is no configuration file .*none\.yaml"):
        read_file(tmp_path / "none.yaml")


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a file"):
        read_file(tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="is not a file"):
        read_file(tmp_path / "pipe")


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000])
def test_a_path_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises((ConfigError, NotFound)) as caught:
        read_file(Path(name))
    assert caught.value.message.isprintable()


def test_a_file_of_another_kind_is_named_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"a: 1\n\xff\xfe\x00\x01")
    with pytest.raises(ConfigError, match=r"line 2: this is not UTF-8 text"):
        read_file(path)


def test_a_huge_file_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    with path.open("wb") as file:
        file.truncate(50 * MAX_BYTES)
    with pytest.raises(ConfigError, match="larger than"):
        read_file(path)
