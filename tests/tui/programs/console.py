"""The console with small screens, started as `ftconsole` starts it. For tests in a real terminal."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from engine.errors import EngineError
from tui.console import run_console
from tui.registry import ScreenEntry
from tui.settings import load_settings

SCREENS = (
    ScreenEntry("runs", "Runs", "small_screens:Home", "Every run"),
    ScreenEntry("live", "Live", "small_screens:Live", "One run", shows_run=True),
)

if __name__ == "__main__":
    try:
        run = sys.argv[1] if len(sys.argv) > 1 else None
        code = run_console(Path(os.environ["HOME"]), run=run, settings=load_settings(), screens=SCREENS)
    except EngineError as error:
        print(error, file=sys.stderr)
        code = error.exit_code
    sys.exit(code)
