"""Which of a list typed letters leave, and which comes first."""

from __future__ import annotations

import pytest

from tui.widgets.narrowing import narrowed

VERBS = {
    "p  Pin": "Neither the run nor a prune removes it",
    "m  Merge": "One model of adapter and base, verified",
    "D  Drop optimizer state": "Its weights stay",
    "d  Delete": "Remove it from the disk",
}
PRESETS = {
    "retain-unlearn-dev": "quickly, over the small development file",
    "size-0.5b": "very small",
    "small-dataset": "a few dozen questions",
}


@pytest.mark.parametrize(
    ("items", "query", "found"),
    [
        pytest.param(VERBS, "", list(VERBS), id="nothing typed"),
        pytest.param(VERBS, "m", ["m  Merge", "D  Drop optimizer state", "p  Pin", "d  Delete"], id="a key"),
        pytest.param(VERBS, "d", ["d  Delete", "D  Drop optimizer state", "m  Merge"], id="small letters"),
        pytest.param(VERBS, "D", ["D  Drop optimizer state", "d  Delete", "m  Merge"], id="capital letters"),
        pytest.param(VERBS, "disk remove", ["d  Delete"], id="words of a description, in any order"),
        pytest.param(PRESETS, "small", ["small-dataset", "retain-unlearn-dev", "size-0.5b"], id="a name"),
        pytest.param(PRESETS, "dev", ["retain-unlearn-dev"], id="a part of a name"),
        pytest.param(PRESETS, "nothing so called", [], id="nothing"),
    ],
)
def test_what_is_called_so_comes_before_what_only_speaks_of_it(
    items: dict[str, str], query: str, found: list[str]
) -> None:
    assert narrowed(items, query, str, items.__getitem__) == found
