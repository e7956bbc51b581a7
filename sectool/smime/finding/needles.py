"""Finds where CMS envelopes may begin in bytes and in base64, fast and without reading structure.

What is looked for is the object identifier that each of them begins with; that a
ContentInfo stands around it is checked at once, since tables and certificates
hold such identifiers, too.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

_RSA = bytes.fromhex("2a864886f70d01")
"""What the object identifiers of all envelopes begin with (1.2.840.113549.1)."""
_ENVELOPES = (
    _RSA + b"\x07\x03",
    _RSA + b"\x07\x04",
    _RSA + b"\x07\x06",
    _RSA + b"\x09\x10\x01\x17",
)
"""EnvelopedData, SignedAndEnvelopedData, EncryptedData, AuthEnvelopedData (RFC 5652, RFC 5083)."""
_ENCRYPTED_DATA = _ENVELOPES[2]
_FROM_PASSWORD = (_RSA + b"\x05", _RSA + b"\x0c\x01")
"""Algorithms that derive a key from a password (RFC 8018, RFC 7292 appendix C)."""
_ALIGNMENTS = 3
HEAD = 96
"""More than a ContentInfo has from its identifier to its algorithm."""
_BEFORE = 32
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_RUN_BEFORE = re.compile(rb"[A-Za-z0-9+/]*\Z")
_RUN = re.compile(rb"[A-Za-z0-9+/]*")
_LAYOUT = b" \t\r\n\x0b\x0c\0>|=" + bytes(range(128, 256))
"""What may stand between the characters of base64: line ends, quotation marks, soft line breaks,
the upper halves of UTF-16, blanks of other charsets."""


def encoded_forms(raw: bytes) -> tuple[bytes, ...]:
    """What bytes look like in base64, wherever they begin in a group of three."""
    forms: list[bytes] = []
    for before in range(_ALIGNMENTS):
        first = (before * 8 + 5) // 6
        last = (before + len(raw)) * 8 // 6
        forms.append(base64.b64encode(bytes(before) + raw + bytes(3))[first:last])
    return tuple(forms)


_FORMS = encoded_forms(_RSA)


def without_layout(text: bytes) -> bytes:
    """Text without what may interrupt base64."""
    return text.translate(None, _LAYOUT)


def may_hold_envelope(window: bytes) -> bool:
    """Whether an envelope may begin in these bytes, in base64 or as it is."""
    if not window.isascii() and _RSA in window:  # which is not in a text: that is told faster
        return True
    text = without_layout(window)
    return any(form in text for form in _FORMS)


def may_hold(window: bytes, forms: tuple[bytes, ...]) -> bool:
    """Whether one of the forms of ``encoded_forms`` stands in base64 text."""
    text = without_layout(window)
    return any(form in text for form in forms)


def starts_in_bytes(window: bytes) -> Iterator[int]:
    """Where in a window a ContentInfo with an envelope begins, in order."""
    found = window.find(_RSA)
    while found >= 0:
        start = _start_of_content_info(window, found)
        if start is not None:
            yield start
        found = window.find(_RSA, found + len(_RSA))


def starts_in_base64(text: bytes) -> Iterator[tuple[int, int]]:
    """Where a ContentInfo with an envelope begins in base64 without layout, in order.

    Each answer is the offset of a group and how many of its three bytes are before the start.
    """
    hits: list[int] = []
    for before, form in enumerate(_FORMS):
        first = (before * 8 + 5) // 6
        found = text.find(form)
        while found >= 0:
            if found >= first:
                hits.append((found - first) * _ALIGNMENTS + before)
            found = text.find(form, found + 1)
    for hit in sorted(hits):
        group, before = divmod(hit, _ALIGNMENTS)
        start = _start_in_base64(text, group, before)
        if start is not None:
            yield start


def _start_in_base64(text: bytes, group: int, before: int) -> tuple[int, int] | None:
    head = _RUN_BEFORE.search(text, max(group - 4 * _BEFORE // 3 - 8, 0), group)
    run = group - head.start() if head else 0
    begin = group - (run & ~3)
    end = _RUN.match(text, begin, group + 4 * HEAD // 3 + 8).end()  # type: ignore[union-attr]
    decoded = binascii.a2b_base64(text[begin : begin + ((end - begin) & ~3)])
    start = _start_of_content_info(decoded, (group - begin) // 4 * 3 + before)
    if start is None:
        return None
    return begin + start // 3 * 4, start % 3


def _start_of_content_info(window: bytes, found: int) -> int | None:
    """Where the ContentInfo begins around an identifier whose value is at ``found``, if one does.

    An envelope is followed as far as its version, and what comes next is of the right kind.
    """
    identifier = next((one for one in _ENVELOPES if window.startswith(one, found)), b"")
    at = _header_start(window, found, len(identifier), b"\x06") if identifier else None
    if at is None:
        return None
    start = _outer_start(window, at)
    position = found + len(identifier)
    for tag in (0xA0, 0x30):
        if window[position : position + 1] != bytes((tag,)):
            return None
        position = _after_length(window, position + 1)
    if window[position : position + 1] != b"\x02":
        return None
    after = _after_length(window, position + 1)
    position = after + (window[after - 1] if after <= len(window) else 0)
    following = window[position : position + 1]
    if identifier == _ENCRYPTED_DATA:
        # With a password it is of a PKCS#12 and holds keys; mail has a key from elsewhere.
        algorithm = window[position : position + HEAD // 2]
        is_mail = following == b"\x30" and not any(one in algorithm for one in _FROM_PASSWORD)
        return start if is_mail else None
    return start if following in {b"\x31", b"\xa0"} else None


def _header_start(window: bytes, value: int, size: int, tag: bytes) -> int | None:
    """Where the tag stands of a value whose length is ``size``, in whatever form that is said."""
    for octets in range(9):
        header = tag + (bytes((0x80 + octets,)) if octets else b"") + size.to_bytes(octets or 1)
        if window.endswith(header, max(value - len(header), 0), value):
            return value - len(header)
    return None


def _outer_start(window: bytes, at: int) -> int | None:
    """Where the SEQUENCE begins whose contents begin at ``at``."""
    for size in range(9):
        start = at - 2 - size
        if start < 0 or window[start] != 0x30:
            continue
        form = window[start + 1]
        if form == 0x80 + size or (size == 0 and form < 0x80):
            return start
    return None


def _after_length(window: bytes, position: int) -> int:
    if position >= len(window):
        return position
    form = window[position]
    return position + 1 + (form - 0x80 if 0x80 < form <= 0x88 else 0)
