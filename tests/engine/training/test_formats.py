"""Training from files of other formats and shapes, with real processes."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import events
from engine.config.load import loads
from engine.data.rows import Row, read_rows
from engine.errors import ConfigError, DataError, NotFound
from engine.launch import prepare
from engine.runs.liveness import Life, liveness
from engine.training.behaviour import chosen_prompts
from engine.workspace import Workspace
from tests.conftest import read_records, wait_for
from tests.engine.training.conftest import rows, write_rows

PAIRS = [(f"What is the capital of Arden {n}?", f"Town {n}.") for n in range(8)]


@pytest.fixture
def workspace(tmp_path: Path, config_text: Callable[..., str]) -> Workspace:
    """A workspace with a file of each format, each with its own names for question and answer."""
    config_text()
    place = tmp_path / "workspace"
    with (place / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["ask", "reply"], *PAIRS])
    turns = [[{"from": "human", "value": asked}, {"from": "gpt", "value": said}] for asked, said in PAIRS]
    pq.write_table(pa.table({"ask": [t[0]["value"] for t in turns], "reply": [t[1]["value"] for t in turns]}),
                   place / "b.parquet")  # fmt: skip
    lines = [json.dumps({"ask": asked, "reply": said}) for asked, said in PAIRS]
    (place / "c.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    (place / "d.json").write_text(json.dumps([{"conversations": turn} for turn in turns]))
    write_rows(place / "split" / "train.jsonl", rows(count=4))
    write_rows(place / "split" / "val.jsonl", rows(count=3))
    (place / "pairs.json").write_text(json.dumps([{"prompt": "a", "bad": "c", "good": "b"}] * 3))
    return Workspace(place)


def settled(workspace: Workspace, config_text: Callable[..., str], **data: Any) -> prepare.Settled:
    given = {"validation": {}, "max_length": 128, **data}
    text = config_text(data=given, evaluation={"eval_steps": None, "prompts": []})
    return prepare.settle(workspace, loads(text, "test.yaml"))


def test_a_run_learns_from_a_table_parquet_and_gzip_with_columns_named(
    workspace: Workspace, config_text: Callable[..., str]
) -> None:
    data = {
        "train": ["a.csv", "b.parquet", "c.jsonl.gz"],
        "validation": {},
        "mapping": {"prompt": "ask", "completion": "reply"},
    }
    text = config_text(data=data, training={"max_steps": 2}, evaluation={"eval_steps": None, "prompts": []})
    run = prepare.new_run(workspace, loads(text, "test.yaml"))
    prepare.start_run(run)
    wait_for(lambda: liveness(run.path).life is Life.DEAD, "the end of the run")
    said = [record.event for record in read_records(run)]
    ended = [event for event in said if isinstance(event, events.RunEnded)]
    assert [event.outcome for event in ended] == ["finished"], run.log.read_text()[-2000:]
    prepared = [event for event in said if isinstance(event, events.DataPrepared)]
    assert [(event.rows_in, event.rows_kept) for event in prepared] == [(24, 24)]


def test_a_folder_gives_its_split_and_recognised_files_need_no_names(
    workspace: Workspace, config_text: Callable[..., str]
) -> None:
    found = settled(workspace, config_text, train=["split", "d.json"], validation="split")
    assert [(file.role, Path(file.path).name, file.rows) for file in found.data] == [
        ("train", "train.jsonl", 4),
        ("train", "d.json", 8),
        ("validation:validation", "val.jsonl", 3),
    ]
    assert found.resolved.config.data.train == ["split", "d.json"]
    (workspace.path / "split" / "val.jsonl").unlink()
    with pytest.raises(NotFound, match=r"no data files for validation\. It has train"):
        settled(workspace, config_text, train="split", validation="split")


def test_pairs_and_wrong_names_are_refused_before_anything_is_made(
    workspace: Workspace, config_text: Callable[..., str]
) -> None:
    with pytest.raises(DataError, match="holds preference pairs"):
        settled(workspace, config_text, train="pairs.json")
    with pytest.raises(DataError, match="no column 'ask'"):
        settled(workspace, config_text, train="d.json", mapping={"prompt": "ask", "completion": "reply"})
    with pytest.raises(ConfigError, match=r"data\.mapping.*'answer' is none of prompt, context"):
        settled(workspace, config_text, train="d.json", mapping={"answer": "reply"})
    assert not list(workspace.runs.glob("*"))


def test_plain_text_is_learned_and_asks_nothing(workspace: Workspace, config_text: Callable[..., str]) -> None:
    text = [json.dumps({"text": f"Arden {n} is a town.", "dataset_type": "retain"}) for n in range(4)]
    (workspace.path / "text.jsonl").write_text("\n".join(text))
    found = settled(workspace, config_text, train="text.jsonl", validation="text.jsonl")
    assert [file.rows for file in found.data] == [4, 4]
    assert (found.facts.dataset_types, found.facts.validation_prompts) == (frozenset(), ())
    assert found.resolved.config.evaluation.behaviour is False
    rows_read = [row for row in read_rows(workspace.path / "text.jsonl") if isinstance(row, Row)]
    asked = [Row(Path("x"), 1, [{"role": "user", "content": "q"}], [{"role": "assistant", "content": "a"}])]
    assert chosen_prompts(None, {"text": rows_read, "asked": asked}) == [("asked", asked[0].prompt)]
