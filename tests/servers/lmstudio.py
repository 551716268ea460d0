"""A stand-in for LM Studio's own endpoints, as its documentation gives their fields.

LM Studio itself cannot be installed on a test machine. What is here is REST v1 (0.4.0), v0 (0.3.6), the greeting that
its own command line asks for, tokens, and the words of its errors as users have reported them. Questions are answered
by llama.cpp's real server behind it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

NO_TOKEN = (
    "An LM Studio API token is required to make requests to this server, but none was provided using the "
    "Authorization header using the 'Bearer' scheme"
)


@dataclass
class StandIn:
    """What it has and how it behaves."""

    behind: str
    """Origin of the server that answers."""
    api: str = "v1"
    token: str | None = None
    loaded: dict[str, int] = field(default_factory=dict)
    """Instance -> context length."""
    on_demand: bool = True
    """Whether a question loads its model ("JIT")."""
    unload_after: int | None = None
    """Unloads the model after so many pieces of an answer."""
    greets: bool = True
    unseen: int = 0
    """How often it lists its models before it has seen the one that was put into its folder."""
    fails_to_load: bool = False
    origin: str = ""
    asked: list[tuple[str, str, Any]] = field(default_factory=list)

    def models(self) -> Any:
        if self.api == "v0":
            state = "loaded" if self.loaded else "not-loaded"
            entry = {
                "id": "ftconsole/tiny",
                "object": "model",
                "type": "llm",
                "publisher": "ftconsole",
                "arch": "qwen2",
                "compatibility_type": "gguf",
                "quantization": "F16",
                "state": state,
                "max_context_length": 2048,
            }
            embedding = {**entry, "id": "nomic", "type": "embeddings", "state": "not-loaded"}
            return {"object": "list", "data": [embedding, *self._seen(entry)]}
        entry = {
            "type": "llm",
            "publisher": "ftconsole",
            "key": "ftconsole/tiny",
            "display_name": "Tiny \x1b[2J",
            "architecture": "qwen2",
            "quantization": {"name": "F16", "bits_per_weight": 16},
            "size_bytes": 7_978_368,
            "params_string": "3.9M",
            "loaded_instances": [
                {"id": name, "config": {"context_length": length}} for name, length in self.loaded.items()
            ],
            "max_context_length": 2048,
            "format": "gguf",
            "capabilities": {"vision": False, "trained_for_tool_use": False},
        }
        embedding = {
            "type": "embedding",
            "publisher": "n",
            "key": "nomic",
            "display_name": "Nomic",
            "quantization": None,
        }
        return {"models": [embedding, *self._seen(entry)]}

    def _seen(self, entry: dict[str, Any]) -> list[dict[str, Any]]:
        self.unseen -= 1
        return [entry] if self.unseen < 0 else []


@contextlib.contextmanager
def lmstudio(behind: str, **options: Any) -> Iterator[StandIn]:
    """Serve a stand-in on a free port of this machine."""
    state = StandIn(behind, **options)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"state": state}))
    state.origin = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    state: StandIn

    def do_GET(self) -> None:
        if self.path == "/lmstudio-greeting" and self.state.greets:
            self._say(200, {"lmstudio": True})
        elif self._may():
            if self.path == f"/api/{self.state.api}/models":
                self._say(200, self.state.models())
            else:
                self._unknown()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.state.asked.append(("POST", self.path, body))
        if not self._may():
            return
        if self.path == "/api/v1/models/load" and self.state.api == "v1":
            self._load(body)
        elif self.path == "/api/v1/models/unload" and self.state.api == "v1":
            self.state.loaded.pop(body["instance_id"])
            self._say(200, {"instance_id": body["instance_id"]})
        elif self.path in ("/v1/chat/completions", "/api/v0/chat/completions"):
            self._answer(body)
        else:
            self._unknown()

    def _may(self) -> bool:
        if self.state.token is None or self.headers.get("authorization") == f"Bearer {self.state.token}":
            return True
        error = {"type": "invalid_request", "code": "invalid_api_key", "message": NO_TOKEN}
        self._say(401, {"error": error})
        return False

    def _load(self, body: dict[str, Any]) -> None:
        if body["model"] != "ftconsole/tiny":
            message = f"Model {body['model']} not found in downloaded models"
            self._say(404, {"error": {"type": "model_not_found", "message": message}})
            return
        length = body.get("context_length", 2048)
        if length > 2048 or self.state.fails_to_load:
            self._say(500, {"error": {"type": "internal_error", "message": "Failed to load model: out of memory"}})
            return
        self.state.loaded["ftconsole/tiny"] = length
        said: dict[str, Any] = {"type": "llm", "instance_id": "ftconsole/tiny", "status": "loaded"}
        if body.get("echo_load_config"):
            said["load_config"] = {"context_length": length}
        self._say(200, {**said, "load_time_seconds": 0.3})

    def _answer(self, body: dict[str, Any]) -> None:
        if not self.state.loaded:
            if not self.state.on_demand:
                words = "No models loaded. Please load a model in the developer page or use the 'lms load' command."
                self._say(400, {"error": {"message": words, "type": "invalid_request"}})
                return
            self.state.loaded["ftconsole/tiny"] = 2048
        place = urlsplit(self.state.behind)
        connection = http.client.HTTPConnection(place.hostname or "", place.port)
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
        reply = connection.getresponse()
        self.send_response(reply.status)
        self.send_header("content-type", reply.headers["content-type"])
        self.end_headers()
        pieces = 0
        for line in reply:
            self.wfile.write(line)
            pieces += line.startswith(b"data: ")
            if self.state.unload_after is not None and pieces > self.state.unload_after:
                self.state.loaded.clear()
                self.wfile.write(b'\nevent: error\ndata: {"error": {"message": "Model unloaded."}}\n\n')
                break
        connection.close()

    def _unknown(self) -> None:
        self._say(404, {"error": f"Unexpected endpoint or method. ({self.command} {self.path})"})

    def _say(self, status: int, value: object) -> None:
        text = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None: ...
