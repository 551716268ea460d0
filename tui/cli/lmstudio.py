"""`ftconsole lmstudio`: what LM Studio has, loading and unloading there."""

from __future__ import annotations

from dataclasses import asdict

from engine.chat.lmstudio import Model, find_lmstudio
from tui.cli import output
from tui.cli.table import table
from tui.display import plain

_HEADS = ("MODEL", "STATE", "QUANTISATION", "CONTEXT", "SIZE", "KIND", "FORMAT")
_RIGHT = ("CONTEXT", "SIZE")


def list_models(address: str | None, *, as_json: bool) -> int:
    """Print the models.

    Raises:
        EngineError: It is not there, wants a key, or is another server.
    """
    found = find_lmstudio(address)
    models = found.models()
    if as_json:
        output.emit(
            {"address": found.address.origin, "api": found.api, "models": [model.as_dict() for model in models]}
        )
        return 0
    output.note(f"LM Studio at {found.address.origin}")
    if models:
        table(_HEADS, [_cells(model) for model in models], right=_RIGHT)
    else:
        output.note("It has no models. Download one in its window, or export one to it.")
    return 0


def load(address: str | None, model: str, *, context_length: int | None, as_json: bool) -> int:
    """Load a model and say what a question calls it.

    Raises:
        EngineError: As `list_models`; there is no such model, or it could not be loaded.
    """
    found = find_lmstudio(address)
    if not as_json:
        output.note("LM Studio loads the model; a large one takes minutes.")
    instance = found.load(model, context_length=context_length)
    if as_json:
        output.emit(asdict(instance))
    else:
        context = f", context {instance.context_length}" if instance.context_length else ""
        output.out(f"Loaded{context}: lmstudio:{plain(instance.id)}", style="good")
    return 0


def unload(address: str | None, model: str, *, as_json: bool) -> int:
    """Unload a model.

    Raises:
        EngineError: As `list_models`; it is not loaded, or this version cannot unload.
    """
    unloaded = find_lmstudio(address).unload(model)
    if as_json:
        output.emit({"unloaded": list(unloaded)})
    else:
        output.out(f"Unloaded: {', '.join(plain(name) for name in unloaded)}")
    return 0


def _cells(model: Model) -> list[str]:
    state = "loaded" if model.loaded else "-"
    length = next((each.context_length for each in model.instances if each.context_length), None)
    most = str(model.max_context_length) if model.max_context_length else "?"
    return [
        plain(model.key, limit=200),
        state,
        plain(model.quantization, limit=20) or "-",
        f"{length} of {most}" if length else most,
        f"{model.size_bytes / 1e9:.2f} GB" if model.size_bytes else "-",
        model.kind,
        plain(model.format, limit=20) or "-",
    ]
