"""A bounded reader of the BER and DER that key files and certificates are made of (X.690).

PKCS#12 files of Windows, NSS and Java use indefinite lengths and octet strings
in pieces, so DER alone will not do. Knows tags and lengths, no meanings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sectool.keys.limits import MAXIMUM_DEPTH, MAXIMUM_ELEMENTS
from sectool.keys.problems import damaged, over_limit

INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
OBJECT_IDENTIFIER = 0x06
SEQUENCE = 0x10
SET = 0x11

_CONSTRUCTED = 0x20
_HIGH_TAG = 0x1F


def context(number: int) -> int:
    """The tag ``[number]`` of a choice or optional field."""
    return 0x80 | number


@dataclass(frozen=True, slots=True)
class Node:
    """One tag-length-value."""

    tag: int
    """First identifier octet without the constructed bit."""
    constructed: bool
    encoding: memoryview
    """The whole value with tag and length, and the end marker of an indefinite length."""
    content: memoryview
    depth: int

    def children(self) -> list[Node]:
        """What a constructed value holds, in order."""
        return list(self.values())

    def values(self) -> Iterator[Node]:
        """As ``children``, one after another, so that what is damaged behind them costs none."""
        if not self.constructed:
            raise damaged("an ASN.1 value has no parts where some are expected")
        return _values(self.content, self.depth + 1)

    def expect(self, tag: int) -> Node:
        """The node itself, if it has that tag."""
        if self.tag != tag:
            raise damaged(f"an ASN.1 value has tag 0x{self.tag:02x} in place of 0x{tag:02x}")
        return self

    def only_child(self) -> Node:
        """The one value in an explicit tag."""
        children = self.children()
        if len(children) != 1:
            raise damaged("an explicitly tagged ASN.1 value does not hold exactly one value")
        return children[0]

    def integer(self) -> int:
        """Value of an INTEGER; negative ones occur as serial numbers of old certificates."""
        if self.expect(INTEGER).constructed or not self.content:
            raise damaged("an ASN.1 integer has no value")
        return int.from_bytes(self.content, "big", signed=True)

    def unsigned(self) -> int:
        """Value of an INTEGER that is never negative; some programs forget the zero before it."""
        if self.expect(INTEGER).constructed:
            raise damaged("an ASN.1 integer has no value")
        return int.from_bytes(self.content, "big")

    def octets(self) -> bytes:
        """Bytes of an OCTET STRING, or of an implicit tag in its place; pieces are joined."""
        if not self.constructed:
            return bytes(self.content)
        return b"".join(piece.octets() for piece in self.children())

    def bits(self) -> bytes:
        """Bytes of a BIT STRING that ends on a whole byte."""
        if self.expect(BIT_STRING).constructed or not self.content or self.content[0]:
            raise damaged("an ASN.1 bit string does not end on a byte")
        return bytes(self.content[1:])

    def bit_string(self) -> tuple[bytes, int]:
        """Bytes of a BIT STRING, or of an implicit tag in its place, and how many bits are unused.

        Pieces are joined; the unused bits are as they were written.
        """
        if self.constructed:
            pieces = [piece.bit_string() for piece in self.children()]
            return b"".join(octets for octets, _ in pieces), pieces[-1][1] if pieces else 0
        if not self.content or self.content[0] > 7:
            raise damaged("an ASN.1 bit string has no value")
        return bytes(self.content[1:]), self.content[0]

    def object_identifier(self) -> str:
        """Dotted form of an OBJECT IDENTIFIER."""
        content = bytes(self.expect(OBJECT_IDENTIFIER).content)
        if not content or len(content) > 64 or content[-1] & 0x80:
            raise damaged("an ASN.1 object identifier is empty, cut short or too long")
        arcs, arc = [], 0
        for octet in content:
            arc = arc << 7 | octet & 0x7F
            if not octet & 0x80:
                arcs.append(arc)
                arc = 0
        first = min(arcs[0] // 40, 2)
        return ".".join(str(arc) for arc in (first, arcs[0] - 40 * first, *arcs[1:]))

    def der(self) -> bytes:
        """The same value with definite lengths and strings in one piece.

        The order of a SET and non-minimal integers stay as they are.
        """
        if not self.constructed:
            return encode(self.tag, self.content)
        if self.tag == OCTET_STRING:
            return encode(self.tag, self.octets())
        parts = b"".join(child.der() for child in self.children())
        return encode(self.tag | _CONSTRUCTED, parts)


def encode(identifier: int, content: bytes | memoryview) -> bytes:
    """One DER value; ``identifier`` is the first octet, constructed bit included."""
    size = len(content)
    if size < 0x80:
        length = bytes([size])
    else:
        octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
        length = bytes([0x80 | len(octets)]) + octets
    return bytes([identifier]) + length + bytes(content)


def encode_unsigned(number: int) -> bytes:
    """An INTEGER that is not negative."""
    return encode(INTEGER, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def encode_sequence(*parts: bytes) -> bytes:
    """A SEQUENCE of values that are encoded already."""
    return encode(SEQUENCE | _CONSTRUCTED, b"".join(parts))


def read(data: bytes | memoryview, *, depth: int = 0) -> Node:
    """The first value of ``data``; what follows it is left alone.

    Args:
        data: BER or DER.
        depth: how deep ``data`` lies in a value it was taken out of.

    Raises:
        KeyFileError: it is cut short, too deep or not BER.
    """
    return _read(memoryview(data), depth)


def read_exactly(data: bytes | memoryview, *, depth: int = 0) -> Node:
    """The one value that covers ``data``.

    Raises:
        KeyFileError: as ``read``, or something follows the value.
    """
    node = read(data, depth=depth)
    if len(node.encoding) != len(data):
        raise damaged("something follows an ASN.1 value")
    return node


def _values(data: memoryview, depth: int) -> Iterator[Node]:
    count = 0
    while data:
        node = _read(data, depth)
        count += 1
        if count > MAXIMUM_ELEMENTS:
            raise over_limit(f"an ASN.1 value has more than {MAXIMUM_ELEMENTS} parts")
        yield node
        data = data[len(node.encoding) :]


def _read(data: memoryview, depth: int) -> Node:
    if depth > MAXIMUM_DEPTH:
        raise over_limit(f"ASN.1 is nested more than {MAXIMUM_DEPTH} deep")
    if len(data) < 2:
        raise damaged("an ASN.1 value is cut short")
    identifier = data[0]
    if identifier & _HIGH_TAG == _HIGH_TAG:
        raise damaged("an ASN.1 tag does not occur in key files")
    tag, constructed = identifier & ~_CONSTRUCTED, bool(identifier & _CONSTRUCTED)
    if data[1] == 0x80:
        return _read_indefinite(data, depth, tag, constructed)
    start, size = _length(data)
    if size > len(data) - start:
        raise damaged("an ASN.1 value is cut short")
    end = start + size
    return Node(tag, constructed, data[:end], data[start:end], depth)


def _length(data: memoryview) -> tuple[int, int]:
    """Where the content starts, and its size."""
    first = data[1]
    if first < 0x80:
        return 2, first
    octets = first & 0x7F
    if octets > 8 or len(data) < 2 + octets:
        raise damaged("an ASN.1 length is cut short or too large")
    return 2 + octets, int.from_bytes(data[2 : 2 + octets], "big")


def _read_indefinite(data: memoryview, depth: int, tag: int, constructed: bool) -> Node:
    if not constructed:
        raise damaged("an ASN.1 value without parts has no length")
    position = 2
    for _ in range(MAXIMUM_ELEMENTS + 1):
        rest = data[position:]
        if bytes(rest[:2]) == b"\0\0":
            content = data[2:position]
            return Node(tag, True, data[: position + 2], content, depth)
        position += len(_read(rest, depth + 1).encoding)
    raise over_limit(f"an ASN.1 value has more than {MAXIMUM_ELEMENTS} parts")
