"""Base64 as mail has it, both ways, streamed (RFC 2045 section 6.8).

Tells what was skipped or is missing. What is sound is decoded at once.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable

from pybase64 import b64decode, encodebytes

from sectool.message import Sink

ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
WHITE_SPACE = b" \t\r\n"
_NOT_ALPHABET = bytes(set(range(256)) - set(ALPHABET))
_NOT_ALPHABET_OR_PADDING = bytes(set(_NOT_ALPHABET) - set(b"="))

STRAY_CHARACTERS = "characters outside the base64 alphabet were skipped"
MISSING_PADDING = "the base64 padding is missing"
INCOMPLETE_BASE64 = "the base64 text ends inside a group"
PADDING_INSIDE = "the base64 was encoded piece by piece, with padding inside"
AFTER_PADDING = "text after the base64 padding was ignored"
_LINE = re.compile(rb"[^\r\n]+")


class Base64Decoder:
    """Skips what is not of the alphabet, as RFC 2045 section 6.8 says, and notes it.

    Args:
        note: takes the description of each kind of defect met.
    """

    def __init__(self, note: Callable[[str], object]) -> None:
        self._note = note
        self._rest = b""
        self._padded = False
        """Whether padding came last, so that what follows is a piece of its own."""
        self._ended = False

    def update(self, block: bytes) -> bytes:
        """Decodes the whole groups of what has come so far."""
        if self._ended:
            if block.strip():
                self._note(AFTER_PADDING)
            return b""
        if not (self._rest or self._padded) and (sound := _decode_sound(block)) is not None:
            self._padded = len(sound) % 3 > 0
            return sound
        if self._padded or b"=" in block:
            words = self._words_behind(block)
            if words < len(block):
                self._note(AFTER_PADDING)
                text = self._rest + block[:words].translate(None, WHITE_SPACE)
                return self._decode_pieces(text) + self._last_group()
        text = self._rest + block.translate(None, WHITE_SPACE)
        whole = len(text) & ~3
        if not self._padded and b"=" not in text[:whole]:
            decoded = _decode_sound(text[:whole])
            if decoded is not None:
                self._rest = text[whole:]
                return decoded
        return self._decode_pieces(text)

    def finish(self) -> bytes:
        """Decodes a last group that lacks its padding."""
        if self._ended or not self._rest:
            return b""
        decoded = self._decode_pieces(self._rest)
        if len(self._rest) > 1:
            self._note(MISSING_PADDING)
        return decoded + self._last_group()

    def _decode_pieces(self, text: bytes) -> bytes:
        """Decodes text without strays, of which each run up to padding was encoded by itself."""
        if text.translate(None, ALPHABET + b"="):
            if self._padded or b"=" in text:
                text = self._up_to_text_behind(text)
            if text.translate(None, ALPHABET + b"="):
                self._note(STRAY_CHARACTERS)
                text = text.translate(None, _NOT_ALPHABET_OR_PADDING)
        *runs, last = text.split(b"=")
        decoded: list[bytes] = []
        piece = b""
        for run in runs:
            self._begin_run(run)
            piece += run
            # A pad sign can only follow two or three characters of a group.
            if len(piece) % 4 >= 2:
                decoded.append(b64decode(piece + b"=" * (-len(piece) % 4)))
                piece, self._padded = b"", True
            elif run or not self._padded:
                self._note(STRAY_CHARACTERS)
        self._begin_run(last)
        piece += last
        whole = len(piece) & ~3
        decoded.append(b64decode(piece[:whole]))
        self._rest = piece[whole:]
        return b"".join(decoded)

    def _words_behind(self, block: bytes) -> int:
        """Where a line of several words follows the padding, which is a text; else the end."""
        begin = 0 if self._padded else block.find(b"=")
        for line in _LINE.finditer(block, begin):
            if len(line[0].split()) > 1 and (self._padded or line.start() > begin):
                return line.start()
        return len(block)

    def _begin_run(self, run: bytes) -> None:
        if run and self._padded:
            self._note(PADDING_INSIDE)
            self._padded = False

    def _up_to_text_behind(self, text: bytes) -> bytes:
        """Leaves out a text that follows the padding, as a footer does, from its first stray."""
        begin = 0 if self._padded else text.find(b"=")
        stray = len(text[begin:]) - len(text[begin:].lstrip(ALPHABET + b"="))
        if not text[begin + stray :].translate(None, _NOT_ALPHABET):
            return text
        self._note(AFTER_PADDING)
        self._ended = True
        return text[: begin + stray]

    def _last_group(self) -> bytes:
        rest, self._rest = self._rest, b""
        self._ended = True
        if len(rest) == 1:
            self._note(INCOMPLETE_BASE64)
            return b""
        return b64decode(rest + b"=" * (-len(rest) % 4))


def _decode_sound(text: bytes) -> bytes | None:
    """Decodes whole groups in lines, padded at their end if anywhere; None: it is not that."""
    groups = text.translate(None, b"\r\n")
    if len(groups) % 4:
        return None
    try:
        return b64decode(groups, validate=True)
    except binascii.Error:
        return None


class Base64Writer:
    """Writes base64 in lines of 76 columns.

    Args:
        sink: takes the text.
        line_end: CRLF or LF.
        ends_last_line: False where the line end after the text belongs to what
            follows, as before a delimiter line.
    """

    _GROUP = 57

    def __init__(self, sink: Sink, line_end: bytes, *, ends_last_line: bool) -> None:
        self._sink = sink
        self._line_end = line_end
        self._ends_last_line = ends_last_line
        self._rest = b""
        self._between = b""

    def write(self, data: bytes, /) -> int:
        """Encodes the whole lines of what has come so far."""
        rest = self._rest + bytes(data)
        whole = len(rest) - len(rest) % self._GROUP
        self._rest = rest[whole:]
        self._lines(rest[:whole])
        return len(data)

    def finish(self) -> None:
        """Writes the last line."""
        self._lines(self._rest)
        self._rest = b""
        if self._ends_last_line:
            self._sink.write(self._between)

    def _lines(self, data: bytes) -> None:
        if not data:
            return
        lines = encodebytes(data)[:-1]
        if self._line_end != b"\n":
            lines = lines.replace(b"\n", self._line_end)
        self._sink.write(self._between + lines)
        self._between = self._line_end
