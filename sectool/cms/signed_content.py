"""Looks into a SignedData for the entity that was signed (RFC 5652 section 5).

It verifies nothing; it is there so that an encrypted layer under an opaque
signature is seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from sectool.asn1 import tags
from sectool.cms.reader import CMSReader
from sectool.cms.seams import Source

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
