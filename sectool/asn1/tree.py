"""Reads BER and DER that lies whole in memory, such as key files and parameters (X.690).

PKCS#12 files of Windows, NSS and Java use indefinite lengths and octet strings
in pieces, so DER alone will not do. Knows tags and lengths, no meanings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sectool.asn1.der import element
from sectool.asn1.octets import read_long_length, read_oid
from sectool.asn1.tags import (
    BIT_STRING,
    CONSTRUCTED,
    INTEGER,
    OBJECT_IDENTIFIER,
    OCTET_STRING,
    SEQUENCE,
)
from sectool.errors import MalformedMessage
from sectool.values import dataclass

_HIGH_TAG = 0x1F


@dataclass(frozen=True, slots=True)
class TreeReader:
    """Reads values that lie whole in memory.

    Args:
        depth: how deep they may be nested.
        elements: how many one may hold.
        damaged: makes the error for what is cut short or no BER, from its reason.
        over_limit: as ``damaged``, for what is beyond a bound.
    """

    depth: int
    elements: int
    damaged: Callable[[str], Exception]
    over_limit: Callable[[str], Exception]

    def read(self, data: bytes | memoryview, *, depth: int = 0) -> Node:
        """The first value of ``data``; what follows it is left alone.

        Args:
            data: BER or DER.
            depth: how deep ``data`` lies in a value it was taken out of.
        """
        return _read(self, memoryview(data), depth)

    def read_exactly(self, data: bytes | memoryview, *, depth: int = 0) -> Node:
        """The one value that covers ``data``."""
        node = self.read(data, depth=depth)
        if len(node.encoding) != len(data):
            raise self.damaged("something follows an ASN.1 value")
        return node


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
    reader: TreeReader

    def children(self) -> list[Node]:
        """What a constructed value holds, in order."""
        return list(self.values())

    def values(self) -> Iterator[Node]:
        """As ``children``, one after another, so that what is damaged behind them costs none."""
        if not self.constructed:
            raise self.reader.damaged("an ASN.1 value has no parts where some are expected")
        return _values(self.reader, self.content, self.depth + 1)

    def expect(self, tag: int) -> Node:
        """The node itself, if it has that tag."""
        if self.tag != tag:
            raise self.reader.damaged(
                f"an ASN.1 value has tag 0x{self.tag:02x} in place of 0x{tag:02x}"
            )
        return self

    def pair(self, fault: str) -> tuple[Node, Node]:
        """The two parts of a SEQUENCE; ``fault`` is told where there are not two."""
        parts = self.expect(SEQUENCE).children()
        if len(parts) != 2:
            raise self.reader.damaged(fault)
        return parts[0], parts[1]

    def only_child(self) -> Node:
        """The one value in an explicit tag."""
        children = self.children()
        if len(children) != 1:
            raise self.reader.damaged(
                "an explicitly tagged ASN.1 value does not hold exactly one value"
            )
        return children[0]

    def integer(self) -> int:
        """Value of an INTEGER; negative ones occur as serial numbers of old certificates."""
        if self.expect(INTEGER).constructed or not self.content:
            raise self.reader.damaged("an ASN.1 integer has no value")
        return int.from_bytes(self.content, "big", signed=True)

    def unsigned(self) -> int:
        """Value of an INTEGER that is never negative; some programs forget the zero before it."""
        if self.expect(INTEGER).constructed:
            raise self.reader.damaged("an ASN.1 integer has no value")
        return int.from_bytes(self.content, "big")

    def octets(self) -> bytes:
        """Bytes of an OCTET STRING, or of an implicit tag in its place; pieces are joined."""
        if not self.constructed:
            return bytes(self.content)
        return b"".join(piece.octets() for piece in self.children())

    def bits(self) -> bytes:
        """Bytes of a BIT STRING that ends on a whole byte."""
        if self.expect(BIT_STRING).constructed or not self.content or self.content[0]:
            raise self.reader.damaged("an ASN.1 bit string does not end on a byte")
        return bytes(self.content[1:])

    def bit_string(self) -> tuple[bytes, int]:
        """Bytes of a BIT STRING, or of an implicit tag in its place, and how many bits are unused.

        Pieces are joined; the unused bits are as they were written.
        """
        if self.constructed:
            pieces = [piece.bit_string() for piece in self.children()]
            return b"".join(octets for octets, _ in pieces), pieces[-1][1] if pieces else 0
        if not self.content or self.content[0] > 7:
            raise self.reader.damaged("an ASN.1 bit string has no value")
        return bytes(self.content[1:]), self.content[0]

    def object_identifier(self) -> str:
        """Dotted form of an OBJECT IDENTIFIER."""
        try:
            return read_oid(bytes(self.expect(OBJECT_IDENTIFIER).content))
        except MalformedMessage as error:
            raise self.reader.damaged(error.message) from None

    def der(self) -> bytes:
        """The same value with definite lengths and strings in one piece.

        The order of a SET and non-minimal integers stay as they are.
        """
        if not self.constructed:
            return element(self.tag, self.content)
        if self.tag == OCTET_STRING:
            return element(self.tag, self.octets())
        parts = b"".join(child.der() for child in self.children())
        return element(self.tag | CONSTRUCTED, parts)


def _values(reader: TreeReader, data: memoryview, depth: int) -> Iterator[Node]:
    count = 0
    while data:
        node = _read(reader, data, depth)
        count += 1
        if count > reader.elements:
            raise reader.over_limit(f"an ASN.1 value has more than {reader.elements} parts")
        yield node
        data = data[len(node.encoding) :]


def _read(reader: TreeReader, data: memoryview, depth: int) -> Node:
    if depth > reader.depth:
        raise reader.over_limit(f"ASN.1 is nested more than {reader.depth} deep")
    if len(data) < 2:
        raise reader.damaged("an ASN.1 value is cut short")
    identifier = data[0]
    if identifier & _HIGH_TAG == _HIGH_TAG:
        raise reader.damaged("an ASN.1 tag does not occur in key files")
    tag, constructed = identifier & ~CONSTRUCTED, bool(identifier & CONSTRUCTED)
    size: int | None = data[1]
    start = 2
    if size is not None and size >= 0x80:
        try:
            size, start = read_long_length(data, start, size & 0x7F)
        except MalformedMessage:
            raise reader.damaged("an ASN.1 length is cut short or too large") from None
    if size is None:
        return _read_indefinite(reader, data, depth, tag, constructed)
    end = start + size
    if end > len(data):
        raise reader.damaged("an ASN.1 value is cut short")
    return Node(tag, constructed, data[:end], data[start:end], depth, reader)


def _read_indefinite(
    reader: TreeReader, data: memoryview, depth: int, tag: int, constructed: bool
) -> Node:
    if not constructed:
        raise reader.damaged("an ASN.1 value without parts has no length")
    position = 2
    for _ in range(reader.elements + 1):
        rest = data[position:]
        if bytes(rest[:2]) == b"\0\0":
            content = data[2:position]
            return Node(tag, True, data[: position + 2], content, depth, reader)
        position += len(_read(reader, rest, depth + 1).encoding)
    raise reader.over_limit(f"an ASN.1 value has more than {reader.elements} parts")
