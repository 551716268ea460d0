"""A style sheet is parsed once for all the apps of a test session: each app parses some twenty, a tenth of its test."""

from __future__ import annotations

import sys
from typing import Any

_parsed: dict[tuple[object, ...], Any] = {}


def pytest_runtest_setup() -> None:
    """Put it in place once Textual is there: the engine's tests do not import it."""
    module = sys.modules.get("textual.css.stylesheet")
    if module is None or _parsed:
        return
    parse = module.Stylesheet._parse_rules

    def parse_once(sheet: Any, css: str, *given: Any, **named: Any) -> Any:
        key = (css, *given, *sorted(named.items()), *sheet._variables.items())
        if key not in _parsed:
            _parsed[key] = parse(sheet, css, *given, **named)
        return _parsed[key]

    _parsed[("in place",)] = None
    module.Stylesheet._parse_rules = parse_once
