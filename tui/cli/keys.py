"""`ftconsole keys`: keys of servers in the system's keyring. A key is typed or piped in, never an argument."""

from __future__ import annotations

import getpass
import sys

from engine.chat.address import parse_address
from engine.chat.keys import find_key, forget_key, store_key, variables
from engine.errors import NotFound
from tui.cli import output

_LONGEST_LINE = 16_384


def set_key(address: str, *, as_json: bool) -> int:
    """Store a key for the origin of an address.

    Raises:
        EngineError: It is no address or no key, or there is no keyring.
    """
    place = parse_address(address)
    if output.is_terminal(sys.stdin):
        value = getpass.getpass(f"Key for {place.origin}: ", sys.stderr)
    else:
        value = sys.stdin.readline(_LONGEST_LINE)
    store_key(place, value)
    if as_json:
        output.emit({"origin": place.origin, "stored": True})
    else:
        output.out(f"Stored in the system's keyring for {place.origin}, and sent nowhere else.", style="good")
    return 0


def show(address: str, *, as_json: bool) -> int:
    """Say where the key of a server is found, and which variables are looked at.

    Raises:
        EngineError: It is no address, or a key that must not be sent there.
    """
    place = parse_address(address)
    found = find_key(place)
    names = list(variables(place))
    if as_json:
        output.emit({"origin": place.origin, "source": None if found is None else found.source, "variables": names})
    elif found is not None:
        output.out(f"{place.origin}: a key from {found.source}.")
    else:
        output.out(f"{place.origin}: no key. Looked at {', '.join([*names, 'the keyring'])}.")
    return 0


def remove(address: str, *, as_json: bool) -> int:
    """Remove a key from the keyring.

    Raises:
        NotFound: There is none.
        EngineError: There is no keyring.
    """
    place = parse_address(address)
    if not forget_key(place):
        raise NotFound(f"The keyring has no key for {place.origin}.", remedy="There is nothing to remove.")
    if as_json:
        output.emit({"origin": place.origin, "removed": True})
    else:
        output.out(f"Removed the key for {place.origin}.")
    return 0
