"""The entity of a message in clear, as it is to be encrypted (RFC 8551 section 3.1).

Its fields that describe the body, and the body, with line ends as CRLF: what a
signature inside was made over, whatever line ends the store keeps. Everything
else of the header stays outside.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import BinaryIO

from sectool.errors import UnsupportedMessage
from sectool.message import Content
from sectool.mime.header import CONTENT_FIELDS
from sectool.mime.lines import CanonicalLines
from sectool.mime.ranges import ForwardReader
from sectool.mime.transfer_encoding import stream_of
from sectool.smime.parts import WholeEntity, root_entity
from sectool.smime.writing.put_plaintext import binary_bodies

_DEFAULT_TYPE = b"Content-Type: text/plain\r\n"
"""Said outright where the message leaves it to RFC 2045 section 5.2: without any
field, nothing would tell the plaintext from garbage when it is opened."""


class ClearEntity:
    """A ``Content`` made of a message in clear; read from it each time.

    Args:
        content: the stored message.

    Raises:
        MalformedMessage: the message has no header.
        UnsupportedMessage: it has bytes among which line ends must not be changed.
        LimitExceeded: it has more parts or longer headers than is looked at.
    """

    def __init__(self, content: Content) -> None:
        self._content = content
        self.place: WholeEntity = root_entity(content)
        """Where it lies, for ``write_spliced``."""
        if binary_bodies(content):
            raise UnsupportedMessage("a part of it is in binary encoding and would be altered")
        sha256, size = hashlib.sha256(), 0
        with content.open() as stream:
            for block in self._blocks(stream):
                if block.count(b"\r") != block.count(b"\r\n"):
                    raise UnsupportedMessage("it has a carriage return that ends no line")
                sha256.update(block)
                size += len(block)
        self.size = size
        self.digest = sha256.hexdigest()

    def open(self) -> BinaryIO:
        """A new stream from the first byte; the caller closes it."""
        stream = self._content.open()
        return stream_of(stream, self._blocks(stream))

    def _blocks(self, stream: BinaryIO) -> Iterator[bytes]:
        lines = CanonicalLines()
        yield from self._header()
        reader = ForwardReader(stream)
        reader.pass_to(self.place.body_start)
        for block in reader.blocks_to(self.place.body_end):
            yield lines.update(block)
        yield lines.finish()

    def _header(self) -> Iterator[bytes]:
        fields = [field for field in self.place.header.fields if field.name in CONTENT_FIELDS]
        if all(field.name != b"content-type" for field in fields):
            yield _DEFAULT_TYPE
        for field in fields:
            lines = CanonicalLines()
            raw = lines.update(field.raw) + lines.finish()
            yield raw if raw.endswith(b"\r\n") else raw + b"\r\n"
        yield b"\r\n"
