"""Proving parity from the list: what is offered, what is proven, what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.export.proof import Check, FormProof, Proof, Verdict
from engine.workspace import Workspace
from screens.checkpoints import proving
from tests.screens.checkpoints.shelf import a_family
from tests.screens.checkpoints.stage import console, listed, settled, shelf, table
from tests.screens.runs.stage import notes, seen, until, until_seen

SPEC = "voice-1@checkpoint-120"
TEMPLATE = Check("template", False, "differs from line 3 on: \x1b[2J")
LOGITS = Check("logits", False, "mean KL 3 nats")


def a_form(path: str, verdict: Verdict, *checks: Check) -> FormProof:
    return FormProof(path, "gguf", "q4_k_m", verdict, checks, 7, 8, 0.1, 0.01, 0.9)


def a_proof(*forms: FormProof) -> Proof:
    return Proof(SPEC, "base", "", "2026-11-28T10:00:00+00:00", ("Hello!",), ("Hi.",), forms)


def test_forms_are_what_models_holds_under_the_name_of_the_checkpoint(tmp_path: Path) -> None:
    models = tmp_path / "models"
    for name in ("voice-1-checkpoint-120-merged", "voice-1-checkpoint-120-half", "voice-1-best-merged"):
        (models / name).mkdir(parents=True)
    for name in ("voice-1-checkpoint-120-merged", "voice-1-best-merged"):
        (models / name / "config.json").touch()
    (models / "voice-1-checkpoint-120.q4_k_m.gguf").touch()
    (models / "voice-1-checkpoint-120.parity.json").touch()
    found = [path.name for path in proving.forms_of(Workspace(tmp_path), SPEC)]
    assert found == ["voice-1-checkpoint-120-merged", "voice-1-checkpoint-120.q4_k_m.gguf"]
    assert proving.forms_of(Workspace(tmp_path / "none"), SPEC) == []


def test_of_each_form_the_first_that_differs_is_said() -> None:
    text = proving.said(a_proof(a_form("/m/a.gguf", "same"), a_form("/m/b.gguf", "different", TEMPLATE, LOGITS)))
    assert text.splitlines() == [
        "a.gguf: same, 7 of 8 answers equal.",
        "b.gguf: different, 7 of 8 answers equal. template: differs from line 3 on: \\x1b[2J",
    ]


async def test_what_stays_ticked_is_proven_and_the_verdict_is_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    forms = [Path("/workspace/models/a.gguf"), Path("/workspace/models/b-merged")]
    asked: list[tuple[str, list[Path]]] = []

    def prove(model: str, against: Sequence[Path], *, tell: Any, cancelled: Callable[[], bool]) -> Proof:
        asked.append((model, list(against)))
        return a_proof(*(a_form(str(path), "close") for path in against))

    monkeypatch.setattr(proving, "forms_of", lambda workspace, spec: forms)
    monkeypatch.setattr(proving, "local_model", lambda workspace, spec: spec)
    monkeypatch.setattr(proving, "prove", prove)
    app = console(a_family())
    async with app.run_test(size=(100, 32)) as pilot:
        await settled(pilot)
        table(app).move_to(listed(app).index(SPEC))
        await settled(pilot)
        forgotten: list[str] = []
        monkeypatch.setattr(shelf(app), "forget", forgotten.append)
        await pilot.press("V")
        await until_seen(pilot, "3 processes, one after the other")
        assert f"Prove parity of {SPEC}" in seen(app)
        await pilot.press("space")
        await until_seen(pilot, "2 processes, one after the other")
        await pilot.press("enter")
        await until(pilot, lambda: notes(app), "the verdict")
        assert forgotten == [SPEC]
    assert asked == [(SPEC, forms[1:])]
    assert "b-merged: close, 7 of 8 answers equal." in notes(app)[0]
    assert not app.failures


async def test_nothing_is_proven_when_one_leaves_and_nothing_ticked_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proving, "forms_of", lambda workspace, spec: [])
    app = console(a_family())
    async with app.run_test(size=(100, 32)) as pilot:
        await settled(pilot)
        table(app).move_to(listed(app).index(SPEC))
        await settled(pilot)
        await pilot.press("V")
        await until_seen(pilot, "it is merged for the proof")
        await pilot.press("j", "k", "space", "escape")
        await until(pilot, lambda: app.screen is shelf(app), "the list")
    assert not app.jobs.running
    assert not app.failures
