"""The command about exporting to GGUF, declared with typer. Parsing only, as in `tui.cli.app`."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from tui.cli.complete import model_names, quantisation_names
from tui.cli.main import Work
from tui.cli.options import AsJson, root_of

app = typer.Typer(rich_markup_mode=None)


@app.command(help="Write a model as GGUF, for LM Studio, llama.cpp and Ollama. Merged, converted, quantised, checked.")
def export(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A run, RUN@CHECKPOINT, a folder with an adapter or a model, or a model's name.",
            autocompletion=model_names,
        ),
    ],
    target: Annotated[
        str, typer.Option("-o", "--output", metavar="FILE", help="Written; with several types each is appended.")
    ],
    quant: Annotated[
        str | None,
        typer.Option(
            "--quant",
            metavar="TYPE,...",
            help="f32, bf16, f16, q8_0, q6_k, q5_k_m, q4_k_m (default), q4_k_s, q3_k_m. From one conversion.",
            autocompletion=quantisation_names,
        ),
    ] = None,
    adapter: Annotated[
        bool, typer.Option("--adapter", help="Only the LoRA, to be put on an exported base by llama.cpp.")
    ] = False,
    base: Annotated[
        str | None, typer.Option("--base", metavar="MODEL", help="The base, where an adapter does not name it rightly.")
    ] = None,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Read an adapter's weights from a pickle, which runs what it holds.")
    ] = False,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="What the model is called, in the file and LM Studio.")
    ] = None,
    llama_cpp_path: Annotated[
        str | None,
        typer.Option(
            "--llama-cpp-path",
            metavar="DIR",
            help="A llama.cpp to convert with. Default: $LLAMA_CPP_DIR, or fetched once.",
        ),
    ] = None,
    install_lmstudio: Annotated[
        bool, typer.Option("--install-lmstudio", help="Put the file where LM Studio finds it.")
    ] = False,
    publisher: Annotated[
        str | None, typer.Option("--publisher", metavar="NAME", help="Its first folder there. Default: local.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over files that are there.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Fetch llama.cpp's converter without asking.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is needed and do nothing.")] = False,
    as_json: AsJson = False,
) -> Work:
    from tui.cli import export as module

    asked = module.Asked(
        model=model,
        target=target,
        quant=quant,
        adapter=adapter,
        base=base,
        allow_pickle=allow_pickle,
        name=name,
        llama_cpp_path=llama_cpp_path,
        install=install_lmstudio,
        publisher=publisher,
    )
    workspace = root_of(context).workspace
    return partial(module.export_model, workspace, asked, force=force, yes=yes, dry_run=dry_run, as_json=as_json)
