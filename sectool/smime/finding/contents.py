"""Opens contents that exist only decoded: of signatures, compressions, encoded multiparts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import BinaryIO

from sectool.cms.contents import decompressed_blocks, signed_blocks
from sectool.message import BytesContent, Content
from sectool.mime.entities import Entity
from sectool.mime.transfer_encoding import BLOCK, stream_of
from sectool.smime.parts import BodySource, NestedContent


def drain(opener: Callable[[], BinaryIO]) -> None:
    """Reads a content to its end, which says whether it is whole."""
    with opener() as stream:
        while stream.read(BLOCK):
            pass


def held(content: NestedContent, most: int) -> Content:
    """A content in memory, where it is not too large: its parts are then decoded once."""
    with content.open() as stream:
        raw = stream.read(most + 1)
    return BytesContent(raw) if len(raw) <= most else content


def open_multipart(body: BodySource, entity: Entity) -> BinaryIO:
    """A multipart that is encoded as a whole, with a header of its own."""
    value = entity.header.first(b"content-type") or b""
    header = b"Content-Type: " + value + b"\r\n\r\n"
    stream = body.open()
    return stream_of(stream, chain([header], iter(partial(stream.read, BLOCK), b"")))


def open_signed(body: BodySource) -> BinaryIO:
    """What a SignedData holds."""
    stream = body.open()
    return stream_of(stream, signed_blocks(stream))


def open_compressed(body: BodySource) -> BinaryIO:
    """What a CompressedData holds; what it unpacks to is counted."""
    stream = body.open()
    return stream_of(stream, decompressed_blocks(stream))
