"""The commands about talking to models, declared with typer. Parsing only, as in `tui.cli.app`."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from tui.cli.complete import conversation_names, spec_names
from tui.cli.main import Work
from tui.cli.options import AsJson, root_of

app = typer.Typer(rich_markup_mode=None)
lmstudio_app = typer.Typer(help="See, load and unload the models of LM Studio.", rich_markup_mode=None)
keys_app = typer.Typer(help="Keep keys of servers in the system's keyring.", rich_markup_mode=None)

Spec = "A run, RUN@CHECKPOINT, folder, model, lmstudio:MODEL or http://HOST:PORT/v1#MODEL."


@app.command(help="Ask two models the same. With a terminal and no questions: in the console.")
def chat(
    context: typer.Context,
    left: Annotated[
        str | None,
        typer.Option("--left", metavar="SPEC", help=f"{Spec} Default: base.", autocompletion=spec_names),
    ] = None,
    right: Annotated[
        str | None,
        typer.Option(
            "--right", metavar="SPEC", help="As --left; base: the base of the other side.", autocompletion=spec_names
        ),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option("--prompts", metavar="FILE", help="Questions: .txt, .jsonl or .yaml. Default: lines of stdin."),
    ] = None,
    prompt: Annotated[
        list[str] | None, typer.Option("--prompt", "-p", metavar="TEXT", help="One question. Repeatable.")
    ] = None,
    blind: Annotated[
        bool, typer.Option("--blind", help="Shuffle the sides and hide the names; `vote` then reveals them.")
    ] = False,
    system: Annotated[str, typer.Option("--system", metavar="TEXT", help="The system prompt of both.")] = "",
    temperature: Annotated[
        float, typer.Option("--temperature", min=0.0, max=5.0, metavar="T", help="0: always the most likely token.")
    ] = 0.7,
    top_p: Annotated[float, typer.Option("--top-p", min=0.0, max=1.0, metavar="P", help="Nucleus sampling.")] = 0.9,
    top_k: Annotated[int | None, typer.Option("--top-k", min=1, metavar="K", help="Of the K likeliest only.")] = None,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", min=1, max=1_000_000, metavar="N", help="Of each answer, at most.")
    ] = 512,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, metavar="N", help="For the same answers, and the same shuffling.")
    ] = None,
    stop: Annotated[
        list[str] | None, typer.Option("--stop", metavar="TEXT", help="Ends an answer. Repeatable.")
    ] = None,
    repetition_penalty: Annotated[
        float | None, typer.Option("--repetition-penalty", min=0.01, metavar="X", help="Above 1: fewer repetitions.")
    ] = None,
    load_in_4bit: Annotated[bool, typer.Option("--load-in-4bit", help="Load local models in 4 bits.")] = False,
    load_in_8bit: Annotated[bool, typer.Option("--load-in-8bit", help="Load local models in 8 bits.")] = False,
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    dtype: Annotated[str, typer.Option("--dtype", metavar="NAME", help="auto, float32, bfloat16 or float16.")] = "auto",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask where a run trains on the same device.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per question and line.")] = False,
) -> Work:
    from engine.chat.asking import Sampling
    from tui.cli import chat as module

    root = root_of(context)
    sampling = Sampling(temperature, top_p, top_k, max_tokens, seed, tuple(stop or ()), repetition_penalty)
    asked = module.Asked(left, right, prompts, tuple(prompt or ()), blind, system, sampling)
    loading = module.Loading(device, dtype, load_in_4bit, load_in_8bit, yes)
    return partial(module.chat, root.workspace, asked, loading, root.settings, as_json=as_json)


@app.command(help="List the conversations of the workspace. Or print one.")
def chats(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(metavar="CHAT", help="Print this conversation.", autocompletion=conversation_names),
    ] = None,
    as_json: AsJson = False,
) -> Work:
    from tui.cli import votes as module

    return partial(module.chats, root_of(context).workspace, name, as_json=as_json)


@app.command(help="Say which of two answers was better. Then says which was whose.")
def vote(
    context: typer.Context,
    conversation: Annotated[
        str, typer.Argument(metavar="CHAT", help="The conversation.", autocompletion=conversation_names)
    ],
    turn: Annotated[int, typer.Argument(metavar="TURN", help="The number of the question in it.")],
    verdict: Annotated[str, typer.Argument(metavar="VERDICT", help="left or a, right or b, tie, both-bad.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why.")] = "",
    as_json: AsJson = False,
) -> Work:
    from tui.cli import votes as module

    workspace = root_of(context).workspace
    return partial(module.vote, workspace, conversation, turn, verdict, reason=reason, as_json=as_json)


@app.command(help="Say what the votes add up to. Per pair of models and category, with Wilson's interval.")
def votes(
    context: typer.Context,
    export: Annotated[
        str | None, typer.Option("--export", metavar="FILE", help="Write them as preference rows for DPO: a .jsonl.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    as_json: AsJson = False,
) -> Work:
    from tui.cli import votes as module

    return partial(module.votes, root_of(context).workspace, export=export, force=force, as_json=as_json)


@app.command(help="Serve a model with OpenAI's protocol. By an existing server, until ctrl+c.")
def serve(
    context: typer.Context,
    spec: Annotated[
        str,
        typer.Argument(
            metavar="SPEC", help="A run, RUN@CHECKPOINT, folder or model; or a .gguf file.", autocompletion=spec_names
        ),
    ],
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Listened on. Default: this machine alone.")
    ] = ("127.0.0.1"),
    port: Annotated[int, typer.Option("--port", min=0, max=65535, metavar="N", help="0: a free one.")] = 8000,
    backend: Annotated[
        str, typer.Option("--backend", metavar="NAME", help="auto, transformers, vllm or llama.cpp.")
    ] = "auto",
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda:N ... of transformers.")] = (
        "auto"
    ),
    as_json: AsJson = False,
) -> Work:
    from tui.cli import serve as module

    workspace = root_of(context).workspace
    return partial(module.serve, workspace, spec, backend=backend, host=host, port=port, device=device, as_json=as_json)


@lmstudio_app.callback()
def lmstudio() -> None:
    """Hold the commands together."""


@keys_app.callback()
def keys() -> None:
    """Hold the commands together."""


Where = Annotated[
    str | None,
    typer.Option(
        "--address", metavar="URL", help="http://HOST:PORT. Default: FTCONSOLE_LMSTUDIO, its own settings, port 1234."
    ),
]
Named = Annotated[str, typer.Argument(metavar="MODEL", help="As `list` calls it.")]
Server = Annotated[str, typer.Argument(metavar="ADDRESS", help="http(s)://HOST[:PORT] of a server.")]


@lmstudio_app.command("list", help="List its models: which are loaded, quantisation, context.")
def list_models(where: Where = None, as_json: AsJson = False) -> Work:
    from tui.cli import lmstudio as module

    return partial(module.list_models, where, as_json=as_json)


@lmstudio_app.command("load", help="Load a model. One that is loaded is left as it is.")
def load_model(
    model: Named,
    context_length: Annotated[
        int | None, typer.Option("--context-length", min=1, metavar="N", help="Tokens. Default: LM Studio's.")
    ] = None,
    where: Where = None,
    as_json: AsJson = False,
) -> Work:
    from tui.cli import lmstudio as module

    return partial(module.load, where, model, context_length=context_length, as_json=as_json)


@lmstudio_app.command("unload", help="Unload a model.")
def unload_model(model: Named, where: Where = None, as_json: AsJson = False) -> Work:
    from tui.cli import lmstudio as module

    return partial(module.unload, where, model, as_json=as_json)


@keys_app.command("set", help="Store the key of a server. Typed unseen, or read from stdin; never an argument.")
def set_key(address: Server, as_json: AsJson = False) -> Work:
    from tui.cli import keys as module

    return partial(module.set_key, address, as_json=as_json)


@keys_app.command("show", help="Say where the key of a server comes from. Never the key.")
def show_key(address: Server, as_json: AsJson = False) -> Work:
    from tui.cli import keys as module

    return partial(module.show, address, as_json=as_json)


@keys_app.command("remove", help="Remove the key of a server from the keyring.")
def remove_key(address: Server, as_json: AsJson = False) -> Work:
    from tui.cli import keys as module

    return partial(module.remove, address, as_json=as_json)
