"""Looks into a CompressedData for what was compressed (RFC 3274).

Nothing is taken out of it; it is there so that an encrypted layer under a
compression is seen. What it unpacks is bounded, since zlib makes a thousand bytes of one.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO

from sectool import cms
from sectool.asn1 import tags
from sectool.budget import Work, current
from sectool.cms.identifiers import read_algorithm_identifier
from sectool.cms.reader import CMSReader
from sectool.errors import MalformedMessage, UnsupportedMessage

_WHAT = "the compressed data"
_ZLIB = "1.2.840.113549.1.9.16.3.8"
_BLOCK = 256 * 1024


def decompressed_blocks(stream: BinaryIO) -> Iterator[bytes]:
    """The compressed content in blocks, and then the rest of the structure, walked to its end.

    Raises:
        MalformedMessage: it is not a whole CompressedData.
        UnsupportedMessage: it is compressed by another algorithm, or holds no MIME entity.
        BudgetExceeded: too much was decompressed for the message.
    """
    reader = CMSReader(stream)
    reader.enter(tags.SEQUENCE, "ContentInfo")
    reader.read_oid("contentType")
    reader.enter(tags.context(0), _WHAT)
    yield from _decompressed_blocks(reader)
    for what in (_WHAT, "ContentInfo"):
        reader.leave(what)


def bare_decompressed_blocks(stream: BinaryIO) -> Iterator[bytes]:
    """As ``decompressed_blocks``, of a CompressedData that stands without its ContentInfo."""
    yield from _decompressed_blocks(CMSReader(stream))


def _decompressed_blocks(reader: CMSReader) -> Iterator[bytes]:
    reader.enter(tags.SEQUENCE, _WHAT)
    reader.read_integer("version")
    algorithm = read_algorithm_identifier(reader, "compressionAlgorithm")
    reader.enter(tags.SEQUENCE, "encapContentInfo")
    content_type = reader.read_oid("eContentType")
    if algorithm.oid != _ZLIB:
        raise UnsupportedMessage(f"compression {algorithm.oid} is not supported")
    if content_type != cms.ID_DATA:
        name = cms.content_type_name(content_type)
        raise UnsupportedMessage(f"CMS {name} inside a compression is not supported")
    if reader.at(tags.context(0)):
        reader.enter(tags.context(0), "eContent")
        header = reader.take_tag(tags.OCTET_STRING, "eContent")
        yield from _inflate(reader.octet_string_blocks(header, "eContent"))
        reader.leave("eContent")
    for what in ("encapContentInfo", _WHAT):
        reader.leave(what)


def _inflate(blocks: Iterator[bytes]) -> Iterator[bytes]:
    decompressor = zlib.decompressobj()
    for block in blocks:
        rest = block
        while rest and not decompressor.eof:
            try:
                content = decompressor.decompress(rest, _BLOCK)
            except zlib.error:
                raise MalformedMessage("the compressed content is damaged") from None
            current().spend(Work.DECOMPRESSION, len(content))
            yield content
            rest = decompressor.unconsumed_tail
    if not decompressor.eof:
        raise MalformedMessage("the compressed content ends too early")
