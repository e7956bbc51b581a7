"""Recognises CMS that was uuencoded, as programs from before MIME did; it is not taken.

The format is that of POSIX uuencode; only as much is decoded as names the content.
"""

from __future__ import annotations

import binascii
import io
import re
from itertools import islice

from sectool import cms
from sectool.errors import MalformedMessage

_BEGIN = re.compile(rb"^begin [0-7]{3,4} [^\r\n]{1,255}\r?\n", re.MULTILINE)
_MOST_FILES = 20
_LINES = 20
"""Of 45 bytes each: more than the type of a content needs."""
_ENCODINGS = ("x-uu", "uu")


def is_uuencoding(declared: str) -> bool:
    """Whether a Content-Transfer-Encoding is one of the names that uuencode goes by."""
    return declared.strip().strip('"').lower().startswith(_ENCODINGS)


def holds_uuencoded_cms(text: bytes) -> bool:
    """Whether a uuencoded file in a text is CMS."""
    if b"begin " not in text:
        return False
    return any(_is_cms(text, begin.end()) for begin in islice(_BEGIN.finditer(text), _MOST_FILES))


def _is_cms(text: bytes, start: int) -> bool:
    head = b""
    for line in text[start : start + 64 * _LINES].split(b"\n")[:_LINES]:
        try:
            head += binascii.a2b_uu(line.rstrip(b"\r"))
        except binascii.Error:
            break
    try:
        cms.identify(io.BytesIO(head))
    except MalformedMessage:
        return False
    return True
