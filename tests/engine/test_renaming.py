"""What is written beside gets its name whole, or leaves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.renaming import replace_file


def test_a_file_is_replaced_whole_and_is_the_users_alone(tmp_path: Path) -> None:
    file = tmp_path / "facts.json"
    file.write_text("old")
    file.chmod(0o644)
    replace_file(file, "neu: ü\n")
    assert file.read_bytes() == "neu: ü\n".encode()
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["facts.json"]


def test_what_cannot_be_replaced_leaves_nothing_beside(tmp_path: Path) -> None:
    (tmp_path / "facts.json").mkdir()
    with pytest.raises(OSError, match=r"facts\.json"):
        replace_file(tmp_path / "facts.json", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["facts.json"]
