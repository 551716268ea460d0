"""The commands about data files, `ftconsole data ...`, declared with typer. Parsing only, as in `tui.cli.app`."""

from __future__ import annotations

import typer

app = typer.Typer(help="Look at data files, change their form, and split them.", rich_markup_mode=None)


@app.callback()
def data() -> None:
    """Hold the commands together."""
