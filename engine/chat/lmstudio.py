"""LM Studio: where it is, what it has, and loading and unloading there. Its own API, the newer form before the older.

Every call waits for the network, so a screen makes it in a thread. Questions go through `engine.chat.endpoint`.
Fields as in LM Studio's documentation (REST API v1 of 0.4.0, v0 of 0.3.6).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from engine.chat.address import Address, parse_address
from engine.chat.keys import Key, find_key
from engine.chat.refusals import Asked, not_running, reply_of_status
from engine.errors import EndpointError, EngineError, ModelNotLoaded, NotFound

DEFAULT_PORT = 1234
ADDRESS = "FTCONSOLE_LMSTUDIO"
"""Variable that names the server, where it is not on this machine's usual port: http://HOST:PORT."""
_GREETING_SECONDS = 2.0
"""LM Studio's own command line waits 0.5 s; a machine that swaps a model in takes longer."""
_LISTING_SECONDS = 15.0
LOADING_SECONDS = 600.0
_MOST_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Instance:
    """A model in memory."""

    id: str
    """What a question calls it."""
    context_length: int | None


@dataclass(frozen=True, slots=True)
class Model:
    """A model LM Studio has. All texts are foreign."""

    key: str
    """What `load` and a question call it."""
    name: str
    """For people."""
    kind: Literal["llm", "embedding"]
    publisher: str
    architecture: str
    format: str
    """"gguf" or "mlx"; empty where it is not said."""
    quantization: str
    """Such as "Q4_K_M"; empty where it is not said."""
    bits_per_weight: float | None
    size_bytes: int | None
    """None from the older API."""
    max_context_length: int | None
    instances: tuple[Instance, ...]
    """Empty: not loaded."""

    @property
    def loaded(self) -> bool:
        return bool(self.instances)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {**asdict(self), "instances": [asdict(each) for each in self.instances], "loaded": self.loaded}


@dataclass(frozen=True, slots=True)
class LMStudio:
    """An LM Studio that has answered."""

    address: Address
    """Without a path."""
    key: Key | None
    api: Literal["v1", "v0"]
    """v1 since 0.4.0. v0 lists, and loads a model only by being asked something."""

    def models(self) -> tuple[Model, ...]:
        """Return what it has, language models first.

        Raises:
            EndpointError: It did not answer; `KeyNeeded` where it wants one.
        """
        return _models(self)

    def find(self, name: str) -> Model:
        """Return the model called so: by its key, an instance's name, or the only one whose key ends with it.

        Raises:
            NotFound: There is none; the remedy has the nearest.
            EndpointError: As `models`.
        """
        models = self.models()
        for model in models:
            if name == model.key or any(name == each.id for each in model.instances):
                return model
        ending = [model for model in models if model.key.rpartition("/")[2] == name]
        if len(ending) == 1:
            return ending[0]
        import difflib

        names = {model.key.rpartition("/")[2]: model.key for model in models} | {each.key: each.key for each in models}
        near = next((names[each] for each in difflib.get_close_matches(name, names, n=1)), None)
        raise NotFound(
            f"LM Studio has no model {name[:200]!r}.",
            remedy=f"Did you mean {near}?" if near else "`ftconsole lmstudio list` shows what it has.",
        )

    def load(self, name: str, *, context_length: int | None = None) -> Instance:
        """Load a model and return what a question calls it. One that is loaded is left as it is. Takes minutes.

        Raises:
            NotFound, EndpointError: As `find`; it could not be loaded.
        """
        model = self.find(name)
        if model.instances and context_length in (None, model.instances[0].context_length):
            return model.instances[0]
        if self.api == "v0":
            # The older API has no way to load; a question does it, where loading on demand is on (as it is by default).
            body = {"model": model.key, "messages": [{"role": "user", "content": "."}], "max_tokens": 1}
            _call(self, "POST", "/api/v0/chat/completions", body, model=model.key, seconds=LOADING_SECONDS)
            return self._instance(model.key)
        asked: dict[str, Any] = {"model": model.key}
        if context_length is not None:
            asked |= {"context_length": context_length, "echo_load_config": True}
        said = _call(self, "POST", "/api/v1/models/load", asked, model=model.key, seconds=LOADING_SECONDS)
        if said.get("status", "loaded") != "loaded":
            raise ModelNotLoaded(
                f"LM Studio says of {model.key!r}: {str(said.get('status'))[:100]!r}.", remedy="Look into its window."
            )
        config = said.get("load_config")
        length = config.get("context_length") if isinstance(config, dict) else None
        return Instance(_text(said.get("instance_id")) or model.key, _number(length) or context_length)

    def unload(self, name: str) -> tuple[str, ...]:
        """Unload a model, or one instance of it, and return the names of what was unloaded.

        Raises:
            NotFound, EndpointError: As `find`; this version cannot unload.
        """
        model = self.find(name)
        wanted = [each.id for each in model.instances if each.id == name] or [each.id for each in model.instances]
        if not wanted:
            raise ModelNotLoaded(f"{model.key!r} is not loaded.", remedy="There is nothing to unload.")
        if self.api == "v0":
            raise EndpointError(
                "This LM Studio cannot unload models through its server: that came with version 0.4.0.",
                remedy=f"`lms unload {model.key}`, or Eject in its window.",
            )
        for instance in wanted:
            _call(self, "POST", "/api/v1/models/unload", {"instance_id": instance}, model=model.key)
        return tuple(wanted)

    def _instance(self, key: str) -> Instance:
        model = self.find(key)
        if not model.instances:
            raise ModelNotLoaded(
                f"LM Studio did not load {key!r}.", remedy="Load it in its window, or with `lms load`."
            )
        return model.instances[0]


def find_lmstudio(address: str | None = None, *, environ: Mapping[str, str] = os.environ) -> LMStudio:
    """Return the LM Studio at an address, or the one of this machine.

    Args:
        address: http://HOST:PORT; None looks at `FTCONSOLE_LMSTUDIO`, the port in LM Studio's own settings, then 1234.
        environ: Where keys and the address are looked for.

    Raises:
        NotReachable: Nothing answers there.
        KeyNeeded: It wants a key, or another.
        EndpointError: What answers is not LM Studio.
        UsageError: That is no address, or a key would be sent in clear text.
    """
    place = _root(parse_address(address)) if address is not None else server_address(environ)
    status, value = _request(place, None, "GET", "/lmstudio-greeting", None, _GREETING_SECONDS)
    greeted = status == 200 and isinstance(value, dict) and value.get("lmstudio") is True
    key = find_key(place, lmstudio=True, environ=environ) if greeted or status in (401, 403, 404) else None
    for api in ("v1", "v0"):
        there = LMStudio(place, key, api)
        status, value = _request(place, key, "GET", f"/api/{api}/models", None, _LISTING_SECONDS)
        if status == 200 and isinstance(value, dict) and isinstance(value.get(_LISTS[api]), list):
            return there
        if status in (401, 403):
            raise _refusal(there, status, value, "")
    if greeted:
        raise EndpointError(
            f"LM Studio at {place.host_and_port} does not list its models.",
            remedy="Its version may be older than 0.3.6: update it.",
        )
    raise EndpointError(
        f"What answers at {place.host_and_port} is not LM Studio.",
        remedy=f"Name its address with {ADDRESS}=http://HOST:PORT; of another server, write {place.origin}/v1#MODEL.",
    )


def server_address(environ: Mapping[str, str] = os.environ) -> Address:
    """Return where LM Studio should be. Nothing is asked.

    Raises:
        UsageError: `FTCONSOLE_LMSTUDIO` is no address.
    """
    if given := environ.get(ADDRESS, "").strip():
        return _root(parse_address(given))
    return Address("http", "127.0.0.1", _port_hint(environ) or DEFAULT_PORT)


def api_address(place: Address) -> Address:
    """Return the address that speaks OpenAI's protocol."""
    return replace(place, path="/v1")


def home(environ: Mapping[str, str] = os.environ) -> Path:
    """Return LM Studio's folder, as its own program finds it (findLMStudioHome.ts). It need not be there."""
    if given := environ.get("LMSTUDIO_HOME"):
        return Path(given)
    person = Path(environ.get("HOME") or os.path.expanduser("~"))
    with contextlib.suppress(OSError, ValueError):
        pointed = (person / ".lmstudio-home-pointer").read_text("utf-8").strip()
        if pointed:
            return Path(pointed)
    older = person / ".cache" / "lm-studio"
    return older if older.is_dir() else person / ".lmstudio"


_LISTS = {"v1": "models", "v0": "data"}


def _root(address: Address) -> Address:
    """Return an address without the path people copy along with it."""
    return replace(address, path="")


def _port_hint(environ: Mapping[str, str]) -> int | None:
    try:
        text = (home(environ) / ".internal" / "http-server-config.json").read_text("utf-8")
        port = json.loads(text)["port"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return port if isinstance(port, int) and 0 < port < 65_536 else None


def _models(there: LMStudio) -> tuple[Model, ...]:
    said = _call(there, "GET", f"/api/{there.api}/models", None)
    entries = said.get(_LISTS[there.api])
    read = _model_v1 if there.api == "v1" else _model_v0
    found = [read(entry) for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return tuple(sorted((each for each in found if each.key), key=lambda each: (each.kind != "llm", each.key)))


def _model_v1(entry: dict[str, Any]) -> Model:
    quantization = entry.get("quantization")
    named = quantization if isinstance(quantization, dict) else {}
    loaded = entry.get("loaded_instances")
    instances = [each for each in loaded if isinstance(each, dict)] if isinstance(loaded, list) else []
    return Model(
        _text(entry.get("key")),
        _text(entry.get("display_name")) or _text(entry.get("key")),
        "embedding" if entry.get("type") == "embedding" else "llm",
        _text(entry.get("publisher")),
        _text(entry.get("architecture")),
        _text(entry.get("format")),
        _text(named.get("name")),
        _real(named.get("bits_per_weight")),
        _number(entry.get("size_bytes")),
        _number(entry.get("max_context_length")),
        tuple(Instance(_text(each.get("id")), _context(each)) for each in instances if _text(each.get("id"))),
    )


def _model_v0(entry: dict[str, Any]) -> Model:
    key = _text(entry.get("id"))
    length = _number(entry.get("loaded_context_length"))
    return Model(
        key,
        key,
        "embedding" if entry.get("type") == "embeddings" else "llm",
        _text(entry.get("publisher")),
        _text(entry.get("arch")),
        _text(entry.get("compatibility_type")),
        _text(entry.get("quantization")),
        None,
        None,
        _number(entry.get("max_context_length")),
        (Instance(key, length),) if entry.get("state") == "loaded" else (),
    )


def _context(instance: dict[str, Any]) -> int | None:
    config = instance.get("config")
    return _number(config.get("context_length")) if isinstance(config, dict) else None


def _text(value: object) -> str:
    return value[:500] if isinstance(value, str) else ""


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _real(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _call(
    there: LMStudio,
    method: str,
    path: str,
    body: dict[str, Any] | None,
    *,
    model: str = "",
    seconds: float = _LISTING_SECONDS,
) -> dict[str, Any]:
    """Return what it says.

    Raises:
        EndpointError: It refused, is gone, or said what is no JSON object.
    """
    status, value = _request(there.address, there.key, method, path, body, seconds)
    if status != 200 or not isinstance(value, dict) or "error" in value:
        raise _refusal(there, status, value, model)
    return value


def _refusal(there: LMStudio, status: int, value: object, model: str) -> EngineError:
    asked = Asked(there.address, there.key, "lmstudio", model)
    found = reply_of_status(status, "application/json", json.dumps(value).encode(), asked)
    return found if isinstance(found, EngineError) else EndpointError(f"{asked.server} gave no usable answer.")


def _request(
    address: Address, key: Key | None, method: str, path: str, body: dict[str, Any] | None, seconds: float
) -> tuple[int, Any]:
    """Return status and JSON (None where it is none) of one request. No redirect is followed, no proxy asked."""
    headers = {"accept": "application/json", "user-agent": "ftconsole"}
    if body is not None:
        headers["content-type"] = "application/json"
    if key is not None:
        headers["authorization"] = f"Bearer {key.value}"
    secure = address.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(address.host, address.port, timeout=seconds)
    try:
        connection.request(method, path, None if body is None else json.dumps(body).encode(), headers)
        response = connection.getresponse()
        text = response.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise EndpointError(f"{address.host_and_port} answered with more than {_MOST_BYTES >> 20} MB.")
        try:
            return response.status, json.loads(text)
        except (ValueError, RecursionError):
            return response.status, None
    except TimeoutError:
        raise EndpointError(
            f"LM Studio at {address.host_and_port} did not answer within {seconds:g} s.",
            remedy="Look whether it is busy loading a model, then try again.",
        ) from None
    except ssl.SSLError as error:
        raise EndpointError(f"{address.host_and_port} does not speak https as it should: {error.reason}.") from None
    except (ConnectionRefusedError, socket.gaierror):
        raise not_running(address) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise EndpointError(
            f"{address.host_and_port} did not answer as a server does ({type(error).__name__}).",
            remedy=f"Check the address: {address.origin}.",
        ) from None
    finally:
        connection.close()
