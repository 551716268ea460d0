"""`ftconsole parity`: ask every form of a model the same, and say whether it is the same model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.errors import NotFound, WorkspaceError
from engine.export.parity import PROMPTS, prove, record_of
from engine.export.proof import FormProof
from engine.spec import find_endpoint, local_model
from engine.workspace import Workspace, named_path
from tui.cli import output
from tui.cli.stages import Stages
from tui.cli.unwinding import unwinding
from tui.display import plain

EXIT_NOT_PROVEN = 1
_STYLES = {"same": "good", "close": "warning", "not-asked": "error", "different": "error"}
_WORDS = {
    "same": "the same model",
    "close": "the same model, rounded: some answers differ",
    "not-asked": "could not be asked",
    "different": "not the same model",
}
_SIGNS = {True: "ok ", False: "NO ", None: "-- "}
_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Asked:
    """What was written on the command line."""

    model: str
    against: tuple[str, ...]
    prompts: str | None
    max_tokens: int
    base: str | None
    allow_pickle: bool


def prove_model(workspace: str | None, asked: Asked, *, as_json: bool) -> int:
    """Prove a model's forms and say what was found.

    Returns:
        0 where every form is the model, 1 where one is not, or is a server that could not be asked.

    Raises:
        EngineError: A form is not there, or cannot be asked.
    """
    model = local_model(Workspace.find(workspace), asked.model, base=asked.base)
    against = [find_endpoint(text) or named_path(text) for text in asked.against]
    with unwinding(), Stages(silent=as_json) as stages:
        proof = prove(
            model,
            against,
            prompts=_prompts(asked.prompts),
            max_new_tokens=asked.max_tokens,
            allow_pickle=asked.allow_pickle,
            tell=stages.tell,
        )
    if as_json:
        output.emit(proof.as_dict())
    else:
        output.out(f"{plain(proof.model)} on {plain(proof.base)}, {len(proof.prompts)} prompts, greedy:")
        for form in proof.forms:
            _show(form)
        for path in (form for form in against if isinstance(form, Path)):
            output.note(f"Kept in {plain(str(record_of(path)))}.", style="dim")
    return EXIT_NOT_PROVEN if proof.verdict in ("different", "not-asked") else 0


def _show(form: FormProof) -> None:
    name = plain(form.path if form.kind == "server" else Path(form.path).name)
    kind = f"{form.kind}, {plain(form.type)}" if form.type else form.kind
    output.out(f"{name} ({kind}): {_WORDS[form.verdict]}", style=_STYLES[form.verdict])
    if form.failure is not None:
        output.out(f"  {plain(form.failure['message'])} {plain(form.failure['remedy'])}".rstrip())
    for check in form.checks:
        output.out(f"  {_SIGNS[check.passed]} {check.name:<22} {plain(check.said)}")


def _prompts(path: str | None) -> tuple[str, ...]:
    """Return the prompts of a text file, one on each line.

    Raises:
        NotFound, WorkspaceError: It cannot be read as one.
    """
    if path is None:
        return PROMPTS
    file = named_path(path)
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise WorkspaceError(f"{path} is too large for prompts.", remedy="One on each line, at most 1 MB.")
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise WorkspaceError(f"{path} is no text.", remedy="One prompt on each line, in UTF-8.") from error
    except OSError as error:
        raise NotFound(f"{path} cannot be read: {error.strerror}.", remedy="Check the path.") from error
    return tuple(line.strip() for line in lines if line.strip())
