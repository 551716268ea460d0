"""What the form loads: nothing of training in the console, nothing of the console in its workers."""

from __future__ import annotations

import pytest

from tests.test_imports import DEFERRED, TERMINAL, TRAINING, loaded_after


def test_the_form_loads_no_training_library() -> None:
    names = "screen, choosing, starting, memory_dialog, twin"
    assert not loaded_after(f"from screens.configure import {names}") & (TRAINING | DEFERRED)


@pytest.mark.parametrize("worker", ["worker", "preflight", "measuring"])
def test_its_workers_load_neither_terminal_nor_training(worker: str) -> None:
    assert not loaded_after(f"import screens.configure.{worker}") & (TRAINING | DEFERRED | TERMINAL)
