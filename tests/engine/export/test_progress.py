"""How work with weights tells how far it is, and how it fails."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import DiskFull, NotFound, OutOfMemory
from engine.export.progress import Progress, WorkFailed, run


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a module whose `work(request, tell)` has the body given, and returns its name."""
    root = str(Path(__file__).resolve().parents[3])
    monkeypatch.setenv("PYTHONPATH", f"{root}:{tmp_path}")

    def write(body: str) -> str:
        head = (
            "import os, signal, sys\nfrom engine.export.progress import Progress, answer\nfrom engine.errors import *\n"
        )
        work = "def work(request, tell):\n" + textwrap.indent(textwrap.dedent(body), "    ")
        end = "\nif __name__ == '__main__':\n    sys.exit(answer(work, 'The work'))\n"
        (tmp_path / "working.py").write_text(head + work + end)
        return "working"

    return write


def test_progress_and_result_come_back(module: Callable[[str], str]) -> None:
    told: list[Progress] = []
    body = "tell(Progress('writing', 1, 4, 'bytes'))\nreturn {'twice': 2 * request['value']}"
    assert run(module(body), {"value": 21}, what="The work", tell=told.append) == {"twice": 42}
    assert told == [Progress("writing", 1, 4, "bytes")]
    assert told[0].fraction == 0.25
    assert Progress("loading").fraction is None


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        pytest.param("raise NotFound('not there')", NotFound, "not there", id="one of ours"),
        pytest.param("raise OSError(28, 'No space left on device')", DiskFull, "disk became full", id="full"),
        pytest.param("raise RuntimeError('[enforce fail at x.cc:6] . unexpected pos 64 vs 1')", DiskFull,
                     "disk became full", id="full, as torch says it"),
        pytest.param("raise RuntimeError('DefaultCPUAllocator: can\\'t allocate memory: you tried to allocate')",
                     OutOfMemory, "Memory ran out", id="no memory"),
        pytest.param("raise KeyError('lm_head')", WorkFailed, "The work failed with KeyError", id="a library's"),
        pytest.param("os.kill(os.getpid(), signal.SIGKILL)", OutOfMemory, "killed by the system", id="killed"),
        pytest.param("os.kill(os.getpid(), signal.SIGSEGV)", WorkFailed, "ended by SIGSEGV", id="crashed"),
        pytest.param("sys.stderr.write('why\\n'); os._exit(7)", WorkFailed, "exit status 7: why", id="exit"),
        pytest.param("os._exit(0)", WorkFailed, "without a result", id="silent"),
    ],
)  # fmt: skip
def test_every_end_has_its_sentence(module: Callable[[str], str], body: str, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said) as error:
        run(module(body), {}, what="The work")
    assert type(error.value) is kind


def test_what_it_printed_can_be_read_after_its_folder_is_gone(
    module: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    log = tmp_path / "partial" / "log"
    log.parent.mkdir()
    with pytest.raises(WorkFailed) as failed:
        run(module("sys.stderr.write('why\\n'); os._exit(7)"), {}, what="The work", log=log)
    shutil.rmtree(log.parent)
    kept = tmp_path / "cache" / "ftconsole" / "export.log"
    assert str(kept) in failed.value.remedy
    assert kept.read_text() == "why\n"
