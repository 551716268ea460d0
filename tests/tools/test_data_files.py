"""That the shipped data is what its sources make, to the byte."""

from pathlib import Path

import pytest

from tools.tiny_model.data_files import data_files, write_data_files

DATASETS = Path(__file__).resolve().parents[2] / "datasets"


@pytest.mark.parametrize("name", sorted(data_files()))
def test_a_shipped_file_is_what_the_sources_make(name: str) -> None:
    assert (DATASETS / name).read_bytes() == data_files()[name].encode("utf-8")


def test_nothing_else_is_shipped_in_their_folders() -> None:
    folders = {Path(name).parent for name in data_files()}
    shipped = {str(path.relative_to(DATASETS)) for folder in folders for path in (DATASETS / folder).iterdir()}

    assert shipped == set(data_files())


def test_files_can_be_written_over_what_is_there(tmp_path: Path) -> None:
    first = {path: path.read_bytes() for path in write_data_files(tmp_path)}
    again = {path: path.read_bytes() for path in write_data_files(tmp_path)}

    assert first == again
