"""The commands that merge and prove it, declared with typer. Parsing only, as in `tui.cli.app`."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from tui.cli.complete import run_names
from tui.cli.main import Work
from tui.cli.options import AsJson, root_of

app = typer.Typer(rich_markup_mode=None)


@app.command(help="Make one model of a base and an adapter. In full precision, proven with --verify.")
def merge(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(
            metavar="SPEC", help="A run, RUN@CHECKPOINT, or a folder with an adapter.", autocompletion=run_names
        ),
    ],
    target: Annotated[str, typer.Option("-o", "--output", metavar="DIR", help="Folder to be made.")],
    dtype: Annotated[
        str, typer.Option("--dtype", metavar="TYPE", help="bfloat16, float16 or float32; of the merged weights.")
    ] = "bfloat16",
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare with base and adapter, and generate, before it is kept.")
    ] = False,
    base: Annotated[
        str | None, typer.Option("--base", metavar="NAME", help="Where the base is now. Default: what was trained on.")
    ] = None,
    shard: Annotated[
        float, typer.Option("--max-shard-size", min=0.001, metavar="GB", help="Largest file of weights.")
    ] = 4.0,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Read weights in .bin files, which are programs. If you trust them.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a model that is there.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it needs.")] = False,
    as_json: AsJson = False,
) -> Work:
    from tui.cli import merge as module

    asked = module.Asked(model, target, dtype, verify, base, allow_pickle, round(shard * 1e9))
    workspace = root_of(context).workspace
    return partial(module.merge_model, workspace, asked, force=force, yes=yes, dry_run=dry_run, as_json=as_json)


@app.command(help="Prove that a model is the same in every form. Adapter on base, merged folder, GGUF files, servers.")
def parity(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(
            metavar="SPEC", help="The reference: a run, RUN@CHECKPOINT, a folder or a model.", autocompletion=run_names
        ),
    ],
    against: Annotated[
        list[str] | None,
        typer.Option(
            "--against",
            metavar="FORM",
            help="A .gguf file, a merged folder, lmstudio:MODEL or http://HOST:PORT/v1#MODEL. Repeatable. "
            "Default: a merge.",
        ),
    ] = None,
    prompts: Annotated[
        str | None, typer.Option("--prompts", metavar="FILE", help="A prompt on each line. Default: eight of ours.")
    ] = None,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, max=1024, metavar="N", help="Longest answer.")] = 32,
    base: Annotated[
        str | None, typer.Option("--base", metavar="NAME", help="Where the base is now. Default: what was trained on.")
    ] = None,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Read weights in .bin files, which are programs. If you trust them.")
    ] = False,
    as_json: AsJson = False,
) -> Work:
    from tui.cli import parity as module

    asked = module.Asked(model, tuple(against or ()), prompts, max_tokens, base, allow_pickle)
    return partial(module.prove_model, root_of(context).workspace, asked, as_json=as_json)
