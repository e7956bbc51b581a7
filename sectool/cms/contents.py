"""Looks into a SignedData for the entity that was signed, and into a CompressedData.

It verifies nothing (RFC 5652 section 5), and nothing is taken out; it is there so that an
encrypted layer under an opaque signature or a compression is seen.
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
from sectool.cms.seams import Source
from sectool.errors import MalformedMessage, UnsupportedMessage

_WHAT = "the signed data"


def is_certificates_only(stream: BinaryIO) -> bool:
    """Whether a SignedData names no digest algorithm, as one without signers does.

    Raises:
        MalformedMessage: it is not a SignedData.
    """
    reader = CMSReader(stream)
    _enter(reader)
    header = reader.take("digestAlgorithms")
    if header.length is None:
        reader.enter_header(header, "digestAlgorithms")
        return reader.peek() is None
    return header.length == 0


def has_more_behind(source: Source) -> bool:
    """Whether more than a line end follows a whole element.

    Raises:
        MalformedMessage: it is not whole.
    """
    with source.open() as stream:
        reader = CMSReader(stream)
        reader.skip(_WHAT)
        return reader.count_trailing() > len(b"\r\n")


def _enter(reader: CMSReader) -> tuple[str, ...]:
    """Enters the structure, with its ContentInfo or without; what has to be left again."""
    around: list[str] = []
    if reader.at(tags.SEQUENCE):
        reader.enter(tags.SEQUENCE, _WHAT)
        around.append(_WHAT)
    if not reader.at(tags.INTEGER):
        reader.read_oid("contentType")
        reader.enter(tags.context(0), _WHAT)
        reader.enter(tags.SEQUENCE, _WHAT)
        around += [_WHAT, "ContentInfo"]
    reader.read_integer("version")
    return tuple(around)


def signed_blocks(stream: BinaryIO) -> Iterator[bytes]:
    """The signed content in blocks, and then the rest of the structure, walked to its end.

    Nothing is given where the signature is detached. Within an envelope it may
    stand without its ContentInfo (RFC 5652 section 6.1), and without its own tag and
    length (RFC 2315 section 10.3).

    Raises:
        MalformedMessage: it is not a whole SignedData.
    """
    reader = CMSReader(stream)
    around = _enter(reader)
    reader.skip("digestAlgorithms")
    reader.enter(tags.SEQUENCE, "encapContentInfo")
    reader.read_oid("eContentType")
    if reader.at(tags.context(0)):
        reader.enter(tags.context(0), "eContent")
        if reader.at(tags.OCTET_STRING):
            yield from reader.octet_string_blocks(reader.take("eContent"), "eContent")
        else:
            # PKCS #7 allowed any type here; what it holds is no mail.
            reader.skip("eContent")
        reader.leave("eContent")
    reader.leave("encapContentInfo")
    if not around:
        return  # nothing says where it ends
    while reader.peek() is not None:
        reader.skip(_WHAT)
    for what in around:
        reader.leave(what)


# --- CompressedData -------------------------------------------------------------------------------
# RFC 3274. What it unpacks is bounded, since zlib makes a thousand bytes of one.


_COMPRESSED = "the compressed data"
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
    reader.enter(tags.context(0), _COMPRESSED)
    yield from _decompressed_blocks(reader)
    for what in (_COMPRESSED, "ContentInfo"):
        reader.leave(what)


def bare_decompressed_blocks(stream: BinaryIO) -> Iterator[bytes]:
    """As ``decompressed_blocks``, of a CompressedData that stands without its ContentInfo."""
    yield from _decompressed_blocks(CMSReader(stream))


def _decompressed_blocks(reader: CMSReader) -> Iterator[bytes]:
    reader.enter(tags.SEQUENCE, _COMPRESSED)
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
    for what in ("encapContentInfo", _COMPRESSED):
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
