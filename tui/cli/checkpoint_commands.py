"""The commands about checkpoints, declared with typer. Parsing only, as in `tui.cli.app`."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from tui.cli.complete import metric_names, preset_names, promoted_names, run_names, spec_names
from tui.cli.main import Work
from tui.cli.options import AsJson, root_of

app = typer.Typer(rich_markup_mode=None)

Named = Annotated[
    list[str], typer.Argument(metavar="RUN@CHECKPOINT", help="Such as voice-1@120 or voice-1@best.",
                              autocompletion=spec_names)
]  # fmt: skip
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
OptimizerOnly = Annotated[bool, typer.Option("--optimizer-only", help="Drop optimizer states and keep the weights.")]


@app.command(help="List checkpoints. Of every run, of one, or of a folder another tool has written.")
def checkpoints(
    context: typer.Context,
    where: Annotated[
        str | None, typer.Argument(metavar="RUN|DIR", help="Default: every run.", autocompletion=run_names)
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option("--sort", metavar="KEY", help="age, step, size, name, run, or a metric: the best first."),
    ] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="The other way round.")] = False,
    filter_by: Annotated[
        str | None,
        typer.Option("--filter", metavar="WORDS", help="pinned, best, damaged, resumable, 'eval_loss<1.2', a name."),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", "-m", metavar="NAME", help="A column. Repeatable.", autocompletion=metric_names),
    ] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Read every byte and compare with the hashes.")] = False,
    as_json: AsJson = False,
) -> Work:
    from tui.cli import checkpoints as module

    asked = module.Asked(where, sort, reverse, filter_by or "", tuple(metric or ()), verify)
    return partial(module.show, root_of(context).workspace, asked, as_json=as_json)


@app.command(help="Put two checkpoints side by side. Figures, settings that differ, answers word by word.")
def compare(
    context: typer.Context,
    left: Annotated[str, typer.Argument(metavar="A", autocompletion=spec_names)],
    right: Annotated[str, typer.Argument(metavar="B", autocompletion=spec_names)],
    as_json: AsJson = False,
) -> Work:
    from tui.cli import comparing

    return partial(comparing.compare, root_of(context).workspace, left, right, as_json=as_json)


@app.command(help="Keep checkpoints. Neither the run's own rotation nor `prune` removes what is pinned.")
def pin(context: typer.Context, named: Named, dry_run: DryRun = False, as_json: AsJson = False) -> Work:
    from tui.cli import shelving

    answer = shelving.Answer(dry_run, yes=True)
    return partial(shelving.pin, root_of(context).workspace, named, answer, as_json=as_json)


@app.command(help="Let pinned checkpoints be removed again.")
def unpin(context: typer.Context, named: Named, dry_run: DryRun = False, as_json: AsJson = False) -> Work:
    from tui.cli import shelving

    answer = shelving.Answer(dry_run, yes=True)
    return partial(shelving.unpin, root_of(context).workspace, named, answer, as_json=as_json)


@app.command(help="Delete checkpoints. Says what is lost, and asks.")
def delete(
    context: typer.Context,
    named: Named,
    optimizer_only: OptimizerOnly = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> Work:
    from tui.cli import shelving

    answer = shelving.Answer(dry_run, yes)
    workspace = root_of(context).workspace
    return partial(shelving.delete, workspace, named, answer, optimizer_only=optimizer_only, as_json=as_json)


@app.command(help="Delete the checkpoints of a run that are neither new, nor the best, nor pinned.")
def prune(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="Name of the run.", autocompletion=run_names)],
    keep: Annotated[int, typer.Option("--keep", min=1, metavar="N", help="How many of the newest stay.")] = 2,
    best_by: Annotated[
        str | None,
        typer.Option("--best-by", metavar="METRIC", help="The best by this stays too.", autocompletion=metric_names),
    ] = None,
    optimizer_only: OptimizerOnly = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> Work:
    from tui.cli import shelving

    answer = shelving.Answer(dry_run, yes)
    return partial(
        shelving.prune,
        root_of(context).workspace,
        run,
        answer,
        keep=keep,
        best_by=best_by,
        optimizer_only=optimizer_only,
        as_json=as_json,
    )


@app.command(help="Copy a checkpoint's weights to models/. The copy outlives the run.")
def promote(
    context: typer.Context,
    spec: Annotated[str, typer.Argument(metavar="RUN[@CHECKPOINT]|DIR", autocompletion=spec_names)],
    name: Annotated[
        str | None,
        typer.Option("--name", "--as", metavar="NAME", help="Folder in models/. latest: what was it becomes previous.",
                     autocompletion=promoted_names),
    ] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> Work:  # fmt: skip
    from tui.cli import shelving

    answer = shelving.Answer(dry_run, yes)
    return partial(shelving.promote, root_of(context).workspace, spec, answer, name=name, as_json=as_json)


@app.command(help="Exchange models/latest and models/previous. Again: undo it.")
def rollback(context: typer.Context, dry_run: DryRun = False, yes: Yes = False, as_json: AsJson = False) -> Work:
    from tui.cli import shelving

    answer = shelving.Answer(dry_run, yes)
    return partial(shelving.rollback, root_of(context).workspace, answer, as_json=as_json)


@app.command("continue", help="Start a new run from the weights of another. On new data, with a new optimizer.")
def continue_(
    context: typer.Context,
    spec: Annotated[str, typer.Argument(metavar="RUN[@CHECKPOINT]|DIR", autocompletion=spec_names)],
    config: Annotated[
        str | None, typer.Argument(metavar="RUN.yaml", help="Settings; what it leaves out is as in the run before.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option("--preset", metavar="NAME", help="A preset below the file.", autocompletion=preset_names),
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting, such as data.train=new.jsonl. Repeatable."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Name of the run; else the next free one.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Watch the run until it ends.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> Work:
    from tui.cli import train as module

    asked = module.Asked(config, preset, tuple(sets or ()))
    workspace = root_of(context).workspace
    return partial(
        module.continue_run, workspace, spec, asked, name=name, follow=follow, dry_run=dry_run, as_json=as_json
    )
