"""Which library a process leaves out, and when it may."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.config.declaration import settings
from engine.config.model import RunConfig
from engine.config.resolved import ResolvedConfig, Source
from engine.training.libraries import stored_quantised, trains_without_bitsandbytes
from engine.workspace import shipped_folder


def test_what_is_left_out_is_taken_for_not_installed() -> None:
    code = (
        "from engine.training.libraries import without_bitsandbytes\nwithout_bitsandbytes()\n"
        "import importlib.util\nassert importlib.util.find_spec('bitsandbytes') is None\n"
        "import sys\nsys.modules['bitsandbytes'] = sys\nwithout_bitsandbytes()\n"
        "assert sys.modules['bitsandbytes'] is sys\n"  # what is imported already stays
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nothing_is_collected_while_libraries_are_imported_nor_what_they_made_afterwards() -> None:
    code = (
        "import gc\nfrom engine.training.libraries import importing\n"
        "with importing():\n    assert not gc.isenabled()\n"
        "assert gc.isenabled() and gc.get_freeze_count() > 1000\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_base_is_stored_quantised_where_it_says_so_or_is_not_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert not stored_quantised(str(shipped_folder() / "models" / "tiny"), None)
    assert stored_quantised("org/base", None)
    cached = tmp_path / "models--org--base"
    (cached / "snapshots" / "abc").mkdir(parents=True)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("abc")
    for config, stored in (({"model_type": "llama"}, False), ({"quantization_config": {}}, True)):
        (cached / "snapshots" / "abc" / "config.json").write_text(json.dumps(config))
        assert stored_quantised("org/base", None) is stored


@pytest.mark.parametrize(
    ("sections", "without"),
    [
        ({}, True),
        ({"model": {"load_in_4bit": True}}, False),
        ({"model": {"load_in_8bit": True}}, False),
        ({"training": {"optim": "adamw_torch"}}, True),
        ({"training": {"optim": "paged_adamw_8bit"}}, False),
        ({"training": {"optim": "lion_32bit"}}, False),
    ],
)
def test_a_run_does_without_unless_a_stage_computes_with_it(sections: dict[str, Any], without: bool) -> None:
    def resolved(sections: dict[str, Any]) -> ResolvedConfig:
        config = RunConfig.model_validate({"data": {"train": ["a.jsonl"]}, **sections})
        return ResolvedConfig(config, dict.fromkeys(settings(), Source("default")))

    base = str(shipped_folder() / "models" / "tiny")
    plain, asked = resolved({}), resolved(sections)
    staged = ResolvedConfig(plain.config, plain.sources, (("sft", plain), ("dpo", asked)))
    assert [trains_without_bitsandbytes(each, base, None) for each in (asked, staged)] == [without, without]
    assert not trains_without_bitsandbytes(plain, "org/not-here", None)
