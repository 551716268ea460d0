"""What a user may choose about the console: a TOML file, then the environment, then the command line.

`$XDG_CONFIG_HOME/ftconsole/config.toml` holds any of the fields of `Settings`; `FTCONSOLE_GLYPHS` and so on override
it, and options of the command override both. Standard library only, and read before Textual is imported.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from engine.errors import ConfigError

CHOICES: Mapping[str, tuple[str, ...]] = {
    "glyphs": ("auto", "braille", "block", "ascii"),
    "mouse": ("off", "click", "full"),
    "colour": ("auto", "truecolor", "256", "16", "none"),
}
"""What the fields that are words may be."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How the console looks and behaves. The defaults are right over SSH."""

    glyphs: str = "auto"
    """What plots are drawn with: "braille", "block" (half blocks) or "ascii". "auto": what the terminal can show."""
    mouse: str = "click"
    """"click": buttons and wheel. "full": also motion, which cost 451 kB/s over a table. "off": the terminal's own."""
    theme: str = "auto"
    """A theme's name. "auto": the console's own dark one, or the terminal's 16 colours where it has no more."""
    fps: int = 0
    """Frames a second at most, 1 to 120. 0: 60, and 15 over SSH."""
    colour: str = "auto"
    """Colours used: "truecolor", "256", "16", "none". "auto": as TERM, COLORTERM and NO_COLOR say."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """Keys by binding id, as `{"app.help": "f2"}`; several keys with commas."""


def config_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where the settings file is looked for. It need not exist."""
    if given := environ.get("FTCONSOLE_CONFIG"):
        return Path(given)
    base = environ.get("XDG_CONFIG_HOME") or ""
    # The specification ignores a relative path.
    return (Path(base) if base.startswith("/") else Path.home() / ".config") / "ftconsole" / "config.toml"


def state_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder for what the console itself writes, made with mode 0700. Raises OSError."""
    base = environ.get("XDG_STATE_HOME") or ""
    folder = (Path(base) if base.startswith("/") else Path.home() / ".local" / "state") / "ftconsole"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def write_private(path: Path, text: str) -> None:
    """Replace `path` with `text`, readable by its owner only. Raises OSError.

    Written beside and renamed: a link that someone left under the name is replaced, not followed.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, stat.S_IRUSR | stat.S_IWUSR)
    try:
        with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def load_settings(
    given: Mapping[str, str | int | None] | None = None, environ: Mapping[str, str] = os.environ
) -> Settings:
    """Return the settings in force.

    Args:
        given: Options of the command by field name; None means not given.
        environ: Read for `FTCONSOLE_*` and `NO_COLOR`, which counts when it is not empty (no-color.org).

    Raises:
        ConfigError: With every problem of the file, the environment and the options at once.
    """
    path = config_path(environ)
    problems: list[str] = []
    values: dict[str, Any] = {}
    for key, value in _read(path, problems).items():
        _take(values, str(key), value, f"{key} in {path}", problems)
    for name in ("glyphs", "mouse", "theme", "fps", "colour"):
        variable = f"FTCONSOLE_{name.upper()}"
        if value := environ.get(variable):
            _take(values, name, value, variable, problems)
    if environ.get("NO_COLOR") or environ.get("FTCONSOLE_NO_COLOR"):
        values["colour"] = "none"
    for name, option in (given or {}).items():
        if option is not None:
            _take(values, name, option, f"--{name}", problems)
    if problems:
        raise ConfigError(problems, remedy=f"Correct them; FTCONSOLE_CONFIG=/dev/null starts without {path.name}.")
    return replace(Settings(), **values)


def _read(path: Path, problems: list[str]) -> Mapping[str, Any]:
    try:
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        problems.append(f"{path} cannot be read: {error.strerror}")
        return {}
    import tomllib  # 4 ms, and most people have no file

    try:
        return tomllib.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        problems.append(f"{path} is not UTF-8 at byte {error.start}")
    except tomllib.TOMLDecodeError as error:
        problems.append(f"{path}: {error}")
    return {}


def _take(values: dict[str, Any], name: str, value: object, where: str, problems: list[str]) -> None:
    """Put `value` under `name` into `values`, or say in `problems` why not."""
    known = [entry.name for entry in fields(Settings)]
    if name not in known:
        from difflib import get_close_matches

        near = get_close_matches(name, known, 1)
        problems.append(f"{where}: there is no such setting" + (f"; nearest is {near[0]}" if near else ""))
    elif name == "fps":
        try:
            number = int(str(value)) if not isinstance(value, bool | float) else -1
        except ValueError:
            number = -1
        if not 0 <= number <= 120:
            problems.append(f"{where}: {value!r} is not a whole number from 0 to 120")
        values[name] = number
    elif name == "keys":
        if not isinstance(value, dict) or not all(isinstance(entry, str) and entry for entry in value.values()):
            problems.append(f"{where}: is not a table of binding ids and keys")
        else:
            values[name] = value
    elif not isinstance(value, str):
        problems.append(f"{where}: {value!r} is not text")
    elif name in CHOICES and value not in CHOICES[name]:
        problems.append(f"{where}: {value!r} is not one of {', '.join(CHOICES[name])}")
    else:
        values[name] = value
