"""What a model is loaded from, and what is never read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from engine.errors import NotFound
from engine.workspace import shipped_folder


def test_weights_in_a_pickle_are_not_read(tmp_path: Path) -> None:
    from engine.training.loading import pretrained, unusable

    shutil.copytree(shipped_folder() / "models" / "tiny", tmp_path / "mine")
    (tmp_path / "mine" / "model.safetensors").rename(tmp_path / "mine" / "pytorch_model.bin")
    with pytest.raises(NotFound, match="a pickle"):
        pretrained(str(tmp_path / "mine"), "mine")
    refused = unusable(OSError("org/m does not appear to have a file named model.safetensors."), "m")
    assert "no weights in safetensors" in refused.message
