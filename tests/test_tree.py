"""The shape of the repository."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("folder", ["datasets", "models"])
def test_data_folders_hold_no_python(folder: str) -> None:
    assert not list((ROOT / folder).rglob("*.py*"))


def test_datasets_is_the_library_also_when_started_in_the_repository() -> None:
    script = "import datasets; print(datasets.__file__)"
    reply = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "site-packages" in reply.stdout


def test_tests_are_no_packages() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_every_dependency_says_what_it_is_for() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    listed = text[text.index("dependencies = [") : text.index("[project.optional-dependencies]")]
    lines = [line for line in listed.splitlines() if line.strip().startswith('"')]
    assert lines
    assert [line for line in lines if "#" not in line] == []


def test_constraints_pin_every_direct_dependency() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    listed = text[text.index("dependencies = [") : text.index("[project.optional-dependencies]")]
    names = {match[1].lower() for match in re.finditer(r'^\s+"([A-Za-z0-9_-]+)', listed, re.MULTILINE)}
    pins = {line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert names - pins == set()
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text().splitlines()


def test_the_wheel_carries_samples_model_and_sheets_and_works_unpacked(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="the build backend is needed to build a wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, check=True, capture_output=True, cwd=ROOT)
    (wheel,) = tmp_path.glob("*.whl")
    unpacked = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(unpacked)
    assert not [name for name in names if name.startswith(("datasets/", "models/", "tests/", "tools/"))]
    shipped = "engine/shipped"
    for name in ("datasets/retain/retain_train.jsonl", "models/tiny/model.safetensors", "models/catalogue.yaml"):
        assert f"{shipped}/{name}" in names
    for source in [*ROOT.glob("screens/*/*.tcss"), *ROOT.glob("engine/config/**/*.yaml")]:
        assert str(source.relative_to(ROOT)) in names
    script = (
        "from engine.workspace import Workspace, shipped_folder\n"
        "from pathlib import Path\n"
        f"workspace = Workspace(Path({str(tmp_path)!r}))\n"
        "print(shipped_folder()); print(workspace.data_file('datasets/retain/retain_train.jsonl'))\n"
        "print(workspace.model('tiny').kind)"
    )
    reply = subprocess.run(
        [sys.executable, "-P", "-c", script],
        check=True,
        capture_output=True,
        text=True,
        cwd="/",
        env={"PYTHONPATH": str(unpacked), "PATH": "/usr/bin:/bin"},
    )
    folder, data, kind = reply.stdout.split()
    assert folder == str(unpacked / shipped)
    assert data.startswith(str(unpacked))
    assert kind == "builtin"
