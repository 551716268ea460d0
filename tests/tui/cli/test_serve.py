"""`ftconsole serve` with the real `transformers serve`: an adapter, merged, asked through the openai client."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from engine.chat.asking import AnswerFinished, Message, Question, Sampling, TextArrived
from engine.chat.endpoint import ask
from engine.spec import Endpoint
from tests.tui.cli.command_line import ROOT, CommandLine

MODEL = ROOT / "models" / "tiny"
ROWS = ROOT / "datasets" / "instructions" / "instructions_train.jsonl"
_URL = re.compile(r"https?://\S+")


def longest_urls(count: int) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in ROWS.read_text("utf-8").splitlines()]
    with_url = [row for row in rows if _URL.search(row["output"])]
    return sorted(with_url, key=lambda row: -max(map(len, _URL.findall(row["output"]))))[:count]


def learn(rows: list[dict[str, Any]], folder: Path) -> None:
    """Train an adapter to say the answers, and save it as PEFT does."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    texts = [
        f"<|im_start|>user\n{row['instruction']}<|im_end|>\n<|im_start|>assistant\n{row['output']}<|im_end|>\n"
        for row in rows
    ]
    batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="right")
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    for row, text in zip(labels, texts, strict=True):
        row[: len(tokenizer(text.partition("assistant\n")[0] + "assistant\n")["input_ids"])] = -100
    trained = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=4e-3)
    for _ in range(40):
        said = model(**batch, labels=labels)
        said.loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    # The tokens of URLs are hardly trained in this model, so none becomes certain; the likeliest is what counts.
    learned = labels[:, 1:] != -100
    assert (said.logits[:, :-1].argmax(-1) == labels[:, 1:])[learned].all()
    model.save_pretrained(folder)


async def answer_of(address: str, model: str, question: str) -> str:
    server = Endpoint("", "", "openai", address, model)
    asked = Question((Message("user", question),), Sampling(temperature=0, max_tokens=120))
    said = [each async for each in ask(server, asked, "left", environ={})]
    assert isinstance(said[-1], AnswerFinished), said[-1]
    return "".join(each.text for each in said if isinstance(each, TextArrived))


async def test_a_served_adapter_answers_with_whole_urls_and_leaves_nothing_behind(cli: CommandLine) -> None:
    rows = longest_urls(1)
    learn(rows, cli.workspace / "adapter")
    before = {path.name for path in cli.workspace.iterdir()}
    process = cli.start("serve", "./adapter", "--backend", "transformers", "--port", "0", "--device", "cpu", "--json")
    assert process.stdout is not None
    try:
        said = ""
        while not said.endswith("}\n"):
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            said += line
        served = json.loads(said)
        for row in rows:
            answer = await answer_of(served["address"], served["model"], row["instruction"])
            assert _URL.findall(answer) == _URL.findall(row["output"])
        process.send_signal(signal.SIGINT)
        _, words = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, words
    assert {path.name for path in cli.workspace.iterdir()} == before
    with pytest.raises(ProcessLookupError):
        os.kill(served["pid"], 0)


def test_a_server_that_ends_instead_of_answering_is_told_with_its_last_words(cli: CommandLine) -> None:
    (cli.workspace / "voice-1.gguf").write_bytes(b"GGUF")
    programs = cli.home / "bin"
    programs.mkdir()
    (programs / "llama-server").write_text("#!/bin/sh\necho error: no such architecture >&2\nexit 3\n")
    (programs / "llama-server").chmod(0o700)
    reply = cli("serve", "voice-1.gguf", "--port", "0", PATH=f"{programs}:{os.environ['PATH']}")
    assert reply.code == 12
    assert "llama.cpp ended with exit code 3." in reply.err
    assert "no such architecture" in reply.err
    assert {path.name for path in cli.workspace.iterdir()} == {"voice-1.gguf"}
