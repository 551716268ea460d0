"""Settings another screen hands over to the form: into the one that is open, else into the draft it begins with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from screens.configure import files
from screens.configure.draft import Draft
from screens.configure.screen import ConfigureScreen

if TYPE_CHECKING:
    from textual.app import App


def hand_over(app: App[Any], workspace: Path, settings: Mapping[str, Any], unless_set: Mapping[str, Any]) -> str:
    """Set settings in the draft of the form and return what the draft is called.

    Args:
        app: Whose form, if one is open.
        workspace: The draft's.
        settings: By key, such as "data.mapping".
        unless_set: Others, which the draft keeps where it has them.

    Raises:
        ConfigError: The draft is no readable configuration; it stays as it is.
    """
    form = next((screen for screen in reversed(app.screen_stack) if isinstance(screen, ConfigureScreen)), None)
    draft = form.draft if form is not None else files.kept_draft(workspace) or Draft()
    changed = draft
    for key, value in settings.items():
        changed = changed.put(key, value)
    for key, value in unless_set.items():
        if key not in draft.reading.given.settings:
            changed = changed.put(key, value)
    if form is not None:
        form.change(changed)
    else:
        files.keep_draft(workspace, changed)
    return changed.name
