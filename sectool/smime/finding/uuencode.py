"""Recognises CMS that was uuencoded, as programs from before MIME did; it is not taken.

The format is that of POSIX uuencode, or yEnc of the Usenet; only as much is decoded as
names the content.
"""

from __future__ import annotations

import binascii
import re
from itertools import chain, islice

from sectool import cms
from sectool.errors import MalformedMessage

_BEGIN = re.compile(rb"^begin [0-7]{3,4} [^\r\n]{1,255}\r?\n", re.MULTILINE)
_YBEGIN = re.compile(rb"^=ybegin [^\r\n]{1,400}\r?\n(?:=ypart [^\r\n]{1,200}\r?\n)?", re.MULTILINE)
_ESCAPED = re.compile(rb"=(.)", re.DOTALL)
_MINUS_42 = bytes((octet - 42) & 0xFF for octet in range(256))
_MOST_FILES = 20
_LINES = 20
"""Of 45 bytes each: more than the type of a content needs."""
_ENCODINGS = ("x-uu", "uu")


def is_uuencoding(declared: str) -> bool:
    """Whether a Content-Transfer-Encoding is one of the names that uuencode goes by."""
    return declared.strip().strip('"').lower().startswith(_ENCODINGS)


def holds_uuencoded_cms(text: bytes) -> bool:
    """Whether a file in a text is CMS that was uuencoded, or written as yEnc."""
    if b"begin " not in text:
        return False
    old = (_uudecoded(text, begin.end()) for begin in islice(_BEGIN.finditer(text), _MOST_FILES))
    new = (_ydecoded(text, begin.end()) for begin in islice(_YBEGIN.finditer(text), _MOST_FILES))
    return any(_is_cms(head) for head in chain(old, new))


def _uudecoded(text: bytes, start: int) -> bytes:
    head = b""
    for line in text[start : start + 64 * _LINES].split(b"\n")[:_LINES]:
        try:
            head += binascii.a2b_uu(line.rstrip(b"\r"))
        except binascii.Error:
            break
    return head


def _ydecoded(text: bytes, start: int) -> bytes:
    head = text[start : start + 45 * _LINES].translate(None, b"\r\n")
    plain = _ESCAPED.sub(lambda match: bytes(((match[1][0] - 64) & 0xFF,)), head)
    return plain.translate(_MINUS_42)


def _is_cms(head: bytes) -> bool:
    try:
        cms.identify(head)
    except MalformedMessage:
        return False
    return True
