"""Settling a configuration: what a form, an estimate and a new run share."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config.load import loads, preset
from engine.errors import ConfigError, DataError, NotFound
from engine.launch.prepare import Known, new_run, settle
from engine.workspace import Workspace

ROW = '{"instruction": "Say hello.", "output": "Hello."}\n'


def test_a_settled_configuration_has_no_auto_and_says_what_it_was_decided_from(tmp_path: Path) -> None:
    settled = settle(Workspace(tmp_path), preset("demo"))
    assert settled.facts.num_train_examples == sum(file.rows for file in settled.data if file.role == "train")
    assert settled.model.kind == "builtin"
    assert "auto" not in [value for _, value, _ in settled.resolved.values()]
    assert list(tmp_path.iterdir()) == []


def test_a_new_run_is_what_was_settled(tmp_path: Path) -> None:
    settled = settle(Workspace(tmp_path), preset("demo"))
    assert new_run(Workspace(tmp_path), preset("demo")).config.read_text() == settled.resolved.to_yaml()


def test_a_file_is_read_again_only_when_it_has_changed(tmp_path: Path) -> None:
    rows, known = tmp_path / "rows.jsonl", Known()
    rows.write_text(ROW * 3)
    given = loads("data: {train: rows.jsonl}", "run.yaml")
    first = settle(Workspace(tmp_path), given, known=known)
    assert settle(Workspace(tmp_path), given, known=known).data[0] is first.data[0]
    rows.write_text(ROW * 4)
    assert settle(Workspace(tmp_path), given, known=known).facts.num_train_examples == 4


def test_a_preference_pair_is_two_answers_for_kto(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "Hi", "chosen": "Hello.", "rejected": "No."}\n' * 20)
    (tmp_path / "marked.jsonl").write_text('{"prompt": "Hi", "completion": "Hello.", "label": true}\n' * 3)
    for method, files, answers in (("kto", "pairs.jsonl, marked.jsonl", 43), ("dpo", "pairs.jsonl", 20)):
        given = loads(f"data: {{train: [{files}]}}\nmethod: {{name: {method}}}", "run.yaml")
        assert settle(Workspace(tmp_path), given).facts.num_train_examples == answers


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("data: {train: none.jsonl}", NotFound),
        ("data: {train: torn.jsonl}", DataError),
        ("data: {train: torn.jsonl}\ntraining: {learning_rate: fast}", ConfigError),
        ("data: {train: rows.jsonl}\nmodel: {name: nobody/}", NotFound),
    ],
)
def test_what_cannot_run_cannot_be_settled(tmp_path: Path, text: str, error: type[Exception]) -> None:
    (tmp_path / "torn.jsonl").write_text(ROW + '{"instruction')
    (tmp_path / "rows.jsonl").write_text(ROW)
    with pytest.raises(error):
        settle(Workspace(tmp_path), loads(text, "run.yaml"))


def test_the_length_of_the_rows_and_the_memory_of_the_machine_are_facts(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(ROW * 20)
    facts = settle(Workspace(tmp_path), loads("data: {train: rows.jsonl}", "run.yaml")).facts
    assert facts.lengths is not None
    assert facts.lengths.counted == 20
    assert 5 < facts.lengths.longest < 40
    assert facts.free_bytes
    assert facts.needed_bytes is not None


def test_rows_longer_than_the_table_are_not_cut(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(ROW.replace("Hello.", "Hello. " * 400) * 20)
    settled = settle(Workspace(tmp_path), loads("data: {train: rows.jsonl}", "run.yaml"))
    assert settled.facts.lengths is not None
    value = settled.resolved.config.data.max_length
    assert isinstance(value, int)
    assert 512 < settled.facts.lengths.longest <= value
    assert "longer than the 512 of the table" in settled.resolved.sources["data.max_length"].reason
