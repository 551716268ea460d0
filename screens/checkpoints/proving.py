"""The question before a proof of parity, and the proof. Loaded when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from engine.export.parity import prove
from engine.export.proof import Proof
from engine.spec import local_model
from engine.workspace import Workspace
from screens.checkpoints.merging import in_words
from screens.checkpoints.target_dialog import Answer, Needs, TargetDialog, Tick
from tui.display import plain

if TYPE_CHECKING:
    from screens.checkpoints.screen import CheckpointsScreen
    from tui.jobs import Tell

_FORMS = 50


def forms_of(workspace: Workspace, spec: str) -> list[Path]:
    """Return the merged folders and GGUF files in `models/` that are named after a checkpoint, as by default."""
    stem = spec.replace("@", "-")
    try:
        found = sorted(path for path in workspace.models.iterdir() if path.name.startswith(stem))
    except OSError:
        return []
    return [path for path in found if path.suffix == ".gguf" or (path / "config.json").is_file()][:_FORMS]


async def ask_and_prove(screen: CheckpointsScreen, spec: str) -> None:
    """Hold the forms of a checkpoint against adapter and base, if the user says so."""
    workspace = Workspace(screen.workspace)
    forms = forms_of(workspace, spec)

    def chosen(answer: Answer) -> list[Path]:
        return [path for path in forms if path.name in answer.ticked]

    def needs(answer: Answer) -> Needs:
        against = chosen(answer)
        if not against:
            return Needs(["Nothing is chosen, so it is merged for the proof, and that is thrown away."])
        return Needs([f"{len(against) + 1} processes, one after the other, are asked the same prompts, greedily."])

    answer = await screen.app.push_screen_wait(
        TargetDialog(
            f"Prove parity of {spec}",
            "Template, tokens of the prompts, the end of an answer, answers and logits are compared with those of the "
            "adapter on its base. The verdicts stay beside each form, and here.",
            [Tick(path.name, path.name, "GGUF" if path.suffix == ".gguf" else "merged", ticked=True) for path in forms],
            needs_of=needs,
        )
    )  # fmt: skip
    if answer is None:
        return

    def work(tell: Tell, stopped: Callable[[], bool]) -> str:
        return said(prove(local_model(workspace, spec), chosen(answer), tell=in_words(tell), cancelled=stopped))

    screen.jobs.start(f"Proving {spec}", work, after=lambda: screen.forget(spec))


def said(proof: Proof) -> str:
    """Return the verdict of each form, and what differs first."""
    lines = []
    for form in proof.forms:
        line = f"{Path(form.path).name}: {form.verdict}, {form.equal_answers} of {form.num_prompts} answers equal."
        lines.append(
            line + "".join(f" {plain(check.name)}: {plain(check.said, limit=200)}" for check in form.failed[:1])
        )
    return "\n".join(lines)
