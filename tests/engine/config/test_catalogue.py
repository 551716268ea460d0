"""The model catalogue, read so that nothing in it can stop a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config.catalogue import catalogue, read_catalogue
from engine.workspace import Workspace

GOOD = """
models:
  - name: small
    hub: org/Small-1B
    parameters: 1235814400
    context_length: 4096
    target_modules: [q_proj, v_proj]
    licence: MIT
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "models" / "catalogue.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_an_entry_is_found_under_its_name_and_its_hub_name(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    found = catalogue(Workspace(tmp_path))
    entry = found["small"]
    assert found["org/Small-1B"] is entry
    assert (entry.num_parameters, entry.context_length) == (1235814400, 4096)
    assert entry.target_modules == ("q_proj", "v_proj")
    assert entry.fields["licence"] == "MIT"


def test_the_workspaces_own_entry_wins_over_the_shipped_one(tmp_path: Path) -> None:
    write(tmp_path, "models: [{name: tiny, parameters: 7}]")
    assert catalogue(Workspace(tmp_path))["tiny"].num_parameters == 7


def test_the_shipped_catalogue_knows_parameters_and_layers_of_every_model(tmp_path: Path) -> None:
    for entry in catalogue(Workspace(tmp_path)).values():
        assert entry.num_parameters, entry.name
        assert entry.target_modules, entry.name
        assert entry.context_length, entry.name


@pytest.mark.parametrize(
    "text",
    ["", "models:", "models: 3", "- 3\n- [a]", "models: [{hub: a/b}, {name: ''}, {name: 3}]", "a: [", "\x00", "a: *b"],
)
def test_a_damaged_catalogue_is_an_empty_one(tmp_path: Path, text: str) -> None:
    assert read_catalogue(write(tmp_path, text)) == []


def test_what_an_entry_gets_wrong_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, "- {name: a, parameters: many, context_length: -1, target_modules: q_proj, hub: 3}")
    (entry,) = read_catalogue(path)
    assert entry[:5] == ("a", None, None, None, ())


def test_a_missing_catalogue_is_an_empty_one(tmp_path: Path) -> None:
    assert read_catalogue(tmp_path / "none.yaml") == []
