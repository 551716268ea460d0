"""Putting a file where LM Studio finds it. The program itself cannot be had here: its rules are those of its source."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from engine.errors import TargetExists, UsageError
from engine.export.lmstudio_folder import LMStudioFolder, find_folder, folder_name
from engine.export.lmstudio_install import LMStudioMissing, install, plan_install

LMS = """#!/bin/sh
echo "$@" >> "{log}"
[ "$1" = import ] && [ "$3" = --user-repo ] || exit 2
mkdir -p "{models}/$4" && cp "$2" "{models}/$4/"
exit {status}
"""


@pytest.fixture
def user(tmp_path: Path) -> Path:
    folder = tmp_path / "user"
    folder.mkdir()
    return folder


@pytest.fixture
def studio(user: Path) -> LMStudioFolder:
    (user / ".lmstudio").mkdir()
    return find_folder({"HOME": str(user)})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "voice.gguf"
    path.write_bytes(b"GGUF" * 100)
    return path


def lms(studio: LMStudioFolder, status: int = 0) -> Path:
    """Put a program in the place of LM Studio's command, which copies as that does; return what it was told."""
    log = studio.home / "log"
    program = studio.home / "bin" / "lms"
    program.parent.mkdir()
    program.write_text(LMS.format(log=log, models=studio.models, status=status))
    program.chmod(0o755)
    return log


def test_its_folder_is_found_as_its_own_program_finds_it(user: Path, tmp_path: Path) -> None:
    environ = {"HOME": str(user)}
    assert find_folder(environ) == LMStudioFolder(user / ".lmstudio", user / ".lmstudio" / "models", False, None)
    (user / ".cache" / "lm-studio").mkdir(parents=True)
    assert find_folder(environ).home == user / ".cache" / "lm-studio"
    (user / ".lmstudio-home-pointer").write_text(f"{tmp_path / 'pointed'}\n")
    assert find_folder(environ).home == tmp_path / "pointed"
    elsewhere = tmp_path / "given"
    elsewhere.mkdir()
    (elsewhere / "settings.json").write_text(json.dumps({"downloadsFolder": "/mnt/models"}))
    found = find_folder({**environ, "LMSTUDIO_HOME": str(elsewhere)})
    assert (found.home, found.models, found.found) == (elsewhere, Path("/mnt/models"), True)
    (elsewhere / "settings.json").write_text("{torn")
    assert find_folder({**environ, "LMSTUDIO_HOME": str(elsewhere)}).models == elsewhere / "models"


def test_a_file_lies_two_folders_deep_and_costs_nothing(studio: LMStudioFolder, file: Path) -> None:
    (placement,) = plan_install([(file, "q4_k_m")], default_name="temporal unlearn", studio=studio)
    assert placement.target == studio.models / "local" / "temporal-unlearn" / "voice.gguf"
    done = install(placement)
    assert (done.name, done.how) == ("temporal-unlearn", "hard link")
    assert os.path.samefile(done.path, file)
    assert [path.name for path in done.path.parent.iterdir()] == ["voice.gguf"]


def test_two_types_never_share_a_folder(studio: LMStudioFolder, file: Path) -> None:
    both = plan_install([(file, "q4_k_m"), (file, "q8_0")], publisher="ada", name="voice", studio=studio)
    assert [one.target.parent.name for one in both] == ["voice-q4_k_m", "voice-q8_0"]
    (alone,) = plan_install([(file, "q4_k_m")], name="voice", studio=studio)
    install(alone)
    other = file.with_name("other.gguf")
    other.write_bytes(b"GGUF")
    (later,) = plan_install([(other, "q8_0")], name="voice", studio=studio)
    assert later.target.parent.name == "voice-q8_0"


def test_what_is_there_stays_unless_it_may_be_replaced(studio: LMStudioFolder, file: Path) -> None:
    (placement,) = plan_install([(file, "q8_0")], name="voice", studio=studio)
    placement.target.parent.mkdir(parents=True)
    placement.target.write_text("another")
    assert placement.taken
    with pytest.raises(TargetExists):
        install(placement)
    assert placement.target.read_text() == "another"
    install(placement, replace=True)
    assert placement.target.read_bytes() == file.read_bytes()


def test_its_own_command_does_it_where_there_is_one(studio: LMStudioFolder, file: Path, user: Path) -> None:
    log = lms(studio)
    (placement,) = plan_install([(file, "q8_0")], name="voice", studio=find_folder({"HOME": str(user)}))
    assert install(placement).how == "lms import"
    assert log.read_text().split() == ["import", str(file), "--user-repo", "local/voice", "--hard-link"]
    assert file.is_file()


def test_where_its_command_fails_the_file_is_put_there_without(studio: LMStudioFolder, file: Path, user: Path) -> None:
    lms(studio, status=3)
    found = find_folder({"HOME": str(user)})
    (placement,) = plan_install([(file, "q8_0")], name="voice", studio=found)
    placement.target.parent.mkdir(parents=True)
    (studio.home / "bin" / "lms").write_text("#!/bin/sh\nexit 3\n")
    assert install(placement).how == "hard link"
    assert placement.target.read_bytes() == file.read_bytes()


def test_a_machine_without_it_says_where_to_copy_the_file(user: Path, file: Path) -> None:
    with pytest.raises(LMStudioMissing) as raised:
        plan_install([(file, "q8_0")], name="voice", studio=find_folder({"HOME": str(user)}))
    assert "~/.lmstudio/models/local/voice/" in raised.value.remedy


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "end.", "a:b", "-rf", "x" * 101, "a\nb", 'q"', "end "])
def test_names_that_lm_studio_would_not_take_or_that_leave_the_folder_are_refused(
    name: str, studio: LMStudioFolder, file: Path
) -> None:
    with pytest.raises(UsageError):
        plan_install([(file, "q8_0")], name=name, studio=studio)
    with pytest.raises(UsageError):
        plan_install([(file, "q8_0")], publisher=name, studio=studio, name="voice")


@pytest.mark.parametrize(
    ("text", "name"),
    [("voice-1@best", "voice-1@best"), ("a b/c", "a-b-c"), ("..", "model"), ("", "model"), ("x" * 200, "x" * 100)],
)
def test_any_name_becomes_one_that_it_takes(text: str, name: str) -> None:
    assert folder_name(text) == name
