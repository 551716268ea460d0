"""A model behind an address: somebody else's server, started, proven to answer, and ended with everything it left.

`transformers serve`, vLLM or llama.cpp's `llama-server`. An adapter is merged for it into a folder that is gone
afterwards, also after a kill: the folder is locked while it is used, and cleared by the next who finds it unlocked.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from engine.chat.address import Address
from engine.errors import EndpointError, EngineError, MissingPackage, NotFound, UsageError
from engine.export.progress import Tell, silent
from engine.spec import LocalModel, base_folder, local_model
from engine.workspace import Workspace, named_path

Backend: TypeAlias = Literal["transformers", "vllm", "llama.cpp"]
BACKENDS: tuple[Backend, ...] = ("transformers", "vllm", "llama.cpp")
DEFAULT_PORT = 8000
_POLL_SECONDS = 0.2
_GRACE_SECONDS = 10.0
_LAST_WORDS_BYTES = 4_000
_GGUF = ".gguf"
_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "true",
    "VLLM_NO_USAGE_STATS": "1",
}


class ServerEnded(EndpointError):
    """The server that was started ended by itself."""

    code = "server-ended"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be served, and by what."""

    name: str
    """What a question calls it."""
    model: LocalModel | Path
    """A file: llama.cpp's GGUF."""
    backend: Backend
    address: Address
    device: str = "auto"

    @property
    def url(self) -> str:
        return f"{self.address.origin}/v1"

    @property
    def curl(self) -> str:
        """A line that asks it something."""
        body = json.dumps({"model": self.name, "messages": [{"role": "user", "content": "Hello!"}]})
        return f"curl {self.url}/chat/completions -H 'Content-Type: application/json' -d {shlex.quote(body)}"


def plan_serving(
    workspace: Workspace,
    text: str,
    *,
    backend: str = "auto",
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    device: str = "auto",
    environ: Mapping[str, str] = os.environ,
) -> Plan:
    """Return what will serve a model. Nothing is started.

    Args:
        workspace: Where the model is looked for.
        text: A SPEC with weights here, or a `.gguf` file.
        backend: "auto" takes llama.cpp for a GGUF file, vLLM where it is installed, else transformers.
        host: What is listened on. Anything but this machine is open to whoever reaches it.
        port: 0 takes a free one.
        device: For transformers: "auto", "cpu", "cuda:0" ...
        environ: Where programs are looked for.

    Raises:
        UsageError: There is no such backend, it cannot serve that, or the port is taken.
        MissingPackage: The backend is not installed.
        EngineError: As `engine.spec.local_model`.
    """
    if backend not in ("auto", *BACKENDS):
        raise UsageError(f"There is no backend {backend[:40]!r}.", remedy=f"auto, {', '.join(BACKENDS)}.")
    gguf = _gguf_file(workspace, text)
    model: LocalModel | Path = gguf if gguf is not None else local_model(workspace, text)
    chosen = _backend(backend, is_gguf=gguf is not None, environ=environ)
    name = gguf.stem if gguf is not None else model.label if isinstance(model, LocalModel) else ""
    if isinstance(model, LocalModel) and model.adapter is None:
        name = Path(name).name  # a folder or a Hub name
    # An @ would be a revision to transformers, and a folder is made of it.
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:80] or "model"
    return Plan(name, model, chosen, Address("http", host, _free_port(host, port)), device)


@dataclass(frozen=True, slots=True)
class Serving:
    """A server that answers."""

    plan: Plan
    process: subprocess.Popen[bytes]
    log: Path

    def wait(self) -> None:
        """Return when it has ended.

        Raises:
            ServerEnded: Always: it does not end by itself.
        """
        status = self.process.wait()
        raise _ended(self.plan, status, self.log)


@contextlib.contextmanager
def serving(workspace: Workspace, plan: Plan, *, tell: Tell = silent, say: Callable[[str], None]) -> Iterator[Serving]:
    """Serve a model until the block ends. Merges what has to be merged, and yields once a question was answered.

    Args:
        workspace: Where the merged model lies meanwhile.
        plan: From `plan_serving`.
        tell: Called with the progress of merging.
        say: Called with what is being done, in words.

    Raises:
        ServerEnded: It ended instead of answering; the remedy has its last words.
        EndpointError: It answered with an error.
        EngineError: As `engine.export.merge.merge`.
    """
    from engine.export.beside import beside

    with beside(workspace.path / "served") as folder:
        place = _weights(plan, folder, tell, say)
        say(f"{plan.backend} loads {plan.name}")
        log = folder / "log"
        process = _start(_command(plan, place), folder, log)
        try:
            _wait_until_it_answers(plan, process, log)
            yield Serving(plan, process, log)
        finally:
            _end(process)


def _gguf_file(workspace: Workspace, text: str) -> Path | None:
    if not text.lower().endswith(_GGUF):
        return None
    for path in (named_path(text), workspace.path / text):
        if path.is_file():
            return path.absolute()
    raise NotFound(f"There is no file {text[:200]!r}.", remedy="Check the path.")


def _backend(asked: str, *, is_gguf: bool, environ: Mapping[str, str]) -> Backend:
    if is_gguf and asked in ("auto", "llama.cpp"):
        if shutil.which("llama-server", path=environ.get("PATH")) is None:
            raise MissingPackage(
                "llama.cpp's server is not installed: there is no llama-server on the path.",
                remedy="Install llama.cpp, or load the file in LM Studio (`ftconsole lmstudio load`).",
            )
        return "llama.cpp"
    if is_gguf:
        raise UsageError(f"{asked} does not serve a GGUF file here.", remedy="Leave --backend out, or name the run.")
    if asked == "llama.cpp":
        raise UsageError(
            "llama.cpp serves GGUF files.", remedy="Make one with `ftconsole export`, then serve that file."
        )
    if asked == "vllm" or (asked == "auto" and importlib.util.find_spec("vllm") is not None):
        if importlib.util.find_spec("vllm") is None:
            raise MissingPackage("vLLM is not installed.", remedy="pip install vllm, or --backend transformers.")
        return "vllm"
    missing = [name for name in ("fastapi", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingPackage(
            f"`transformers serve` needs {' and '.join(missing)}.", remedy='pip install "ftconsole[serve]"'
        )
    return "transformers"


def _free_port(host: str, port: int) -> int:
    """Return a port that can be listened on.

    Raises:
        UsageError: It is taken, or that is no address of this machine.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(found[0], socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(found[4])
            chosen: int = probe.getsockname()[1]
            return chosen
    except (OSError, OverflowError, UnicodeError) as error:
        raise UsageError(
            f"Nothing can be served at {host[:100]}, port {port}: {getattr(error, 'strerror', None) or error}.",
            remedy="Choose another --port (0 takes a free one), or --host 127.0.0.1.",
        ) from error


def _weights(plan: Plan, folder: Path, tell: Tell, say: Callable[[str], None]) -> Path:
    """Return the folder or file that is served; a merged model, or a link to one that is whole, by the plan's name."""
    if isinstance(plan.model, Path):
        return plan.model
    place = folder / plan.name
    if plan.model.adapter is not None:
        from engine.export.merge import merge, plan_merge

        say(f"merging {plan.model.label}")
        merge(plan_merge(plan.model, place), tell=tell)
        return place
    source = base_folder(plan.model)
    if source is None:
        raise NotFound(
            f"{plan.model.label} is not on this machine.",
            remedy=f"Fetch it first: hf download {plan.model.base.source}",
        )
    place.symlink_to(source.absolute(), target_is_directory=True)
    return place


def _command(plan: Plan, place: Path) -> list[str]:
    host, port = plan.address.host, str(plan.address.port)
    if plan.backend == "llama.cpp":
        return ["llama-server", "-m", str(place), "--alias", plan.name, "--host", host, "--port", port]
    if plan.backend == "vllm":
        return [
            *(sys.executable, "-P", "-m", "vllm.entrypoints.openai.api_server", "--model", place.name),
            *("--served-model-name", plan.name, "--host", host, "--port", port),
        ]
    # A question must name the model exactly as it is named here, so a name in the current folder and no path.
    return [
        *(sys.executable, "-P", "-m", "transformers.cli.transformers", "serve", place.name),
        *("--host", host, "--port", port, "--device", plan.device),
    ]


def _start(command: list[str], folder: Path, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as words:
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=words,
                cwd=folder,
                env={**os.environ, **_OFFLINE},
                start_new_session=True,  # ctrl+c is for us; what it starts ends with it
                preexec_fn=_end_with_parent,
            )
        except OSError as error:
            raise EndpointError(f"{command[0]} could not be started: {error.strerror}.") from error


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def _end_with_parent() -> None:
    """Have the kernel end the server with us, whatever ends us. Other systems cannot; there ctrl+c and SIGTERM do."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait_until_it_answers(plan: Plan, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return once a question of one token was answered.

    Raises:
        ServerEnded: It ended instead.
        EndpointError: It answered with an error.
    """
    body = json.dumps({"model": plan.name, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1})
    while True:
        if (status := process.poll()) is not None:
            raise _ended(plan, status, log)
        answered = _post(plan.address, body.encode())
        if answered is not None and answered[0] == 200:
            return
        if answered is not None and answered[0] != 503:  # 503: llama.cpp is still loading
            raise _refused(plan, *answered, log)
        time.sleep(_POLL_SECONDS)


def _post(address: Address, body: bytes) -> tuple[int, bytes] | None:
    """Return status and body; None while nobody listens."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)
    connection = http.client.HTTPConnection(host, address.port, timeout=600)
    try:
        connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read(1 << 20)
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _refused(plan: Plan, status: int, body: bytes, log: Path) -> EngineError:
    from engine.chat.refusals import Asked, reply_of_status

    asked = Asked(plan.address, None, "openai", plan.name)
    found = reply_of_status(status, "application/json", body, asked)
    message = found.message if isinstance(found, EngineError) else f"{plan.backend} refused ({status})."
    return EndpointError(message, remedy=f"The end of what it printed: {_last_words(log)}")


def _ended(plan: Plan, status: int, log: Path) -> ServerEnded:
    how = f"by {signal.Signals(-status).name}" if status < 0 else f"with exit code {status}"
    return ServerEnded(
        f"{plan.backend} ended {how}.", remedy=f"The end of what it printed: {_last_words(log) or 'nothing'}"
    )


def _last_words(log: Path) -> str:
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - _LAST_WORDS_BYTES))
        lines = file.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:400] if lines else ""
    return ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it and all it has started."""
    for number, seconds in ((signal.SIGTERM, _GRACE_SECONDS), (signal.SIGKILL, _GRACE_SECONDS)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            break
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)  # what outlived it
