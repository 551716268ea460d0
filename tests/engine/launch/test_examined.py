"""A run whose data would be wasted is refused before it is made, wherever it is started from."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from engine.config.load import loads
from engine.config.model import RunConfig
from engine.data.doctor import examine_files
from engine.data.findings import DataRefused
from engine.data.templates import local_folder
from engine.errors import DataError
from engine.launch.examined import asked_about, examine_run
from engine.launch.prepare import new_run, settle
from engine.runs.provenance import DataFile
from engine.workspace import ModelReference, Workspace
from tests.chat_models import FAMILIES, write_tokenizer
from tests.engine.training.conftest import config_text, rows, small_model, write_rows

__all__ = ["config_text", "small_model"]  # fixtures

ConfigText = Callable[..., str]


@pytest.fixture
def workspace(config_text: ConfigText, tmp_path: Path) -> Workspace:
    config_text()
    longer = [{**row, "instruction": row["instruction"] * 20} for row in rows(count=8)]
    write_rows(tmp_path / "workspace" / "data" / "long.jsonl", longer)
    return Workspace(tmp_path / "workspace")


WASTED = {"train": "data/long.jsonl", "validation": {}, "max_length": 64}
UNMEASURED: dict[str, Any] = {"eval_steps": None, "prompts": []}


def test_nothing_is_made_of_a_run_that_would_learn_nothing(workspace: Workspace, config_text: ConfigText) -> None:
    given = loads(config_text(data=WASTED, evaluation=UNMEASURED), "run.yaml")
    with pytest.raises(DataRefused, match=r"8 rows of 8 teach nothing.*\(trains-on-nothing, long\.jsonl lines 1, 2, 3"):
        new_run(workspace, given)
    assert not workspace.runs.exists()
    accepted = loads(config_text(data={**WASTED, "accept": "trains-on-nothing"}, evaluation=UNMEASURED), "run.yaml")
    assert new_run(workspace, accepted).config.is_file()


def test_from_a_thread_of_the_console_another_process_is_asked(workspace: Workspace, config_text: ConfigText) -> None:
    about = settle(workspace, loads(config_text(data=WASTED, evaluation=UNMEASURED), "run.yaml"))
    with ThreadPoolExecutor(1) as other:
        assert other.submit(examine_run, about).result() == examine_run(about)


def test_a_hub_model_is_looked_for_in_the_cache(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    model = ModelReference("hub", "org/name", None, None)
    assert local_folder(model) is None
    place = tmp_path / "models--org--name"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("0123abc")
    assert local_folder(model) is None
    (place / "snapshots").mkdir()
    (place / "snapshots" / "0123abc").symlink_to(small_model)
    assert local_folder(model) == place / "snapshots" / "0123abc"


def test_every_file_of_a_validation_set_is_asked_about() -> None:
    files = [
        DataFile(role, path, f"/{path}", "0" * 64, 1, 1)
        for role, path in (
            ("train", "a.jsonl"), ("train", "b.jsonl"),
            ("validation:retain", "c.jsonl"), ("validation:retain", "d.jsonl"), ("validation:unlearn", "e.jsonl"),
        )
    ]  # fmt: skip
    config = RunConfig.model_validate({"data": {"train": ["a.jsonl"], "max_length": 64}})
    asked = asked_about(config, files, None)
    assert asked.train == ("/a.jsonl", "/b.jsonl")
    assert sorted(asked.validation.values()) == ["/c.jsonl", "/d.jsonl", "/e.jsonl"]
    assert {"retain", "unlearn"} <= asked.validation.keys()


def test_packing_that_splits_rows_cuts_nothing_off() -> None:
    def limit(**trainer: str) -> int | None:
        config = RunConfig.model_validate(
            {"data": {"train": ["a.jsonl"], "max_length": 64, "packing": True}, "trainer": trainer}
        )
        return asked_about(config, [], None).max_length

    assert limit() == limit(packing_strategy="bfd") == 64
    assert limit(packing_strategy="bfd_split") is limit(packing_strategy="wrapped") is None
    whole = RunConfig.model_validate(
        {"data": {"train": ["a.jsonl"], "max_length": 64}, "trainer": {"packing_strategy": "wrapped"}}
    )
    assert asked_about(whole, [], None).max_length == 64


def test_another_end_of_sequence_is_looked_for(tmp_path: Path) -> None:
    family = next(family for family in FAMILIES if family.name == "mistral")
    model = write_tokenizer(tmp_path / "model", family)
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"instruction": "q", "output": "a good answer"}\n' * 2)

    def codes(eos_token: str) -> list[str]:
        config = RunConfig.model_validate(
            {"data": {"train": ["a.jsonl"], "max_length": 64}, "trainer": {"eos_token": eos_token}}
        )
        files = [DataFile("train", "rows.jsonl", str(rows), "0" * 64, 1, 2)]
        return [one.code for one in examine_files(asked_about(config, files, model)).findings]

    assert codes("<unk>") == codes("</s>")  # the template writes what it is given
    with pytest.raises(DataError, match=r"no token '<\|im_end\|>'.*") as refused:
        codes("<|im_end|>")
    assert "<unk>, <s>, </s>" in refused.value.remedy
