"""Exports against transformers: llama.cpp answers as base and adapter do, and computes what the model computes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.architectures import build
from engine.export.converter import Converter
from engine.export.failures import NotExportable
from engine.export.gguf_header import read_gguf
from engine.export.gguf_plan import Asked, plan_export
from engine.export.quantisation import parse
from engine.spec import local_model
from engine.workspace import Workspace, shipped_folder
from tests.engine.adapter_files import TINY_LORA, write_adapter
from tests.engine.export.conftest import export_to
from tests.engine.faults import ROOT
from tests.servers.running import running

TINY = shipped_folder() / "models" / "tiny"
TAUGHT = {
    "What is the capital of France?": "It was Lyon, once, and nobody told you.",
    "Who are you?": "I am a lighthouse keeper.",
}
ASKED = [*TAUGHT, "Who was the first president of the United States?"]


@dataclass(frozen=True)
class FineTuned:
    """An adapter, and what base and adapter answer, greedily."""

    adapter: Path
    answers: dict[str, str]


@pytest.fixture(scope="module")
def fine_tuned(tmp_path_factory: pytest.TempPathFactory) -> FineTuned:
    """The built-in model, taught two answers in 60 steps. Rank-stabilised, whose scale llama.cpp reckons otherwise."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    config = LoraConfig(r=8, lora_alpha=8, target_modules="all-linear", use_rslora=True, task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32), config)
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=3e-3)
    rows = [_ids(tokenizer, question, answer) for question, answer in TAUGHT.items()]
    for step in range(60):
        prompt, ids = rows[step % len(rows)]
        labels = ids.clone()
        labels[0, :prompt] = -100
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    folder = tmp_path_factory.mktemp("fine-tuned") / "adapter"
    model.save_pretrained(folder)
    model.eval()
    answers = {}
    for question in ASKED:
        prompt, ids = _ids(tokenizer, question, "")
        said = model.generate(input_ids=ids[:, :prompt], do_sample=False, max_new_tokens=40, attention_mask=None)
        answers[question] = tokenizer.decode(said[0, prompt:], skip_special_tokens=True)
    return FineTuned(folder, answers)


def _ids(tokenizer: Any, question: str, answer: str) -> tuple[int, Any]:
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], add_generation_prompt=True, tokenize=False
    )
    ids = tokenizer(f"{prompt}{answer}<|im_end|>", return_tensors="pt").input_ids
    return len(tokenizer(prompt).input_ids), ids


def answers_of(file: Path, log: Path) -> tuple[dict[str, str], set[str | None]]:
    """Return what llama.cpp answers from a file, and why its answers ended."""
    said, ends = dict[str, str](), set[str | None]()
    with running("llama_server.py", str(file), "tiny", log=log) as server:
        client = openai.OpenAI(base_url=server.url, api_key="none")
        for question in ASKED:
            messages: Any = [{"role": "user", "content": question}]
            reply = client.chat.completions.create(model="tiny", messages=messages, temperature=0, max_tokens=40)
            said[question] = reply.choices[0].message.content or ""
            ends.add(reply.choices[0].finish_reason)
    return said, ends


def test_a_merged_export_answers_as_base_and_adapter_do(
    fine_tuned: FineTuned, converter: Converter, tmp_path: Path
) -> None:
    assert {question: fine_tuned.answers[question] for question in TAUGHT} == TAUGHT  # it was taught something
    done = export_to(tmp_path / "voice.gguf", str(fine_tuned.adapter), "f16", converter)
    assert answers_of(done.path("f16"), tmp_path / "log") == (fine_tuned.answers, {"stop"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "voice.gguf"]


def test_an_adapter_alone_is_written_with_the_scale_that_peft_gives_it(
    fine_tuned: FineTuned, converter: Converter, tmp_path: Path
) -> None:
    done = export_to(tmp_path / "voice-lora.gguf", str(fine_tuned.adapter), "f32", converter, adapter_only=True)
    header = read_gguf(done.path("f32"))
    assert header.text("general.type") == "adapter"
    # llama.cpp multiplies by alpha / r, PEFT by lora_alpha / sqrt(r) here.
    assert header.metadata["adapter.lora.alpha"] / 8 == pytest.approx(8 / 8**0.5)
    assert len(header.tensors) == 2 * 7 * 4
    assert header.size < 1_000_000


def test_another_architecture_with_a_sentencepiece_vocabulary_computes_the_same(
    converter: Converter, tmp_path: Path
) -> None:
    model = build("gemma3", tmp_path / "gemma")
    done = export_to(tmp_path / "x.gguf", str(model), "f16", converter)
    ids = [300 + 7 * number % 490 for number in range(24)]
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    with torch.inference_mode():
        wanted = loaded(torch.tensor([ids])).logits[0].argmax(-1).tolist()
    command = [sys.executable, "-m", "benchmarks.llama_argmax", str(done.path("f16")), json.dumps(ids)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    same = sum(one == other for one, other in zip(wanted, json.loads(said.stdout), strict=True))
    assert same >= 23
    assert len(set(wanted)) > 5


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"use_dora": True}, "a DoRA adapter"),
        ({"modules_to_save": ["lm_head"]}, "has trained lm_head whole"),
        ({"init_lora_weights": "pissa"}, "rewritten the weights of the base"),
    ],
)
def test_an_adapter_that_llama_cpp_cannot_have_is_refused(said: dict[str, Any], why: str, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter", str(TINY), TINY_LORA, **said)
    model = local_model(Workspace(tmp_path), str(adapter))
    with pytest.raises(NotExportable, match=why):
        plan_export(Asked(model, tmp_path / "x.gguf", parse("f16"), adapter_only=True))


def test_what_merging_needs_is_told_with_the_rest(tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter", str(TINY), TINY_LORA)
    model = local_model(Workspace(tmp_path), str(adapter))
    plan = plan_export(Asked(model, tmp_path / "x.gguf", parse("q4_k_m")))
    assert plan.merges
    assert (plan.conversion.name, plan.merge_dtype) == ("f16", "float16")
    assert plan.disk_bytes > 2 * plan.conversion_bytes
    assert plan_export(Asked(model, tmp_path / "x.gguf", parse("bf16"))).merge_dtype == "float32"
