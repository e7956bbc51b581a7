"""Octets of tags, lengths and object identifiers (X.690 section 8), read and written here."""

from __future__ import annotations

from functools import lru_cache

from sectool.asn1.tags import INTEGER, OBJECT_IDENTIFIER
from sectool.errors import LimitExceeded, MalformedMessage

_LENGTH_OCTETS = 16
_LONGEST = 1 << 62


def read_long_tag(buffer: bytes, position: int, tag: int) -> tuple[int, int]:
    """A tag number above 30 (X.690 section 8.1.2.4), and where it ends."""
    number = 0
    for end in range(position + 1, position + 5):
        octet = buffer[end - 1]
        number = number << 7 | octet & 0x7F
        if octet < 0x80:
            return number << 8 | tag, end
    raise LimitExceeded("a tag number is too large")


def read_long_length(
    buffer: bytes | memoryview, position: int, octets: int
) -> tuple[int | None, int]:
    """The length octets after the first (X.690 section 8.1.3.5), and where they end.

    Args:
        buffer: holds them.
        position: of the second.
        octets: how many the first announced; with none the length is indefinite: None.

    Raises:
        MalformedMessage: they end too soon.
        LimitExceeded: nothing can be that long.
    """
    if not octets:
        return None, position
    if octets > _LENGTH_OCTETS:
        raise LimitExceeded("a length is too large")
    end = position + octets
    if end > len(buffer):
        raise MalformedMessage("the structure ends too soon")
    length = int.from_bytes(buffer[position:end], "big")
    if length > _LONGEST:
        raise LimitExceeded("a length is too large")
    return length, end


def quick_element(
    raw: bytes, at: int, identifier: int, stop: int, *, is_last: bool = False
) -> tuple[int, int]:
    """Where the content of an element begins and ends that has this identifier octet.

    Args:
        raw: holds its header; its content may go on beyond.
        at: where it begins.
        identifier: the octet.
        stop: where what it stands in ends.
        is_last: whether nothing follows it there.

    Raises:
        ValueError: it is another one, is of a rare form, or reaches beyond what it stands in.
        IndexError: its header is not whole.
    """
    length, begin = raw[at + 1], at + 2
    if length == 0x81:
        length, begin = raw[begin], begin + 1
    elif length == 0x82:
        length, begin = raw[begin] << 8 | raw[begin + 1], begin + 2
    elif length == 0x83:
        length, begin = raw[begin] << 16 | raw[begin + 1] << 8 | raw[begin + 2], begin + 3
    elif length > 0x7F:
        raise ValueError
    end = begin + length
    if raw[at] != identifier or end > stop or (is_last and end != stop):
        raise ValueError
    if identifier & 0x1F == 0x1F or not identifier & 0xDF:
        raise ValueError
    if not length and identifier in {INTEGER, OBJECT_IDENTIFIER}:
        raise ValueError
    return begin, end


def write_length(length: int) -> bytes:
    """The shortest length octets."""
    if length < 0x80:
        return bytes((length,))
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((0x80 | len(octets),)) + octets


@lru_cache(maxsize=512)
def read_oid(content: bytes) -> str:
    """An OBJECT IDENTIFIER in dotted form, from its content (X.690 section 8.19).

    Raises:
        MalformedMessage: it is none.
    """
    if not content or content[-1] & 0x80 or len(content) > 64:
        raise MalformedMessage("an object identifier is malformed")
    arcs: list[int] = []
    arc = 0
    for octet in content:
        arc = arc << 7 | octet & 0x7F
        if octet < 0x80:
            arcs.append(arc)
            arc = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(str(number) for number in (first, arcs[0] - 40 * first, *arcs[1:]))


def write_oid(dotted: str) -> bytes:
    """The content of an OBJECT IDENTIFIER from its dotted form, which must be well formed."""
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    return b"".join(write_arc(arc) for arc in (40 * first + second, *rest))


def write_arc(arc: int) -> bytes:
    """A number in groups of seven bits, as object identifiers and long tags have them."""
    octets = [arc & 0x7F]
    while arc := arc >> 7:
        octets.append(0x80 | arc & 0x7F)
    return bytes(reversed(octets))
