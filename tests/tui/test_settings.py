"""What a user may choose, and what is said when it cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import ConfigError
from tui.settings import Settings, config_path, load_settings, state_folder, write_private


def environment(tmp_path: Path, text: str | None = None, **variables: str) -> dict[str, str]:
    if text is not None:
        (tmp_path / "ftconsole").mkdir()
        (tmp_path / "ftconsole" / "config.toml").write_text(text)
    return {"XDG_CONFIG_HOME": str(tmp_path), **variables}


def test_without_a_file_everything_has_its_default(tmp_path: Path) -> None:
    assert load_settings(environ=environment(tmp_path)) == Settings()


def test_the_command_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    environ = environment(
        tmp_path, 'mouse = "full"\nglyphs = "block"\nfps = 10\n', FTCONSOLE_MOUSE="off", FTCONSOLE_FPS="20"
    )
    settings = load_settings({"fps": 30, "glyphs": None}, environ)
    assert (settings.mouse, settings.glyphs, settings.fps) == ("off", "block", 30)


@pytest.mark.parametrize("variable", ["NO_COLOR", "FTCONSOLE_NO_COLOR"])
def test_no_color_counts_when_it_is_not_empty(tmp_path: Path, variable: str) -> None:
    assert load_settings(environ=environment(tmp_path, **{variable: "0"})).colour == "none"
    assert load_settings(environ={**environment(tmp_path), variable: ""}).colour == "auto"


def test_keys_are_a_table(tmp_path: Path) -> None:
    assert load_settings(environ=environment(tmp_path, '[keys]\n"app.help" = "f2"\n')).keys == {"app.help": "f2"}


def test_every_problem_is_named_at_once(tmp_path: Path) -> None:
    text = 'glyph = "block"\nmouse = "sometimes"\nfps = 1000\ntheme = 3\nkeys = "x"\n'
    with pytest.raises(ConfigError) as caught:
        load_settings({"fps": "fast"}, environment(tmp_path, text, FTCONSOLE_COLOUR="pink"))
    problems = caught.value.problems
    assert len(problems) == 7
    assert "nearest is glyphs" in problems[0]
    assert any("'sometimes' is not one of off, click, full" in problem for problem in problems)
    assert any(problem.startswith("--fps: 'fast'") for problem in problems)
    assert any(problem.startswith("FTCONSOLE_COLOUR: 'pink'") for problem in problems)


@pytest.mark.parametrize(
    ("raw", "said"),
    [(b"mouse = ", "config.toml"), (b"\xff\xfe", "not UTF-8 at byte 0"), (b'\xef\xbb\xbfmouse = "off"', None)],
    ids=["torn", "utf-16", "byte order mark"],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, raw: bytes, said: str | None) -> None:
    environ = environment(tmp_path, "")
    config_path(environ).write_bytes(raw)
    if said is None:
        assert load_settings(environ=environ).mouse == "off"
        return
    with pytest.raises(ConfigError, match=said):
        load_settings(environ=environ)


def test_relative_folders_in_the_environment_are_ignored() -> None:
    assert config_path({"XDG_CONFIG_HOME": "here"}) == Path.home() / ".config" / "ftconsole" / "config.toml"


def test_what_the_console_writes_is_private_and_follows_no_link(tmp_path: Path) -> None:
    folder = state_folder({"XDG_STATE_HOME": str(tmp_path)})
    assert folder.stat().st_mode & 0o777 == 0o700
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (folder / "clip.txt").symlink_to(victim)
    write_private(folder / "clip.txt", "secret \ud800")
    assert victim.read_text() == "mine"
    assert (folder / "clip.txt").read_text() == r"secret \ud800"
    assert (folder / "clip.txt").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in folder.iterdir()] == ["clip.txt"]
