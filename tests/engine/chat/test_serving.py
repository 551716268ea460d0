"""What will serve a model, before anything is started."""

from __future__ import annotations

import shlex
import socket
from pathlib import Path

import pytest

from engine.chat.serving import plan_serving
from engine.errors import MissingPackage, NotFound, UsageError
from engine.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def with_program(folder: Path) -> dict[str, str]:
    folder.mkdir()
    (folder / "llama-server").write_text("#!/bin/sh\n")
    (folder / "llama-server").chmod(0o700)
    return {"PATH": str(folder)}


def test_a_model_is_served_by_transformers_on_this_machine(workspace: Workspace) -> None:
    plan = plan_serving(workspace, "tiny", backend="transformers", port=0)
    assert (plan.name, plan.backend, plan.address.host, plan.address.is_loopback) == (
        "tiny",
        "transformers",
        "127.0.0.1",
        True,
    )
    assert plan.address.port
    words = shlex.split(plan.curl)
    assert words[:2] == ["curl", f"http://127.0.0.1:{plan.address.port}/v1/chat/completions"]
    assert '"model": "tiny"' in words[-1]


def test_a_gguf_file_is_served_by_llama_cpp(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "voice-1.Q4_K_M.gguf").write_bytes(b"GGUF")
    environ = with_program(tmp_path / "bin")
    plan = plan_serving(workspace, "voice-1.Q4_K_M.gguf", port=0, environ=environ)
    assert (plan.name, plan.backend, plan.model) == ("voice-1.Q4_K_M", "llama.cpp", tmp_path / "voice-1.Q4_K_M.gguf")
    with pytest.raises(MissingPackage, match="llama-server"):
        plan_serving(workspace, "voice-1.Q4_K_M.gguf", port=0, environ={"PATH": "/nowhere"})
    with pytest.raises(UsageError, match="GGUF"):
        plan_serving(workspace, "voice-1.Q4_K_M.gguf", backend="vllm", port=0)
    with pytest.raises(NotFound):
        plan_serving(workspace, "voice-2.gguf", port=0)


def test_what_cannot_serve_it_is_told(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no backend"):
        plan_serving(workspace, "tiny", backend="ollama")
    with pytest.raises(UsageError, match="GGUF files"):
        plan_serving(workspace, "tiny", backend="llama.cpp")
    with pytest.raises(UsageError):
        plan_serving(workspace, "http://h/v1#m")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingPackage, match="vLLM"):
        plan_serving(workspace, "tiny", backend="vllm")
    with pytest.raises(MissingPackage, match="fastapi and uvicorn") as found:
        plan_serving(workspace, "tiny", port=0)
    assert "ftconsole[serve]" in found.value.remedy


@pytest.mark.parametrize("host", ["203.0.113.7", "no such host", "x" * 300])
def test_an_address_that_is_not_ours_is_told(workspace: Workspace, host: str) -> None:
    with pytest.raises(UsageError, match="Nothing can be served"):
        plan_serving(workspace, "tiny", backend="transformers", host=host)


def test_a_port_that_is_taken_is_told(workspace: Workspace) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UsageError, match="in use"):
            plan_serving(workspace, "tiny", backend="transformers", port=taken.getsockname()[1])
