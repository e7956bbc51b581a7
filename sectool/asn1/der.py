"""Writes DER (X.690 section 10), and rewrites BER as DER.

Values in memory are built bottom up; ``header`` serves content that is streamed.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from sectool.asn1 import tags
from sectool.asn1.octets import write_arc, write_length, write_oid
from sectool.asn1.reader import BERReader, Header, ReaderLimits
from sectool.asn1.tags import CONSTRUCTED

NULL = b"\x05\x00"
_LIMITS = ReaderLimits()


def header(identifier: int, length: int) -> bytes:
    """Identifier octet and the shortest length octets."""
    return bytes((identifier,)) + write_length(length)


def element(identifier: int, content: bytes | memoryview) -> bytes:
    """One whole element."""
    return header(identifier, len(content)) + content


def sequence(*elements: bytes) -> bytes:
    """A SEQUENCE of encoded elements."""
    return element(tags.SEQUENCE | CONSTRUCTED, b"".join(elements))


def set_of(elements: Iterable[bytes]) -> bytes:
    """A SET OF encoded elements, in the order DER asks for (X.690 section 11.6)."""
    return element(tags.SET | CONSTRUCTED, b"".join(sorted(elements)))


def explicit(number: int, content: bytes) -> bytes:
    """Content under an explicit context tag."""
    return element(tags.context(number) | CONSTRUCTED, content)


def octet_string(content: bytes) -> bytes:
    """A primitive OCTET STRING."""
    return element(tags.OCTET_STRING, content)


def integer(value: int) -> bytes:
    """An INTEGER in as few octets as two's complement allows."""
    magnitude = value if value >= 0 else ~value
    octets = value.to_bytes(magnitude.bit_length() // 8 + 1, "big", signed=True)
    return element(tags.INTEGER, octets)


@lru_cache(maxsize=512)
def oid(dotted: str) -> bytes:
    """An OBJECT IDENTIFIER from its dotted form, which must be well formed."""
    return element(tags.OBJECT_IDENTIFIER, write_oid(dotted))


def canonical(raw: bytes, limits: ReaderLimits = _LIMITS) -> bytes:
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


def _canonical_element(reader: BERReader[ReaderLimits], head: Header) -> bytes:
    # Recursion is bounded by the reader's depth limit.
    is_string = head.tag == tags.OCTET_STRING or not head.constructed
    if is_string:
        content = b"".join(reader.octet_string_blocks(head, "the element"))
    else:
        reader.enter_header(head, "the element")
        parts: list[bytes] = []
        while reader.peek() is not None:
            parts.append(_canonical_element(reader, reader.take("the element")))
        reader.leave("the element")
        content = b"".join(sorted(parts) if head.tag == tags.SET else parts)
    return _identifier(head, constructed=not is_string) + write_length(len(content)) + content


def _identifier(head: Header, *, constructed: bool) -> bytes:
    first = head.encoded[0] & ~CONSTRUCTED | (CONSTRUCTED if constructed else 0)
    if first & 0x1F != 0x1F:
        return bytes((first,))
    return bytes((first,)) + write_arc(head.tag >> 8)
