"""Writes DER (X.690 section 10), and rewrites BER as DER.

Values in memory are built bottom up; ``header`` serves content that is streamed.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from sectool.cms import ber
from sectool.cms.ber import BERReader, Header
from sectool.cms.limits import DEFAULT_LIMITS, Limits

CONSTRUCTED = 0x20
NULL = b"\x05\x00"


def header(identifier: int, length: int) -> bytes:
    """Identifier octet and the shortest length octets."""
    if length < 0x80:
        return bytes((identifier, length))
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((identifier, 0x80 | len(octets))) + octets


def element(identifier: int, content: bytes) -> bytes:
    """One whole element."""
    return header(identifier, len(content)) + content


def sequence(*elements: bytes) -> bytes:
    """A SEQUENCE of encoded elements."""
    return element(ber.SEQUENCE | CONSTRUCTED, b"".join(elements))


def set_of(elements: Iterable[bytes]) -> bytes:
    """A SET OF encoded elements, in the order DER asks for (X.690 section 11.6)."""
    return element(ber.SET | CONSTRUCTED, b"".join(sorted(elements)))


def explicit(number: int, content: bytes) -> bytes:
    """Content under an explicit context tag."""
    return element(ber.context(number) | CONSTRUCTED, content)


def octet_string(content: bytes) -> bytes:
    """A primitive OCTET STRING."""
    return element(ber.OCTET_STRING, content)


def integer(value: int) -> bytes:
    """An INTEGER in as few octets as two's complement allows."""
    magnitude = value if value >= 0 else ~value
    octets = value.to_bytes(magnitude.bit_length() // 8 + 1, "big", signed=True)
    return element(ber.INTEGER, octets)


@lru_cache(maxsize=512)
def oid(dotted: str) -> bytes:
    """An OBJECT IDENTIFIER from its dotted form, which must be well formed."""
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    content = b"".join(_arc(arc) for arc in (40 * first + second, *rest))
    return element(ber.OBJECT_IDENTIFIER, content)


def _arc(arc: int) -> bytes:
    octets = [arc & 0x7F]
    while arc := arc >> 7:
        octets.append(0x80 | arc & 0x7F)
    return bytes(reversed(octets))


def canonical(raw: bytes, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """One BER element as DER: shortest lengths, whole strings, sorted sets.

    Args:
        raw: one element, which may be in any BER form; nothing may follow it.
        limits: bounds its depth.

    Raises:
        MalformedMessage: it is not one BER element.
        LimitExceeded: it is nested too deep.
    """
    reader = BERReader.over(raw, limits)
    encoded = _canonical_element(reader, reader.take("the element"))
    if reader.peek() is not None:
        reader.leave("the element")
    return encoded


def _canonical_element(reader: BERReader, head: Header) -> bytes:
    # Recursion is bounded by the reader's depth limit.
    if head.tag == ber.OCTET_STRING or not head.constructed:
        content = b"".join(reader.octet_string_blocks(head, "the element"))
        return _identifier(head, constructed=False) + _length_and(content)
    reader.enter_header(head, "the element")
    parts: list[bytes] = []
    while reader.peek() is not None:
        parts.append(_canonical_element(reader, reader.take("the element")))
    reader.leave("the element")
    if head.tag == ber.SET:
        parts.sort()
    return _identifier(head, constructed=True) + _length_and(b"".join(parts))


def _identifier(head: Header, *, constructed: bool) -> bytes:
    first = head.encoded[0] & ~CONSTRUCTED | (CONSTRUCTED if constructed else 0)
    if first & 0x1F != 0x1F:
        return bytes((first,))
    return bytes((first,)) + _arc(head.tag >> 8)


def _length_and(content: bytes) -> bytes:
    return header(0, len(content))[1:] + content
