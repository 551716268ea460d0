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


Model = Annotated[
    str | None, typer.Option("--model", metavar="MODEL", help="Through whose chat template and tokenizer to look.")
]
MaxLength = Annotated[
    int | None, typer.Option("--max-length", min=8, metavar="N", help="Tokens at which rows are cut. Default: never.")
]
Template = Annotated[
    str | None, typer.Option("--chat-template", metavar="FILE", help="A .jinja file instead of the model's template.")
]

EosToken = Annotated[
    str | None, typer.Option("--eos-token", metavar="TOKEN", help="Ends a row, as trainer.eos_token of a run does.")
]
Packing = Annotated[
    str | None,
    typer.Option(
        "--packing", metavar="STRATEGY", help="As packed: bfd, or bfd_split and wrapped, which cut nothing off."
    ),
]
LearnQuestions = Annotated[
    bool, typer.Option("--learn-questions", help="Questions are learned as well: data.completion_only_loss is false.")
]


@app.command(help="Say what is wrong with data files. Every row is kept, or listed with its line and the reason.")
def check(
    context: typer.Context,
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Training files, as for convert.")],
    validation: Annotated[
        list[str] | None,
        typer.Option("--validation", metavar="FILE", help="Look for its questions among those trained on. Repeatable."),
    ] = None,
    model: Model = None,
    max_length: MaxLength = None,
    chat_template: Template = None,
    maps: Maps = None,
    method: Annotated[
        str | None,
        typer.Option("--method", metavar="NAME", help="As this method has it. Default: by the kind of rows."),
    ] = None,
    eos_token: EosToken = None,
    packing: Packing = None,
    learn_questions: LearnQuestions = False,
    as_json: AsJson = False,
) -> Work:
    from tui.cli import data_check

    through = data_check.Through(
        model, chat_template, max_length, tuple(maps or ()), method, eos_token, packing, not learn_questions
    )
    return partial(
        data_check.check, root_of(context).workspace, files, tuple(validation or ()), through, as_json=as_json
    )


@app.command(help="Show a row token by token, as a run would train on it.")
def show(
    context: typer.Context,
    file: DataFile,
    row: Annotated[int, typer.Option("--row", min=1, metavar="N", help="Its line; 1 is the first.")],
    model: Model = None,
    max_length: MaxLength = None,
    chat_template: Template = None,
    maps: Maps = None,
    eos_token: EosToken = None,
    packing: Packing = None,
    learn_questions: LearnQuestions = False,
    as_json: AsJson = False,
) -> Work:
    from tui.cli import data_check

    through = data_check.Through(
        model, chat_template, max_length, tuple(maps or ()), None, eos_token, packing, not learn_questions
    )
    return partial(data_check.show, root_of(context).workspace, file, row, through, as_json=as_json)


@app.command(help="Count what data files hold. Lengths, roles, kinds, duplicates, overlap.")
def stats(
    context: typer.Context,
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Training files, as for convert.")],
    validation: Annotated[
        list[str] | None,
        typer.Option("--validation", metavar="FILE", help="Count, and look for its rows in the others. Repeatable."),
    ] = None,
    model: Annotated[str | None, typer.Option("--model", metavar="MODEL", help="Count its tokens as well.")] = None,
    max_length: Annotated[
        int | None, typer.Option("--max-length", min=1, metavar="N", help="Tokens; how many rows are longer.")
    ] = None,
    maps: Maps = None,
    as_json: AsJson = False,
) -> Work:
    from tui.cli import data_stats

    asked = data_stats.Asked(tuple(validation or ()), model, max_length, tuple(maps or ()))
    return partial(data_stats.stats, root_of(context).workspace, files, asked, as_json=as_json)
