"""Text out of tokens as they come: whole characters, no special tokens, and stop strings seen before they are shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_BROKEN = "\ufffd"
_LONGEST_CHARACTER = 12
"""Tokens after which bytes that still make no character are shown as what they are: a character has four bytes at
most, an emoji of several parts is several characters."""


class StreamedText:
    """One answer's text, piece by piece. What it gives out in all is what decoding the whole answer gives.

    A token alone cannot be decoded: it may be a part of a character, and whether a word begins with a space depends on
    what stands before it. Hence the last word or so is decoded again with what is new.

    Args:
        decode: Token ids to text, special tokens left out.
        stop: Strings that end the answer; they are not part of it.
        before: Token ids that stand before the answer and are not given out, such as the end of the prompt.
    """

    def __init__(
        self, decode: Callable[[list[int]], str], *, stop: Sequence[str] = (), before: Sequence[int] = ()
    ) -> None:
        self._decode = decode
        self._stop = tuple(one for one in stop if one)
        self._ids = list(before)
        self._first, self._read = 0, len(self._ids)
        self._held = ""
        self.stopped = False
        """Whether a stop string came."""

    def push(self, token: int) -> str:
        """Return the text that a token adds; empty where it has to wait for the next."""
        self._ids.append(token)
        old = self._decode(self._ids[self._first : self._read])
        new = self._decode(self._ids[self._first :])
        waiting = new.endswith(_BROKEN) and len(self._ids) - self._read <= _LONGEST_CHARACTER
        if waiting:
            return ""
        if len(new) <= len(old):  # a special token, of which nothing is shown
            self._read = len(self._ids)
            return ""
        self._first, self._read = self._read, len(self._ids)
        return self._past_stops(new[len(old) :])

    def finish(self) -> str:
        """Return what was held back, the beginning of a character included."""
        old = self._decode(self._ids[self._first : self._read])
        rest = self._decode(self._ids[self._first :])[len(old) :]
        self._read = len(self._ids)
        text = self._past_stops(rest)
        held, self._held = self._held, ""
        return text if self.stopped else text + held

    def _past_stops(self, text: str) -> str:
        """Return what may be shown: not what could yet become a stop string, and nothing behind one."""
        if not self._stop or self.stopped:
            return "" if self.stopped else text
        text = self._held + text
        places = [place for one in self._stop if (place := text.find(one)) >= 0]
        if places:
            self.stopped, self._held = True, ""
            return text[: min(places)]
        held = max((_overlap(text, one) for one in self._stop), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]


def _overlap(text: str, stop: str) -> int:
    """Return how much of the end of `text` is the beginning of `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
