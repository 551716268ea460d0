"""Which quantiser there is, and that llama.cpp's own program does as well as cyllama."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest

from engine.errors import MissingPackage
from engine.export.converter import Converter
from engine.export.failures import ExportFailed
from engine.export.progress import never, silent
from engine.export.quantisation import ALL
from engine.export.quantiser import Quantiser, Wanted, find_quantiser, quantise
from tests.engine.export.conftest import Done

# What `llama-quantize FROM TO TYPE THREADS` does, by the same library.
PROGRAM = f"""#!{sys.executable}
import sys
from cyllama.llama.llama_cpp import LlamaModelQuantizeParams, model_quantize
source, out, ftype, threads = sys.argv[1:]
params = LlamaModelQuantizeParams()
params.ftype, params.nthread = int(ftype), int(threads)
model_quantize(source, out, params)
"""


@pytest.fixture
def without_cyllama(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Have cyllama not be installed, and nothing be on the PATH."""

    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def program(path: Path, text: str = PROGRAM) -> Path:
    path.parent.mkdir(parents=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.mark.usefixtures("without_cyllama")
def test_without_any_it_says_what_to_install_and_what_needs_none() -> None:
    with pytest.raises(MissingPackage, match="needs cyllama, and it is not installed") as caught:
        find_quantiser(None)
    assert "pip install 'ftconsole[gguf]'" in caught.value.remedy
    assert "f16, bf16 and f32 need neither" in caught.value.remedy


@pytest.mark.usefixtures("without_cyllama")
def test_the_program_of_the_checkout_comes_before_the_one_on_the_path(tmp_path: Path) -> None:
    on_path = program(tmp_path / "bin" / "llama-quantize")
    assert find_quantiser(None) == Quantiser(str(on_path), on_path)
    assert find_quantiser(Converter(tmp_path / "llama.cpp", "")) == Quantiser(str(on_path), on_path)
    built = program(tmp_path / "llama.cpp" / "build" / "bin" / "llama-quantize")
    assert find_quantiser(Converter(tmp_path / "llama.cpp", "")) == Quantiser(str(built), built)


def made_by(quantiser: Quantiser, source: Path, folder: Path) -> bytes:
    out = folder / "out.gguf"
    quantise(source, [Wanted(out, ALL["q8_0"], 4_000_000)], quantiser, log=folder / "log", tell=silent, cancelled=never)
    return out.read_bytes()


def test_the_program_makes_the_file_that_cyllama_makes(tiny_exported: Done, tmp_path: Path) -> None:
    path = program(tmp_path / "bin" / "llama-quantize")
    made = made_by(Quantiser(str(path), path), tiny_exported.path("f16"), tmp_path)
    assert made == tiny_exported.path("q8_0").read_bytes()


def test_a_program_that_fails_is_told_with_its_words(tiny_exported: Done, tmp_path: Path) -> None:
    path = program(tmp_path / "bin" / "llama-quantize", "#!/bin/sh\necho 'error: no such type' >&2\nexit 3\n")
    with pytest.raises(ExportFailed, match="could not quantise to q8_0: error: no such type"):
        made_by(Quantiser(str(path), path), tiny_exported.path("f16"), tmp_path)


def test_each_file_is_handed_over_when_it_is_whole_and_one_failure_is_that_files(
    tiny_exported: Done, tmp_path: Path
) -> None:
    text = PROGRAM + "if ftype == '15': sys.exit('error: not that one')\n"  # q4_k_m
    path = program(tmp_path / "bin" / "llama-quantize", text)
    wanted = [Wanted(tmp_path / f"{name}.gguf", ALL[name], 1) for name in ("q8_0", "q6_k", "q4_k_m", "q3_k_m")]
    sizes = {}
    with pytest.raises(ExportFailed, match="could not quantise to q4_k_m: error: not that one"):
        quantise(
            tiny_exported.path("f16"), wanted, Quantiser(str(path), path), log=tmp_path / "log", tell=silent,
            cancelled=never, made=lambda one: sizes.update({one.quantisation.name: one.out.stat().st_size}),
        )  # fmt: skip
    assert list(sizes) == ["q8_0", "q6_k"]
    assert sizes["q8_0"] == tiny_exported.path("q8_0").stat().st_size


def test_what_is_done_with_a_whole_file_may_fail_and_ends_the_work(tiny_exported: Done, tmp_path: Path) -> None:
    def refuse(one: Wanted) -> None:
        raise ExportFailed(f"{one.quantisation.name} is not what it should be.")

    wanted = [Wanted(tmp_path / f"{name}.gguf", ALL[name], 1) for name in ("q8_0", "q6_k")]
    path = program(tmp_path / "bin" / "llama-quantize")
    with pytest.raises(ExportFailed, match="q8_0 is not what it should be"):
        quantise(
            tiny_exported.path("f16"), wanted, Quantiser(str(path), path), log=tmp_path / "log", tell=silent,
            cancelled=never, made=refuse,
        )  # fmt: skip
