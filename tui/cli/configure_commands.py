"""The commands about configurations, declared with typer. Parsing only, as in `tui.cli.app`."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from tui.cli.complete import preset_names
from tui.cli.main import Work
from tui.cli.options import AsJson, root_of

app = typer.Typer(rich_markup_mode=None)

Config = Annotated[
    str | None, typer.Argument(metavar="RUN.yaml", help="The configuration; a run's own run.yaml is one too.")
]
Preset = Annotated[
    str | None,
    typer.Option("--preset", metavar="NAME", help="A preset below the file.", autocompletion=preset_names),
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting, such as training.learning_rate=1e-4. Repeatable."),
]
Dev = Annotated[bool, typer.Option("--dev", help="As for `train --dev`: one epoch over the file data.dev.")]
Output = Annotated[
    str | None, typer.Option("-o", "--output", metavar="FILE", help="Write this file. Default: print it.")
]
Force = Annotated[bool, typer.Option("--force", help="Write over a file that is there.")]
Two = "A run's name, a YAML file, or a preset."


@app.command(help="Check a configuration and print it as a run would use it. Every value with where it comes from.")
def config(
    context: typer.Context,
    config: Config = None,
    preset: Preset = None,
    sets: Sets = None,
    dev: Dev = False,
    as_json: AsJson = False,
) -> Work:
    from tui.cli import configuration
    from tui.cli.train import Asked

    asked = Asked(config, preset, tuple(sets or ()), dev)
    return partial(configuration.show, root_of(context).workspace, asked, as_json=as_json)


@app.command(help="Say whether a run will fit into memory. With --probe by trying two steps.")
def estimate(
    context: typer.Context,
    config: Config = None,
    preset: Preset = None,
    sets: Sets = None,
    dev: Dev = False,
    probe: Annotated[
        bool, typer.Option("--probe", help="Try two steps on the longest rows, then look for the largest batch.")
    ] = False,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.0, metavar="N", help="How long the search of --probe may take.")
    ] = 180.0,
    as_json: AsJson = False,
) -> Work:
    from tui.cli import estimate as module
    from tui.cli.train import Asked

    asked = Asked(config, preset, tuple(sets or ()), dev)
    workspace = root_of(context).workspace
    return partial(module.estimate, workspace, asked, measure=probe, seconds=seconds, as_json=as_json)


@app.command(help="List the presets. What they are for, one on a line.")
def presets(context: typer.Context, as_json: AsJson = False) -> Work:
    from tui.cli import configuration

    return partial(configuration.list_presets, root_of(context).workspace, as_json=as_json)


@app.command(help="Begin a configuration from a preset. With comments, to be edited.")
def init(
    context: typer.Context,
    preset: Annotated[str, typer.Argument(metavar="PRESET", help="Name of a preset.", autocompletion=preset_names)],
    target: Output = None,
    force: Force = False,
) -> Work:
    from tui.cli import configuration

    return partial(configuration.init, root_of(context).workspace, preset, target=target, force=force)


@app.command(
    "import", help="Take over a configuration of Axolotl, LLaMA-Factory or TRL. Lists what has no counterpart."
)
def take_over(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A YAML file of one of these tools.")],
    tool: Annotated[
        str | None,
        typer.Option("--from", metavar="TOOL", help="axolotl, llamafactory or trl. Default: told from its keys."),
    ] = None,
    target: Output = None,
    force: Force = False,
    as_json: AsJson = False,
) -> Work:
    from tui.cli import configuration

    workspace = root_of(context).workspace
    return partial(configuration.take_over, workspace, file, tool, target=target, force=force, as_json=as_json)


@app.command(help="Say in which settings two configurations differ. Of runs, files or presets.")
def diff(
    context: typer.Context,
    before: Annotated[str, typer.Argument(metavar="A", help=Two)],
    after: Annotated[str, typer.Argument(metavar="B", help=Two)],
    as_json: AsJson = False,
) -> Work:
    from tui.cli import configuration

    return partial(configuration.diff, root_of(context).workspace, before, after, as_json=as_json)
