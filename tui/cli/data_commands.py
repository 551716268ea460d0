"""The commands about data files, `ftconsole data ...`, declared with typer. Parsing only, as in `tui.cli.app`."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from tui.cli.main import Work
from tui.cli.options import AsJson, root_of

app = typer.Typer(help="Look at data files, change their form, and split them.", rich_markup_mode=None)


@app.callback()
def data() -> None:
    """Hold the commands together."""


DataFile = Annotated[
    str,
    typer.Argument(metavar="FILE", help="Data file; or a folder or a data set in the Hub's cache: its train files."),
]
Maps = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="FIELD=COLUMN", help="What a column holds, where it is not recognised. Repeatable."),
]
Force = Annotated[bool, typer.Option("--force", help="Write over files that are there.")]


@app.command(help="Write the rows of a file in another form. As JSON lines; lists what is left out.")
def convert(
    context: typer.Context,
    file: DataFile,
    out: Annotated[str, typer.Option("-o", "--output", metavar="FILE", help="Written: a .jsonl file.")],
    form: Annotated[str, typer.Option("--to", metavar="FORM", help="messages, prompt-completion or preference.")],
    maps: Maps = None,
    force: Force = False,
    as_json: AsJson = False,
) -> Work:
    from tui.cli import data_files

    return partial(
        data_files.convert_file,
        root_of(context).workspace,
        file,
        out,
        form,
        maps=tuple(maps or ()),
        force=force,
        as_json=as_json,
    )


@app.command(help="Split a file into one to train on and one to measure with. Equal rows stay on one side.")
def split(
    context: typer.Context,
    file: DataFile,
    validation: Annotated[
        str, typer.Option("--validation", metavar="SHARE", help="A share such as 5%, or a number of rows.")
    ] = "5%",
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="The same seed makes the same split.")] = 42,
    folder: Annotated[
        str | None, typer.Option("-o", "--output", metavar="FOLDER", help="Where to write. Default: beside the file.")
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> Work:
    from tui.cli import data_files

    return partial(
        data_files.split_file,
        root_of(context).workspace,
        file,
        validation,
        seed,
        folder=folder,
        force=force,
        as_json=as_json,
    )
