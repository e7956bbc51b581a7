"""Looks for S/MIME in TNEF, the winmail.dat of Outlook and Exchange ([MS-OXTNEF]).

It is recognised and not taken: what a TNEF holds is no MIME entity. Damage costs only the
attribute it is in, and what it costs is as unreadable as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from sectool import cms
from sectool.errors import LimitExceeded, MalformedMessage
from sectool.mime.limits import Limits

_SIGNATURE = b"\x78\x9f\x3e\x22"
_LEVELS = (b"\1", b"\2")
"""Of the message, of an attachment."""
_KEY_SIZE = 2
_CHECKSUM_SIZE = 2

_MESSAGE_CLASS = 0x00078008
_ATTACHMENT_DATA = 0x0006800F
_PROPERTIES = frozenset({0x00069003, 0x00069005})
"""MAPI properties of the message, and of an attachment."""

_PROPERTY_OF_CLASS = 0x001A
_PROPERTY_OF_DATA = 0x3701
_FIRST_NAMED = 0x8000
_MANY = 0x1000
_TYPE = 0x0FFF
_FIXED_SIZES = {2: 2, 3: 4, 4: 4, 5: 8, 6: 8, 7: 8, 0x0A: 4, 0x0B: 2, 0x14: 8, 0x40: 8, 0x48: 16}
_OBJECT, _STRING_8, _STRING, _BINARY = 0x0D, 0x1E, 0x1F, 0x102
_VARIABLE = frozenset({0, _OBJECT, _STRING_8, _STRING, _BINARY})
_EMBEDDED_MESSAGE = bytes.fromhex("0703020000000000c000000000000046")
"""IID_IMessage: what follows in the object is TNEF again."""

_LONGEST_CLASS = 512
_HEAD_SIZE = 4096
_UNKNOWN_SIZE = 1 << 62
_BLOCK = 256 * 1024

_ENCRYPTED = frozenset(
    {
        cms.ENVELOPED_DATA,
        cms.AUTH_ENVELOPED_DATA,
        cms.ENCRYPTED_DATA,
        cms.SIGNED_AND_ENVELOPED_DATA,
        cms.COMPRESSED_DATA,
    }
)


def is_tnef(head: bytes) -> bool:
    """Whether a body is TNEF, by its first bytes."""
    return head.startswith(_SIGNATURE)


def find_smime(stream: BinaryIO, limits: Limits) -> str:
    """What S/MIME a TNEF holds, in words; empty: none that could be found.

    Args:
        stream: at the first byte of the TNEF.
        limits: bounds on hostile input.

    Raises:
        LimitExceeded: it has too many attributes and properties, or messages too deep inside.
    """
    try:
        return next(_Search(limits).walk(_Section(stream, _UNKNOWN_SIZE), 0), "")
    except LimitExceeded:
        raise
    except MalformedMessage:
        return ""


class _Section:
    """Bytes of a stream up to a length; whoever opens a part of it finishes that first."""

    def __init__(self, stream: BinaryIO, left: int) -> None:
        self._stream = stream
        self.left = left

    def read(self, count: int) -> bytes:
        """That many bytes."""
        raw = self.read_up_to(count)
        if len(raw) != count:
            raise MalformedMessage("the TNEF ends too early")
        return raw

    def read_up_to(self, count: int) -> bytes:
        """As many bytes as are there."""
        raw = self._stream.read(min(count, self.left))
        self.left -= len(raw)
        return raw

    def number(self, size: int) -> int:
        """An unsigned number of so many bytes."""
        return int.from_bytes(self.read(size), "little")

    def skip(self, count: int) -> None:
        """Passes that many bytes."""
        while count > 0:
            count -= len(self.read(min(count, _BLOCK)))

    def part(self, count: int) -> _Section:
        """The next bytes as a section of their own."""
        if count > self.left:
            raise MalformedMessage("a part of the TNEF is longer than what it stands in")
        self.left -= count
        return _Section(self._stream, count)

    def finish(self) -> None:
        """Passes what is left."""
        self.skip(self.left)


class _Search:
    """One walk through a TNEF and the messages embedded in it."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._elements = 0

    def walk(self, section: _Section, depth: int) -> Iterator[str]:
        """Names what it finds, in order."""
        if depth > self._limits.tnef_depth:
            raise LimitExceeded("messages inside a TNEF are nested too deep")
        if section.read(len(_SIGNATURE)) != _SIGNATURE:
            raise MalformedMessage("a message inside a TNEF is none")
        section.skip(_KEY_SIZE)
        while section.read_up_to(1) in _LEVELS:
            self._count()
            attribute, size = section.number(4), section.number(4)
            part = section.part(size)
            try:
                yield from self._look(attribute, part, depth)
            except LimitExceeded:
                raise
            except MalformedMessage:
                pass
            part.finish()
            section.skip(_CHECKSUM_SIZE)

    def _count(self) -> None:
        self._elements += 1
        if self._elements > self._limits.tnef_elements:
            raise LimitExceeded("a TNEF has too many attributes and properties")

    def _look(self, attribute: int, part: _Section, depth: int) -> Iterator[str]:
        if attribute == _MESSAGE_CLASS:
            yield from _of_class(part.read_up_to(_LONGEST_CLASS).decode("latin-1"))
        elif attribute == _ATTACHMENT_DATA:
            yield from _of_data(part)
        elif attribute in _PROPERTIES:
            for _ in range(part.number(4)):
                yield from self._look_at_property(part, depth)

    def _look_at_property(self, part: _Section, depth: int) -> Iterator[str]:
        self._count()
        kind, name = part.number(2), part.number(2)
        if name >= _FIRST_NAMED:
            _skip_name(part)
        value_type = kind & _TYPE
        is_variable = value_type in _VARIABLE
        values = part.number(4) if is_variable or kind & _MANY else 1
        if not is_variable:
            size = _FIXED_SIZES.get(value_type)
            if size is None:
                raise MalformedMessage("a property of a TNEF is of an unknown type")
            part.skip(_padded(values * size))
            return
        for _ in range(values):
            self._count()
            size = part.number(4)
            value = part.part(size)
            yield from self._look_at_value(name, value_type, value, depth)
            value.finish()
            part.read_up_to(_padded(size) - size)

    def _look_at_value(
        self, name: int, value_type: int, value: _Section, depth: int
    ) -> Iterator[str]:
        if name == _PROPERTY_OF_CLASS:
            encoding = "utf-16-le" if value_type == _STRING else "latin-1"
            yield from _of_class(value.read_up_to(_LONGEST_CLASS).decode(encoding, "replace"))
        elif name == _PROPERTY_OF_DATA and value_type == _BINARY:
            yield from _of_data(value)
        elif name == _PROPERTY_OF_DATA and value_type == _OBJECT and _is_message(value):
            yield from self.walk(value, depth + 1)


def _padded(size: int) -> int:
    return size + -size % 4


def _skip_name(part: _Section) -> None:
    """Passes the GUID of a named property, and its number or its name."""
    part.skip(16)
    is_number = part.number(4) == 0
    part.skip(4 if is_number else _padded(part.number(4)))


def _is_message(value: _Section) -> bool:
    """Whether an object is an embedded message, and not one of OLE; passes its identifier."""
    return value.read(len(_EMBEDDED_MESSAGE)) == _EMBEDDED_MESSAGE


def _of_class(text: str) -> Iterator[str]:
    """Encrypted and opaque mail by its message class ([MS-OXOSMIME] section 2.1.3.1).

    Mail that is signed in clear has a class of its own, and so has what Exchange encrypted
    before there was S/MIME.
    """
    message_class = text.partition("\0")[0]
    words = message_class.lower().split(".")
    is_smime = words[0] == "ipm" and "smime" in words and "multipartsigned" not in words
    if is_smime or words == ["ipm", "note", "secure"]:
        yield f"message class {''.join(filter(str.isprintable, message_class))[:60]}"


def _of_data(part: _Section) -> Iterator[str]:
    """An attachment by its content."""
    try:
        content_type = cms.identify(part.read_up_to(_HEAD_SIZE))
    except MalformedMessage:
        return
    if content_type in _ENCRYPTED:
        yield f"CMS {cms.content_type_name(content_type)}"
