"""The address of a server that answers for a model: what may be one, and whether a key may be sent there.

Standard library only.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from engine.errors import UsageError

ALLOWED_PLAIN = "FTCONSOLE_PLAIN_HTTP_HOSTS"
"""Names hosts, with commas between, to which a key may be sent over http although others could read it on the way."""
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9.])?")
_PATH = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/-]*")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is."""

    scheme: str
    """"http" or "https"."""
    host: str
    """In lower case, IPv6 without brackets."""
    port: int
    path: str = ""
    """Without a slash at its end, such as "/v1"."""

    @property
    def origin(self) -> str:
        """Scheme, host and port: what a key is bound to."""
        return f"{self.scheme}://{self.host_and_port}"

    @property
    def host_and_port(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return self.origin + self.path

    @property
    def is_loopback(self) -> bool:
        """Whether it is this machine, so that nobody in between can read or answer."""
        if self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def may_carry_a_key(self, environ: Mapping[str, str] = os.environ) -> bool:
        """Whether a key can be sent without others reading it on the way, or they are allowed to by name."""
        allowed = {name.strip().lower() for name in environ.get(ALLOWED_PLAIN, "").split(",")} - {""}
        return self.scheme == "https" or self.is_loopback or bool(allowed & {self.host, self.host_and_port})


def parse_address(text: str) -> Address:
    """Return the address that is written as `http(s)://HOST[:PORT][/PATH]`.

    Raises:
        UsageError: It is none, or holds a name and a password. What was given is not repeated then: it may be a secret.
    """
    try:
        parts = urlsplit(text.strip())
        host, port = (parts.hostname or "").lower(), parts.port
        userinfo = parts.username is not None or parts.password is not None or "@" in parts.netloc
    except ValueError:
        raise _no_address("its host or port cannot be read") from None
    if userinfo:
        raise UsageError(
            "An address must not hold a user name or a password: it would end up in logs and lists of processes.",
            remedy="Give the address alone, and the key in the environment or with `ftconsole keys set ADDRESS`.",
        )
    if parts.scheme not in _PORTS:
        raise _no_address("it does not begin with http:// or https://")
    if not _is_host(host):
        raise _no_address("it names no host")
    if parts.query or parts.fragment or not _PATH.fullmatch(parts.path):
        raise _no_address("only a path may follow its host")
    return Address(parts.scheme, host, _PORTS[parts.scheme] if port is None else port, parts.path.rstrip("/"))


def _is_host(host: str) -> bool:
    if ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            return False
        return True
    return bool(_HOST.fullmatch(host)) and ".." not in host and len(host) <= 253


def _no_address(why: str) -> UsageError:
    return UsageError(f"That is no address of a server: {why}.", remedy="Write it as http://HOST:PORT/v1.")
