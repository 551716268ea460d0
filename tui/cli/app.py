"""The commands and their options, declared with typer. Parsing only: what is to be done is returned and done later.

Modules of the commands are imported inside, each when it is asked for: `--help` needs none of them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Annotated, Any

import typer

from engine.errors import UsageError
from tui.cli import (
    chat_commands,
    checkpoint_commands,
    configure_commands,
    data_commands,
    evaluate_commands,
    export_commands,
    merge_commands,
)
from tui.cli.complete import checkpoint_names, metric_names, preset_names, run_names
from tui.cli.main import Work
from tui.cli.options import AsJson, Root, root_of

app = typer.Typer(
    name="ftconsole",
    help="Fine-tune language models from a terminal. Without a command: the console.",
    epilog="Exit codes, examples and completion: docs/command-line.md.",
    rich_markup_mode=None,  # rich would double the time of --help
    pretty_exceptions_enable=False,  # they print the values of variables, tokens among them
    context_settings={"help_option_names": ["-h", "--help"]},
)


RunName = Annotated[str, typer.Argument(metavar="RUN", help="Name of the run.", autocompletion=run_names)]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Return at once, without the run's confirmation.")]
Timeout = Annotated[
    float, typer.Option("--timeout", min=0.0, metavar="SECONDS", help="How long to wait for the run's confirmation.")
]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Watch the run until it ends.")]
Preset = Annotated[
    str | None,
    typer.Option("--preset", metavar="NAME", help="A preset below the file.", autocompletion=preset_names),
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting, such as training.learning_rate=1e-4. Repeatable."),
]
NewName = Annotated[str | None, typer.Option("--name", metavar="NAME", help="Name of the run; else the next free one.")]

DEFAULT_TIMEOUT = 30.0


def parse(arguments: Sequence[str]) -> Work:
    """Return what the arguments ask for.

    Raises:
        UsageError: They ask for nothing there is.
    """
    # typer 0.29 brings its own copy of click's exceptions, earlier ones use click's: the public name leads to both.
    click_exception: Any = typer.BadParameter.__mro__[2]
    try:
        result = app(list(arguments), prog_name="ftconsole", standalone_mode=False)
    except click_exception as error:
        raise _usage_error(error, arguments) from None
    except typer.Abort:
        raise KeyboardInterrupt from None
    if callable(result):
        work: Work = result
        return work
    code = result if isinstance(result, int) else 0  # --help and completion have printed what they had to
    return lambda: code


def _usage_error(error: Any, arguments: Sequence[str]) -> UsageError:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "ftconsole"
    message = str(error.format_message()).strip()
    given = _given_value(getattr(getattr(error, "param", None), "opts", ()), arguments)
    if given is not None:
        message = f"{message.rstrip('.')}, not {given!r}"
    misplaced = {"-w", "--workspace"} & set(message.split())
    if not message.endswith((".", ")", "?")):
        message += "."
    if misplaced:
        return UsageError(message, remedy="The workspace comes before the command: ftconsole -w PATH COMMAND.")
    return UsageError(message, remedy=f"`{command} --help` lists what there is.")


def _given_value(names: Sequence[str], arguments: Sequence[str]) -> str | None:
    """Return what was given for an option; typer's messages leave it out."""
    for argument, following in pairwise([*arguments, None]):
        if argument in names:
            return following
        name, equals, value = (argument or "").partition("=")
        if equals and name in names:
            return value
    return None


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import PackageNotFoundError, version

        from tui.cli import output

        try:
            output.out(f"ftconsole {version('ftconsole')}")
        except PackageNotFoundError:
            output.out("ftconsole, from a checkout that is not installed")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def console(
    context: typer.Context,
    workspace: Annotated[
        str | None,
        typer.Option(
            "-w", "--workspace", metavar="PATH", help="Folder with datasets/, models/ and runs/. Default: here."
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option("--run", metavar="RUN", help="Open the console on this run.", autocompletion=run_names),
    ] = None,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours, as NO_COLOR=1 does.")] = False,
    glyphs: Annotated[
        str | None, typer.Option("--glyphs", metavar="SET", help="Draw with auto, braille, block or ascii.")
    ] = None,
    mouse: Annotated[str | None, typer.Option("--mouse", metavar="MODE", help="off, click or full.")] = None,
    theme: Annotated[str | None, typer.Option("--theme", metavar="NAME", help="Theme of the console.")] = None,
    fps: Annotated[
        int | None, typer.Option("--fps", metavar="N", help="Frames a second at most; 0: automatic.")
    ] = None,
    version: Annotated[  # noqa: ARG001 - its callback prints and exits
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> Work | None:
    if no_color:
        os.environ["NO_COLOR"] = "1"  # for whatever we print and start
    settings: dict[str, str | int | None] = {"glyphs": glyphs, "mouse": mouse, "theme": theme, "fps": fps}
    context.obj = Root(workspace, settings)
    if context.invoked_subcommand is not None:
        if run is not None:
            raise UsageError(
                "--run opens the console on a run; a command takes the run's name as its argument.",
                remedy=f"Write ftconsole {context.invoked_subcommand} RUN.",
            )
        return None
    from tui.cli import console as opening

    return partial(opening.open_console, workspace, run, settings)


@app.command(help="Fine-tune the built-in model, live. Two to three minutes on two CPU cores; needs no network.")
def demo(context: typer.Context, name: NewName = None, as_json: AsJson = False) -> Work:
    from tui.cli import demo as module

    root = root_of(context)
    return partial(module.demo, root.workspace, root.settings, name=name, as_json=as_json)


@app.command(help="Start a run that goes on by itself. From RUN.yaml, a preset, or both.")
def train(
    context: typer.Context,
    config: Annotated[
        str | None, typer.Argument(metavar="RUN.yaml", help="The configuration; a run's own run.yaml is one too.")
    ] = None,
    preset: Preset = None,
    sets: Sets = None,
    name: NewName = None,
    dev: Annotated[bool, typer.Option("--dev", help="A quick test: one epoch over the file data.dev.")] = False,
    follow: Follow = False,
    as_json: AsJson = False,
) -> Work:
    from tui.cli import train as module

    asked = module.Asked(config, preset, tuple(sets or ()), dev)
    return partial(module.train, root_of(context).workspace, asked, name=name, follow=follow, as_json=as_json)


@app.command(help="Go on with a run that has ended. Exactly where a checkpoint left it.")
def resume(
    context: typer.Context,
    run: RunName,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="CHECKPOINT",
            help="A step or checkpoint-N; start: none. Default: the newest that is whole.",
            autocompletion=checkpoint_names,
        ),
    ] = None,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="Go on although data, model or settings have changed since.")
    ] = False,
    follow: Follow = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say from where it would go on, and do nothing.")] = False,
    as_json: AsJson = False,
) -> Work:
    from tui.cli import train as module

    return partial(
        module.resume,
        root_of(context).workspace,
        run,
        checkpoint=checkpoint,
        accept_changes=accept_changes,
        follow=follow,
        dry_run=dry_run,
        as_json=as_json,
    )


@app.command(help="Take this machine's share of a run of several machines.")
def join(
    context: typer.Context,
    run: RunName,
    machine: Annotated[
        int, typer.Argument(metavar="MACHINE", help="Its number, from 1; the one it was started on is 0.")
    ],
    as_json: AsJson = False,
) -> Work:
    from tui.cli import train as module

    return partial(module.join, root_of(context).workspace, run, machine, as_json=as_json)


@app.command(help="List the runs of the workspace.")
def runs(context: typer.Context, as_json: AsJson = False) -> Work:
    from tui.cli import runs as module

    return partial(module.show, root_of(context).workspace, as_json=as_json)


@app.command(help="Follow a run as text until it ends. Exit code 0: finished or stopped, 10: failed or died.")
def watch(
    context: typer.Context,
    run: RunName,
    tail: Annotated[
        int | None, typer.Option("--tail", min=0, metavar="N", help="Of what was said before, only the last N lines.")
    ] = None,
    no_follow: Annotated[bool, typer.Option("--no-follow", help="Print what there is and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per event.")] = False,
) -> Work:
    from tui.cli import watch as module

    return partial(module.watch, root_of(context).workspace, run, tail=tail, follow_on=not no_follow, as_json=as_json)


@app.command(help="Draw the curves of a run. In the terminal, or into a picture.")
def plot(
    context: typer.Context,
    run: RunName,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric", "-m", metavar="NAME", help="Repeatable. Default: losses.", autocompletion=metric_names
        ),
    ] = None,
    x: Annotated[str, typer.Option("--x", metavar="AXIS", help="step, epoch, tokens or time.")] = "step",
    smooth: Annotated[
        float, typer.Option("--smooth", min=0.0, max=0.99, metavar="WEIGHT", help="Moving average, 0 to 0.99.")
    ] = 0.0,
    log: Annotated[bool, typer.Option("--log", help="Logarithmic y axis.")] = False,
    picture: Annotated[
        str | None, typer.Option("-o", "--output", metavar="FILE", help="Write a picture: .svg or .png.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the columns that would be drawn.")] = False,
) -> Work:
    from tui.cli import plot as module

    root = root_of(context)
    asked = module.Asked(tuple(metric or ()), x, smooth, log)
    return partial(module.plot, root.workspace, run, asked, picture=picture, settings=root.settings, as_json=as_json)


@app.command(help="Take no further step until `unpause`. The memory stays in use.")
def pause(
    context: typer.Context,
    run: RunName,
    no_wait: NoWait = False,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> Work:
    from tui.cli import control

    return partial(
        control.pause, root_of(context).workspace, run, control.Waiting(not no_wait, timeout), as_json=as_json
    )


@app.command(help="Go on after a pause.")
def unpause(
    context: typer.Context,
    run: RunName,
    no_wait: NoWait = False,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> Work:
    from tui.cli import control

    return partial(
        control.unpause, root_of(context).workspace, run, control.Waiting(not no_wait, timeout), as_json=as_json
    )


@app.command(help="Write a checkpoint after the current step and go on.")
def save(
    context: typer.Context,
    run: RunName,
    no_wait: NoWait = False,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> Work:
    from tui.cli import control

    return partial(
        control.save, root_of(context).workspace, run, control.Waiting(not no_wait, timeout), as_json=as_json
    )


@app.command(help="Save a checkpoint and end the run. `resume` goes on from it.")
def stop(
    context: typer.Context,
    run: RunName,
    now: Annotated[bool, typer.Option("--now", help="End at once; what was not saved is lost.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before --now.")] = False,
    no_wait: NoWait = False,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> Work:
    from tui.cli import control

    waiting = control.Waiting(not no_wait, timeout)
    return partial(control.stop, root_of(context).workspace, run, waiting, now=now, yes=yes, as_json=as_json)


@app.command(
    "set-lr",
    help="Change the learning rate of a live run. VALUE is the new peak of its schedule, from the next step on.",
)
def set_lr(
    context: typer.Context,
    run: RunName,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="Above 0, such as 1e-4.")],
    no_wait: NoWait = False,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> Work:
    from tui.cli import control

    waiting = control.Waiting(not no_wait, timeout)
    return partial(control.set_learning_rate, root_of(context).workspace, run, value, waiting, as_json=as_json)


@app.command("early-stop", help="Let early stopping end a live run. Or, with off, no longer.")
def early_stop(
    context: typer.Context,
    run: RunName,
    state: Annotated[str, typer.Argument(metavar="on|off", help="on arms it, off disarms it.")],
    no_wait: NoWait = False,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> Work:
    from tui.cli import control

    waiting = control.Waiting(not no_wait, timeout)
    return partial(control.set_early_stopping, root_of(context).workspace, run, state, waiting, as_json=as_json)


@app.command(help="Say what this machine can do. And what would get in a run's way.")
def doctor(context: typer.Context, as_json: AsJson = False) -> Work:
    from tui.cli import doctor as module

    root = root_of(context)
    return partial(module.doctor, root.workspace, root.settings, as_json=as_json)


app.add_typer(data_commands.app, name="data")
app.add_typer(configure_commands.app)
app.add_typer(checkpoint_commands.app)
app.add_typer(evaluate_commands.app)
app.add_typer(chat_commands.app)
app.add_typer(chat_commands.lmstudio_app, name="lmstudio")
app.add_typer(chat_commands.keys_app, name="keys")
app.add_typer(export_commands.app)
app.add_typer(merge_commands.app)
