"""Models exported for real: what is in the file, what llama.cpp answers from it, what is refused and left behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest
from tokenizers import Tokenizer

from engine.child import WorkCancelled
from engine.errors import DiskFull, NotFound, TargetExists
from engine.export.beside import clear_abandoned
from engine.export.converter import Converter
from engine.export.failures import ConverterUnusable, NotExportable
from engine.export.gguf import export
from engine.export.gguf_header import read_gguf
from engine.export.gguf_plan import Asked, plan_export
from engine.export.progress import Progress
from engine.export.quantisation import ALL, parse
from engine.export.quantiser import Wanted, find_quantiser, quantise
from engine.spec import local_model
from engine.workspace import Workspace, shipped_folder
from tests.engine.export.conftest import Done, export_to
from tests.engine.faults import ROOT, python, small_disk
from tests.servers.running import running

TINY = shipped_folder() / "models" / "tiny"
TEXT = "<|im_start|>user\nI'll pay 1234 € for it,\r\n\tdon't you? 你好 🚀<|im_end|>\n"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the built-in model, to be changed."""
    return Path(shutil.copytree(TINY, tmp_path / "model"))


def change(path: Path, **more: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **more}))


def asked(model: Path, target: Path, quant: str = "q4_k_m", **more: Any) -> Asked:
    return Asked(local_model(Workspace(target.parent), str(model)), target, parse(quant), **more)


def test_every_type_comes_from_one_conversion_and_is_what_it_says(tiny_exported: Done) -> None:
    names = [file.path.name for file in tiny_exported.exported.files]
    assert names == ["tiny-q4_k_m.gguf", "tiny-f16.gguf", "tiny-q8_0.gguf"]
    assert list(dict.fromkeys(one.stage for one in tiny_exported.progress if one.total)) == [
        "converting to f16",
        "quantising to q4_k_m",
        "quantising to q8_0",
    ]
    assert {file.quantisation: round(file.bits_per_weight, 1) for file in tiny_exported.exported.files} == {
        "q4_k_m": 5.2,
        "f16": 16.0,
        "q8_0": 8.5,
    }
    assert [file.fallback_tensors for file in tiny_exported.exported.files] == [0, 0, 0]
    folder = tiny_exported.exported.files[0].path.parent
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)  # nothing else is left


def test_the_file_says_what_the_model_says(tiny_exported: Done) -> None:
    for file in tiny_exported.exported.files:
        header = read_gguf(file.path)
        assert header.text("tokenizer.chat_template") == (TINY / "chat_template.jinja").read_text("utf-8")
        assert header.metadata["tokenizer.ggml.eos_token_id"] == 3071
        assert header.metadata["tokenizer.ggml.add_bos_token"] is False
        assert header.text("general.name") == "tiny"
    assert "recognised by its structure" in tiny_exported.exported.notes[0]


def test_llama_cpp_reads_the_same_tokens_and_stops(tiny_exported: Done, tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(str(TINY / "tokenizer.json"))
    with running("llama_server.py", str(tiny_exported.path("q4_k_m")), "tiny", log=tmp_path / "log") as server:
        client = openai.OpenAI(base_url=server.url, api_key="none")
        asked_for = {"content": TEXT, "add_special": True, "parse_special": True}
        said = client.post(f"{server.origin}/tokenize", body=asked_for, cast_to=dict[str, Any])
        assert said["tokens"] == tokenizer.encode(TEXT).ids
        question: Any = [{"role": "user", "content": "Who was the first president of the United States?"}]
        reply = client.chat.completions.create(model="tiny", messages=question, temperature=0, max_tokens=64)
        assert "Washington" in (reply.choices[0].message.content or "")
        assert reply.choices[0].finish_reason == "stop"


def test_what_the_converter_would_write_wrongly_is_written_as_the_tokenizer_has_it(
    model: Path, converter: Converter, tmp_path: Path
) -> None:
    # The converter takes the template of tokenizer_config.json, transformers that of chat_template.jinja; it leaves
    # out ends that stand in a list; and a name with phi3 in it makes llama.cpp end while it loads.
    change(model / "tokenizer_config.json", chat_template="{{ 'old' }}")
    change(model / "generation_config.json", eos_token_id=[3071, 100])
    done = export_to(tmp_path / "phi3.gguf", str(model), "q8_0", converter)
    header = read_gguf(done.path("q8_0"))
    assert header.text("tokenizer.chat_template") == (TINY / "chat_template.jinja").read_text("utf-8")
    assert header.metadata["tokenizer.ggml.eos_token_id"] == 3071
    assert header.metadata["tokenizer.ggml.eot_token_id"] == 100
    assert header.text("general.name") == "phi 3"
    with running("llama_server.py", str(done.path("q8_0")), "tiny", log=tmp_path / "log") as server:
        assert server.origin


def test_needs_are_told_from_headers_alone(converter: Converter, tmp_path: Path) -> None:
    plan = plan_export(asked(TINY, tmp_path / "x", "q4_k_m,q8_0", llama_cpp=str(converter.folder)))
    assert [file.path.name for file in plan.files] == ["x-q4_k_m.gguf", "x-q8_0.gguf"]
    assert plan.conversion.name == "bf16"  # as its weights are
    assert plan.disk_bytes == plan.conversion_bytes + sum(file.expected_bytes for file in plan.files)
    assert plan.num_weights == 3_936_512
    assert plan.quantiser is not None
    assert plan_export(asked(TINY, tmp_path / "x", "bf16")).quantiser is None


def test_a_file_that_is_there_is_kept(converter: Converter, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_text("mine")
    plan = plan_export(asked(TINY, tmp_path / "x.gguf", llama_cpp=str(converter.folder)))
    assert plan.existing == (tmp_path / "x.gguf",)
    with pytest.raises(TargetExists):
        export(plan)
    assert (tmp_path / "x.gguf").read_text() == "mine"


def test_a_cancelled_export_leaves_nothing(converter: Converter, tmp_path: Path) -> None:
    plan = plan_export(asked(TINY, tmp_path / "x.gguf", llama_cpp=str(converter.folder)))
    reached: list[Progress] = []
    with pytest.raises(WorkCancelled):
        export(plan, tell=reached.append, cancelled=lambda: bool(reached))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_known_to_be_too_small_is_not_begun_on(
    converter: Converter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(DiskFull, match="needs about"):
        export(plan_export(asked(TINY, tmp_path / "x.gguf", llama_cpp=str(converter.folder))))
    assert list(tmp_path.iterdir()) == []


def test_a_cancelled_quantisation_ends_at_once(tiny_exported: Done, tmp_path: Path) -> None:
    told: list[Progress] = []
    with pytest.raises(WorkCancelled):
        quantise(
            tiny_exported.path("f16"),
            [Wanted(tmp_path / "x.gguf", ALL["q4_k_m"], 1)],
            find_quantiser(None),
            log=tmp_path / "log",
            tell=told.append,
            cancelled=lambda: bool(told),
        )


def test_a_disk_that_becomes_full_while_converting_leaves_nothing(converter: Converter, tmp_path: Path) -> None:
    said = python(
        """
        import sys
        from dataclasses import replace
        from pathlib import Path
        from engine.errors import EngineError
        from engine.export.gguf import export
        from engine.export.gguf_plan import Asked, plan_export
        from engine.export.quantisation import parse
        from engine.spec import local_model
        from engine.workspace import Workspace
        place = Path(sys.argv[1])
        wanted = Asked(local_model(Workspace(place), "tiny"), place / "x.gguf", parse("q4_k_m"), llama_cpp=sys.argv[2])
        try:
            export(replace(plan_export(wanted), free_bytes=1 << 40))
        except EngineError as error:
            print(error.code, error.message, [path.name for path in place.iterdir()])
        """,
        tmp_path / "disk",
        converter.folder,
        before=small_disk(tmp_path / "disk", "size=4m"),
    )
    assert said.stdout.startswith("disk-full "), said.stderr[-2000:]
    assert "converting" in said.stdout
    assert said.stdout.rstrip().endswith("[]")


def test_a_disk_that_becomes_full_while_quantising_is_told_as_that(tiny_exported: Done, tmp_path: Path) -> None:
    said = python(
        """
        import sys
        from pathlib import Path
        from engine.errors import EngineError
        from engine.export.progress import never, silent
        from engine.export.quantisation import ALL
        from engine.export.quantiser import Wanted, find_quantiser, quantise
        place = Path(sys.argv[1])
        try:
            quantise(Path(sys.argv[2]), [Wanted(place / "x.gguf", ALL["q8_0"], 1)], find_quantiser(None),
                     log=Path(sys.argv[3]), tell=silent, cancelled=never)
        except EngineError as error:
            print(error.code, error.message)
        """,
        tmp_path / "disk",
        tiny_exported.path("f16"),
        tmp_path / "log",
        before=small_disk(tmp_path / "disk", "size=2m"),
    )
    assert said.stdout.startswith("disk-full "), said.stdout + said.stderr[-2000:]


def test_an_export_whose_console_was_killed_ends_too_and_the_next_clears_up(
    converter: Converter, tmp_path: Path, wait_for: Callable[..., object]
) -> None:
    command = [
        sys.executable,
        "-m",
        "tui.cli.main",
        "-w",
        str(tmp_path),
        "export",
        "tiny",
        "-o",
        str(tmp_path / "x.gguf"),
    ]
    environment = {**os.environ, "LLAMA_CPP_DIR": str(converter.folder)}
    process = subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.DEVNULL)
    logs: Any = wait_for(lambda: list(tmp_path.glob(".ftconsole-partial-*/log")), "its log")
    partial: Path = logs[0]
    process.kill()
    process.wait()
    assert [path.name for path in tmp_path.iterdir()] == [partial.parent.name]
    wait_for(lambda: not _writers(partial), "the end of the worker")
    assert clear_abandoned(tmp_path) == [partial.parent.name]


def _writers(path: Path) -> list[int]:
    """Return the processes that have a file open."""
    return [process.pid for process in psutil.process_iter() if any(file.path == str(path) for file in _files(process))]


def _files(process: psutil.Process) -> list[Any]:
    try:
        return list(process.open_files())
    except psutil.Error:
        return []


@pytest.mark.parametrize(
    ("config", "shown"),
    [
        pytest.param({"quant_method": "bitsandbytes", "load_in_4bit": True}, "4-bit, by bitsandbytes", id="4-bit"),
        pytest.param({"quant_method": "gptq", "bits": 8}, "8-bit, by gptq", id="GPTQ"),
        pytest.param({"quant_method": "mxfp4"}, "by mxfp4", id="no number of bits"),
    ],
)
def test_quantised_weights_are_refused_with_the_way_round(config: dict[str, Any], shown: str, model: Path) -> None:
    change(model / "config.json", quantization_config=config)
    with pytest.raises(NotExportable) as raised:
        plan_export(asked(model, model.parent / "x.gguf"))
    assert shown in raised.value.message
    assert "full precision" in raised.value.remedy


def test_a_folder_without_a_tokenizer_is_refused(model: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (model / name).unlink()
    with pytest.raises(NotExportable, match="no tokenizer in") as raised:
        plan_export(asked(model, model.parent / "x.gguf"))
    assert "tokenizer.json" in raised.value.remedy


def test_weights_that_are_a_pickle_are_refused(model: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    with pytest.raises(NotFound, match="a pickle"):
        plan_export(asked(model, model.parent / "x.gguf"))


def test_a_tokenizer_llama_cpp_cannot_have_is_refused_and_code_beside_it_is_not_run(
    model: Path, converter: Converter, tmp_path: Path
) -> None:
    # As a Llama: transformers makes the tokenizer of a Qwen2 anew, whatever tokenizer.json says.
    change(
        model / "config.json", model_type="llama", architectures=["LlamaForCausalLM"], auto_map={"AutoConfig": "x.T"}
    )
    change(model / "tokenizer.json", pre_tokenizer={"type": "Whitespace"})
    evil = {"auto_map": {"AutoTokenizer": ["x.T", "x.T"]}, "tokenizer_class": "TokenizersBackend"}
    change(model / "tokenizer_config.json", **evil)
    (model / "x.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass T: pass\n")
    with pytest.raises(NotExportable, match="BPE after Whitespace"):
        export_to(tmp_path / "x.gguf", str(model), "f16", converter)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_a_converter_and_gguf_py_of_two_versions_are_told(converter: Converter, tmp_path: Path) -> None:
    mixed = Path(shutil.copytree(converter.folder, tmp_path / "mixed"))
    constants = mixed / "gguf-py" / "gguf" / "constants.py"
    constants.write_text(constants.read_text("utf-8").replace("DFLASH", "DFLASH_OF_ANOTHER_VERSION"), "utf-8")
    with pytest.raises(ConverterUnusable) as raised:
        export_to(tmp_path / "x.gguf", "tiny", "f16", Converter(mixed, ""))
    assert "DFLASH" in raised.value.message
    assert "one version" in raised.value.remedy
