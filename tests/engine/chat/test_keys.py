"""Keys: which server gets which, and that nobody else sees them."""

from __future__ import annotations

from collections.abc import Iterator

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import NoKeyringError

from engine.chat.address import Address, parse_address
from engine.chat.keys import find_key, forget_key, how_to_give_one, redact, store_key, variable
from engine.errors import KeyNeeded, UsageError, WorkspaceError

KEY = "canary-0123456789"


class InMemory(KeyringBackend):
    """A keyring as the package's own interface describes one."""

    priority = 1.0

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.held.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.held[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.held[service, username]


class Broken(InMemory):
    def get_password(self, service: str, username: str) -> str | None:
        raise NoKeyringError("no session bus")

    def set_password(self, service: str, username: str, password: str) -> None:
        raise NoKeyringError("no session bus")


@pytest.fixture(autouse=True)
def ring() -> Iterator[InMemory]:
    before, ours = keyring.get_keyring(), InMemory()
    keyring.set_keyring(ours)
    yield ours
    keyring.set_keyring(before)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://openrouter.ai/api/v1", "FTCONSOLE_API_KEY_OPENROUTER_AI"),
        ("https://OpenRouter.AI:443", "FTCONSOLE_API_KEY_OPENROUTER_AI"),
        ("http://localhost:8000/v1", "FTCONSOLE_API_KEY_LOCALHOST_8000"),
        ("https://my-models.example.test", "FTCONSOLE_API_KEY_MY__MODELS_EXAMPLE_TEST"),
        ("https://my.models.example.test", "FTCONSOLE_API_KEY_MY_MODELS_EXAMPLE_TEST"),
        ("http://[::1]:8000", None),
    ],
)
def test_every_server_has_a_variable_of_its_own(address: str, name: str | None) -> None:
    assert variable(parse_address(address)) == name


@pytest.mark.parametrize(
    ("address", "given", "lmstudio"),
    [
        ("https://api.openai.com/v1", "OPENAI_API_KEY", False),
        ("http://127.0.0.1:1234", "LM_API_TOKEN", True),
        ("https://a.example.test", "FTCONSOLE_API_KEY_A_EXAMPLE_TEST", False),
    ],
)
def test_a_key_is_found_for_its_own_server(address: str, given: str, lmstudio: bool) -> None:
    found = find_key(parse_address(address), lmstudio=lmstudio, environ={given: f" {KEY}\n"})
    assert found is not None
    assert (found.value, found.source, found.origin) == (KEY, given, parse_address(address).origin)
    assert KEY not in repr(found)


@pytest.mark.parametrize(
    "address",
    [
        "https://api.openai.com.example.test/v1",
        "http://api.openai.com/v1",
        "https://api.openai.com:8443/v1",
        "http://127.0.0.1:8000/v1",
        "https://b.example.test/v1",
    ],
)
def test_another_server_gets_no_key(address: str, ring: InMemory) -> None:
    ring.set_password("ftconsole", "https://a.example.test", KEY)
    environ = {"OPENAI_API_KEY": KEY, "LM_API_TOKEN": KEY, "FTCONSOLE_API_KEY_A_EXAMPLE_TEST": KEY}
    assert find_key(parse_address(address), environ=environ) is None


def test_the_keyring_is_asked_for_the_origin_and_after_the_environment(ring: InMemory) -> None:
    place = parse_address("https://a.example.test/v1")
    store_key(place, KEY)
    assert ring.held == {("ftconsole", "https://a.example.test"): KEY}
    found = find_key(place, environ={})
    assert found is not None
    assert (found.value, found.source) == (KEY, "the system's keyring")
    first = find_key(place, environ={"FTCONSOLE_API_KEY_A_EXAMPLE_TEST": "first-0123"})
    assert first is not None
    assert first.value == "first-0123"
    assert forget_key(place)
    assert not forget_key(place)


def test_a_machine_without_a_keyring_has_no_key_and_says_why_none_can_be_stored() -> None:
    keyring.set_keyring(Broken())
    place = parse_address("https://a.example.test")
    assert find_key(place, environ={}) is None
    with pytest.raises(WorkspaceError, match="NoKeyringError") as found:
        store_key(place, KEY)
    assert KEY not in str(found.value)


def test_http_to_another_machine_takes_a_key_only_by_name() -> None:
    place = parse_address("http://gpu-box:8000/v1")
    environ = {"FTCONSOLE_API_KEY_GPU__BOX_8000": KEY}
    with pytest.raises(UsageError, match="clear text"):
        find_key(place, environ=environ)
    for allowed in ("gpu-box", "other, GPU-box:8000"):
        assert find_key(place, environ={**environ, "FTCONSOLE_PLAIN_HTTP_HOSTS": allowed}) is not None
    with pytest.raises(UsageError):
        find_key(place, environ={**environ, "FTCONSOLE_PLAIN_HTTP_HOSTS": "box"})


@pytest.mark.parametrize("value", ["two\nlines", "ünlatin", "x" * 10_000], ids=["lines", "letters", "long"])
def test_what_cannot_be_a_key_is_refused_unseen(value: str) -> None:
    with pytest.raises(KeyNeeded) as found:
        find_key(parse_address("https://api.openai.com"), environ={"OPENAI_API_KEY": value})
    assert value not in str(found.value)


def test_keys_are_taken_out_of_what_is_shown() -> None:
    text = f"bad key {KEY}, sk-lm-Ab12:cd34, Bearer abcdefgh and hf_abcdefghijkl; a task-force, sky"
    shown = redact(text, KEY)
    assert shown == "bad key [key], [key], Bearer [key] and [key]; a task-force, sky"


@pytest.mark.parametrize(
    "text",
    [
        "localhost:8000",
        "ftp://host",
        "http://",
        "http://host:99999",
        "http://host:x",
        "http://ho st/v1",
        "http://host/v1?key=secret",
        "http://host/v1#model",
        "http://[::1",
        "http://ada:secret@host/v1",
        "http://secret@host",
        "http://host/\x1b[2J",
        "",
    ],
)
def test_what_is_no_address_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(UsageError) as found:
        parse_address(text)
    assert "secret" not in str(found.value)
    assert "\x1b" not in str(found.value)


@pytest.mark.parametrize(
    ("text", "origin", "url", "loopback"),
    [
        ("http://localhost:1234/v1/", "http://localhost:1234", "http://localhost:1234/v1", True),
        ("https://Host.Example:443/api/v1", "https://host.example", "https://host.example/api/v1", False),
        ("http://[::1]:80", "http://[::1]", "http://[::1]", True),
        ("http://127.9.9.9:1", "http://127.9.9.9:1", "http://127.9.9.9:1", True),
        ("http://127.0.0.1.example.test", "http://127.0.0.1.example.test", "http://127.0.0.1.example.test", False),
    ],
)
def test_an_address_is_taken_apart(text: str, origin: str, url: str, loopback: bool) -> None:
    address = parse_address(text)
    assert isinstance(address, Address)
    assert (address.origin, address.url, address.is_loopback) == (origin, url, loopback)


def test_the_remedy_names_what_can_be_set() -> None:
    assert how_to_give_one(parse_address("https://api.openai.com/v1")) == (
        "Set OPENAI_API_KEY or FTCONSOLE_API_KEY_API_OPENAI_COM, or store it with "
        "`ftconsole keys set https://api.openai.com`."
    )
    assert how_to_give_one(parse_address("http://[::1]:1")) == "Store it with `ftconsole keys set http://[::1]:1`."
