"""docs/configuration.md is written from the declaration."""

from __future__ import annotations

from pathlib import Path

from engine.config.declaration import settings
from engine.config.document import document

DOCUMENT = Path(__file__).parents[3] / "docs" / "configuration.md"


def test_the_document_is_current() -> None:
    again = "run `python -m engine.config.document > docs/configuration.md`"
    assert DOCUMENT.read_text("utf-8") == document(), again


def test_every_row_of_a_table_has_as_many_cells_as_its_head() -> None:
    for table in document().split("\n\n"):
        rows = [line.replace("\\|", "") for line in table.splitlines() if line.startswith("|")]
        assert len({row.count("|") for row in rows}) <= 1


def test_every_setting_is_in_the_document() -> None:
    text = document()
    assert [setting.key for setting in settings().values() if f"| `{setting.name}` |" not in text] == []
