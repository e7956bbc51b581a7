"""Finds the recipients of a PDF that is encrypted to certificates (ISO 32000-2 section 7.6.5)."""

from __future__ import annotations

import binascii
import re
from itertools import islice

from sectool import cms
from sectool.message import BytesContent
from sectool.mime.limits import Limits

ENCRYPTION = b"/Encrypt"
"""What stands in the trailer of every encrypted PDF."""
_HANDLER = re.compile(rb"/(?:Adobe\.PubSec|adbe\.pkcs7\.s[345]|Entrust\.PPKEF)\b")
_RECIPIENTS = re.compile(rb"/Recipients\s*\[?")
_HEXADECIMAL = re.compile(rb"\s*<([0-9A-Fa-f\s]{64,})>")
_LITERAL = re.compile(rb"\s*\(")
_TOKEN = re.compile(rb"\\.|[()]", re.DOTALL)
_LONGEST_STRINGS = 4 * 1024 * 1024
"""Bytes of all that are looked at in one file."""
_ESCAPE = re.compile(rb"\\([0-7]{1,3}|\r\n|.)", re.DOTALL)
_ESCAPED = {
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
    b"b": b"\b",
    b"f": b"\f",
    b"\n": b"",
    b"\r\n": b"",
}


def recipients_of_pdf(data: bytes, limits: Limits) -> list[cms.RecipientsSeen]:
    """The envelopes that hold the key of a PDF; one that cannot be read stands for them all.

    Args:
        data: the file.
        limits: bounds on hostile input.
    """
    if _HANDLER.search(data) is None:
        return []
    found: list[cms.RecipientsSeen] = []
    left = _LONGEST_STRINGS
    for match in islice(_RECIPIENTS.finditer(data), limits.envelopes_unreached):
        position = match.end()
        while len(found) < limits.envelopes_unreached:
            begin = position
            raw, position = _string(data, begin, left)
            left -= position - begin
            if not raw:
                break
            found.append(cms.read_recipients(BytesContent(raw)))
    return found or [cms.RecipientsSeen("", True, (), False)]


def _string(data: bytes, position: int, most: int) -> tuple[bytes, int]:
    """A string object of at most so many bytes and where it ends; empty: there is none."""
    if match := _HEXADECIMAL.match(data, position):
        digits = b"".join(match[1].split())
        return binascii.unhexlify(digits[: len(digits) & ~1]), match.end()
    match = _LITERAL.match(data, position)
    if match is None:
        return b"", position
    begin = match.end() - 1
    depth = 0
    for token in _TOKEN.finditer(data, begin, begin + most):
        depth += (token[0] == b"(") - (token[0] == b")")
        if depth == 0:
            end = token.start()
            break
    else:
        return b"", min(begin + most, len(data))
    return _ESCAPE.sub(_unescaped, data[begin + 1 : end]), end + 1


def _unescaped(match: re.Match[bytes]) -> bytes:
    word = match[1]
    if word[:1].isdigit() and word[:1] < b"8":
        return bytes((int(word, 8) & 0xFF,))
    return _ESCAPED.get(word, word)
