"""The command that evaluates, declared with typer. Parsing only, as in `tui.cli.app`."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from tui.cli.complete import run_names
from tui.cli.main import Work
from tui.cli.options import AsJson, root_of

app = typer.Typer(rich_markup_mode=None)


@app.command(help="Ask a model what it should know and what it should have forgotten. Counts answers, refusals, leaks.")
def evaluate(
    context: typer.Context,
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL",
            help="A run, RUN@CHECKPOINT, folder, Hub name, lmstudio:MODEL or http://HOST:PORT/v1#MODEL; `base` for the "
            "base of another. Several are shown beside each other.",
            autocompletion=run_names,
        ),
    ],
    test: Annotated[
        list[str] | None,
        typer.Option(
            "--test", metavar="FILE", help="Rows with metadata.dataset_type. Repeatable. Default: the run's own."
        ),
    ] = None,
    suite: Annotated[str, typer.Option("--suite", metavar="NAME", help="temporal.")] = "temporal",
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="Questions of each kind at most.")
    ] = None,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", min=1, max=8192, metavar="N", help="A reply is cut there.")
    ] = 256,
    system: Annotated[str | None, typer.Option("--system", metavar="TEXT", help="A system turn before each.")] = None,
    refusals: Annotated[
        str | None,
        typer.Option("--refusals", metavar="FILE", help="Regular expressions that tell a refusal, one on each line."),
    ] = None,
    device: Annotated[
        str, typer.Option("--device", metavar="DEVICE", help="auto, cpu, cuda, cuda:0 or mps; of local weights.")
    ] = "auto",
    fresh: Annotated[bool, typer.Option("--fresh", help="Ask again what has a reply from before.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Print every question with its reply.")] = False,
    target: Annotated[
        str | None, typer.Option("-o", "--output", metavar="FILE", help="Write the result as JSON as well.")
    ] = None,
    as_json: AsJson = False,
) -> Work:
    from tui.cli import evaluate as module

    options = module.Options(
        tuple(models), tuple(test or ()), suite, limit, max_tokens, system, refusals, device, fresh, verbose, target
    )
    return partial(module.run, root_of(context).workspace, options, as_json=as_json)
