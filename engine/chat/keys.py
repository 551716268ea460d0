"""Keys for servers: from the environment or the system's keyring, each bound to one origin, never written or shown.

A key is looked for by scheme, host and port, so one server can never be given the key of another:

- `FTCONSOLE_API_KEY_HOST` for the usual port and `FTCONSOLE_API_KEY_HOST_PORT` for another one. HOST in capitals, each
  dot an underscore and each hyphen two: `FTCONSOLE_API_KEY_OPENROUTER_AI`, `FTCONSOLE_API_KEY_LOCALHOST_8000`.
- `OPENAI_API_KEY` for https://api.openai.com alone.
- `LM_API_TOKEN` for LM Studio.
- the keyring, service `ftconsole`, the origin as user name (needs the package `keyring`).
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.chat.address import ALLOWED_PLAIN, Address
from engine.errors import KeyNeeded, MissingPackage, UsageError, WorkspaceError

PREFIX = "FTCONSOLE_API_KEY_"
OPENAI = "https://api.openai.com"
SERVICE = "ftconsole"
_LONGEST_KEY = 8_192
# What keys look like, so that one a server repeats is not shown although it is not ours.
_LOOKS_LIKE_A_KEY = re.compile(r"\b(?:sk-[A-Za-z0-9_:*.-]{6,}|hf_[A-Za-z0-9]{10,}|(?<=Bearer )\S{6,})")
HIDDEN = "[key]"


@dataclass(frozen=True, slots=True)
class Key:
    """A key, and where it may go. Its text is in no `repr`."""

    value: str = field(repr=False)
    origin: str
    """The only one it may be sent to."""
    source: str
    """For people: the name of the variable, or "the system's keyring"."""


def find_key(address: Address, *, lmstudio: bool = False, environ: Mapping[str, str] = os.environ) -> Key | None:
    """Return the key for a server, None where there is none. Asks the keyring, which may take a while.

    Raises:
        UsageError: There is one, and it would be sent in clear text through a network.
        KeyNeeded: What is given for a key cannot be one.
    """
    for name in variables(address, lmstudio=lmstudio):
        if value := environ.get(name, "").strip():
            return _usable(Key(value, address.origin, name), address, environ)
    if (stored := _in_keyring(address.origin)) is not None:
        return _usable(Key(stored, address.origin, "the system's keyring"), address, environ)
    return None


def variables(address: Address, *, lmstudio: bool = False) -> Iterator[str]:
    """Yield the names of the variables that are looked at for a server, the first first."""
    if (name := variable(address)) is not None:
        yield name
    if address.origin == OPENAI:
        yield "OPENAI_API_KEY"
    if lmstudio:
        yield "LM_API_TOKEN"


def variable(address: Address) -> str | None:
    """Return the variable of a server; None where the host's name cannot be one (IPv6, an underscore)."""
    if ":" in address.host or "_" in address.host:
        return None
    # A dot and a hyphen become different things: a.b.example and a-b.example must not share a key.
    name = PREFIX + address.host.upper().replace("-", "__").replace(".", "_")
    return name if address.port == {"http": 80, "https": 443}[address.scheme] else f"{name}_{address.port}"


def redact(text: str, *secrets: Key | str | None) -> str:
    """Return `text` without keys: the given ones, and what looks like one. To be done before anything is cut off."""
    for secret in secrets:
        value = secret.value if isinstance(secret, Key) else secret
        if value:
            text = text.replace(value, HIDDEN)
    return _LOOKS_LIKE_A_KEY.sub(HIDDEN, text)


def store_key(address: Address, value: str) -> None:
    """Put the key of a server into the system's keyring.

    Raises:
        MissingPackage: The package `keyring` is not installed.
        WorkspaceError: This system has no keyring, or it does not take the key.
        KeyNeeded: That cannot be a key.
    """
    checked = _usable(Key(value.strip(), address.origin, "what was typed"), address, os.environ)
    with _keyring_errors():
        _keyring().set_password(SERVICE, address.origin, checked.value)


def forget_key(address: Address) -> bool:
    """Take the key of a server out of the keyring; return whether there was one.

    Raises:
        MissingPackage, WorkspaceError: As for `store_key`.
    """
    with _keyring_errors():
        if _keyring().get_password(SERVICE, address.origin) is None:
            return False
        _keyring().delete_password(SERVICE, address.origin)
    return True


def how_to_give_one(address: Address, *, lmstudio: bool = False) -> str:
    """Return the sentence that says where a key is looked for."""
    names = list(variables(address, lmstudio=lmstudio))
    stored = f"store it with `ftconsole keys set {address.origin}`"
    return f"Set {' or '.join(reversed(names))}, or {stored}." if names else f"{stored[0].upper()}{stored[1:]}."


def _usable(key: Key, address: Address, environ: Mapping[str, str]) -> Key:
    if not key.value or len(key.value) > _LONGEST_KEY or not key.value.isascii() or not key.value.isprintable():
        raise KeyNeeded(
            f"The key for {address.host_and_port} in {key.source} cannot be one: it is empty, too long, or holds a "
            "character that no header may hold.",
            remedy="Set it again.",
        )
    if not address.may_carry_a_key(environ):
        raise UsageError(
            f"The key for {address.host_and_port} would be sent in clear text: http, and not to this machine.",
            remedy=f"Use https or a tunnel (ssh -L), or allow it by name with {ALLOWED_PLAIN}={address.host}.",
        )
    return key


def _in_keyring(origin: str) -> str | None:
    """Return what the keyring holds; None also where there is no keyring."""
    try:
        import keyring
    except ImportError:
        return None
    with contextlib.suppress(Exception):  # its backends raise what they like: no session bus, locked, denied
        found = keyring.get_password(SERVICE, origin)
        return found.strip() if found else None
    return None


def _keyring() -> Any:
    try:
        import keyring  # an optional package
    except ImportError:
        raise MissingPackage(
            "The package keyring is not installed.",
            remedy='Install it with pip install "ftconsole[keyring]", or give the key in the environment.',
        ) from None
    return keyring


@contextlib.contextmanager
def _keyring_errors() -> Iterator[None]:
    try:
        yield
    except MissingPackage:
        raise
    except Exception as error:  # its backends raise what they like
        name = type(error).__name__
        raise WorkspaceError(
            f"The system's keyring did not do it ({name}).",
            remedy="On a machine without a desktop there often is none: give the key in the environment.",
        ) from error
