"""The connection to a server: it goes to one origin, holds the key, follows no redirect and reads no more than agreed.

Imports httpx2, so it is imported when the first question is asked. The openai client above it is never given the key,
and what it would add from the environment (organisation, project, headers of one's own) does not pass.
"""

from __future__ import annotations

import urllib.request
from collections.abc import AsyncIterator

import httpx2

from engine.chat.address import Address
from engine.chat.keys import Key

_PASSED_HEADERS = ("host", "content-type", "content-length", "connection")
_TAIL = 32


class TooMuch(httpx2.ReadError):
    """The server sent more than any answer of the agreed length takes."""


class Redirected(httpx2.RequestError):
    """The server sends elsewhere. `target` is where to, as it said."""

    def __init__(self, target: str, request: httpx2.Request) -> None:
        super().__init__("redirected", request=request)
        self.target = target


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Sends to one origin only.

    Args:
        address: Of the server.
        key: Sent with every request; None for none.
        limit_bytes: Of one response.
    """

    def __init__(self, address: Address, key: Key | None, limit_bytes: int) -> None:
        assert key is None or key.origin == address.origin
        self._address = address
        self._key = key
        self._limit = limit_bytes
        # Without TLS there is nothing to verify, and reading the system's certificates takes 15 ms.
        self._inner = httpx2.AsyncHTTPTransport(verify=address.scheme == "https", proxy=_proxy(address))
        self.tail = b""
        """The end of the last response, for whether it was whole."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        port = url.port or {"http": 80, "https": 443}.get(url.scheme)
        if (url.scheme, url.host, port) != (self._address.scheme, self._address.host, self._address.port):
            raise httpx2.UnsupportedProtocol("Another server than the one that was named.", request=request)
        headers = [(name, value) for name, value in request.headers.multi_items() if name in _PASSED_HEADERS]
        headers += [
            ("accept", "text/event-stream, application/json"),
            ("accept-encoding", "identity"),  # what is packed could unpack to any length
            ("user-agent", "ftconsole"),
        ]
        if self._key is not None:
            headers.append(("authorization", f"Bearer {self._key.value}"))
        request.headers = httpx2.Headers(headers)
        response = await self._inner.handle_async_request(request)
        if 300 <= response.status_code < 400:
            await response.aclose()
            raise Redirected(response.headers.get("location", ""), request)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            await response.aclose()
            raise httpx2.DecodingError("The response is packed although that was not asked for.", request=request)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _Bounded(response.stream, self)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Bounded(httpx2.AsyncByteStream):
    """The body of a response, cut off with an error where it is too long."""

    def __init__(self, stream: httpx2.AsyncByteStream, transport: GuardedTransport) -> None:
        self._stream = stream
        self._transport = transport
        self._transport.tail = b""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self._transport._limit
        async for piece in self._stream:
            left -= len(piece)
            if left < 0:
                raise TooMuch("more than any answer of the agreed length")
            self._transport.tail = (self._transport.tail + piece[-_TAIL:])[-_TAIL:]
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()


def _proxy(address: Address) -> str | None:
    """Return the proxy of the environment; this machine is always spoken to directly."""
    if address.is_loopback or urllib.request.proxy_bypass(address.host):
        return None
    found = urllib.request.getproxies()
    return found.get(address.scheme) or found.get("all")
