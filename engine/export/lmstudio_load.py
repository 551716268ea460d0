"""Have a running LM Studio load what was just put into its folder."""

from __future__ import annotations

import time
from typing import Final

from engine.chat.lmstudio import LMStudio, find_lmstudio
from engine.errors import NotFound, NotReachable
from engine.export.lmstudio_install import Installed

_PATIENCE_SECONDS: Final = 10.0
"""How long it may take to see a new file: it watches its folder."""
_LOOK_SECONDS: Final = 0.5


def load_installed(installed: Installed, there: LMStudio | None = None) -> str | None:
    """Load a model and return what a question calls it; None where LM Studio does not run here.

    Args:
        installed: Where the file lies, and the folder it is in.
        there: An LM Studio that has answered; None looks for it.

    Raises:
        EngineError: It runs, and wants a key, did not see the file, or could not load it.
    """
    if there is None:
        try:
            there = find_lmstudio()
        except NotReachable:
            return None
    ends = time.monotonic() + _PATIENCE_SECONDS
    while True:
        key = _key_of(installed, there)
        if key is not None:
            return there.load(key).id
        if time.monotonic() > ends:
            raise NotFound(
                f"LM Studio runs and does not show {installed.path.name} yet.",
                remedy=f"Open its list of models, or restart it; then `lms load {installed.name}`.",
            )
        time.sleep(_LOOK_SECONDS)


def _key_of(installed: Installed, there: LMStudio) -> str | None:
    """Return how it calls the model. Never guessed: several quantisations of one model may share a name."""
    size = installed.path.stat().st_size
    wanted = installed.name.lower().replace(" ", "-")
    named = [model for model in there.models() if wanted in (model.key.lower().rpartition("/")[2], model.name.lower())]
    sized = [model for model in named if model.size_bytes in (None, size)]
    return sized[0].key if len(sized) == 1 else None
