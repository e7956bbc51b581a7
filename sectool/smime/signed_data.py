"""Looks into a SignedData for the entity that was signed (RFC 5652 section 5).

It verifies nothing; it is there so that an encrypted layer under an opaque
signature is seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from sectool.cms import ber
from sectool.cms.ber import BERReader

_WHAT = "the signed data"


def is_certificates_only(stream: BinaryIO) -> bool:
    """Whether a SignedData names no digest algorithm, as one without signers does.

    Raises:
        MalformedMessage: it is not a SignedData.
    """
    reader = BERReader(stream)
    _enter(reader)
    header = reader.take("digestAlgorithms")
    if header.length is None:
        reader.enter_header(header, "digestAlgorithms")
        return reader.peek() is None
    return header.length == 0


def _enter(reader: BERReader) -> None:
    reader.enter(ber.SEQUENCE, "ContentInfo")
    reader.read_oid("contentType")
    reader.enter(ber.context(0), _WHAT)
    _enter_bare(reader)


def _enter_bare(reader: BERReader) -> None:
    reader.enter(ber.SEQUENCE, _WHAT)
    reader.read_integer("version")


def signed_blocks(stream: BinaryIO) -> Iterator[bytes]:
    """The signed content in blocks, and then the rest of the structure, walked to its end.

    Nothing is given where the signature is detached.

    Raises:
        MalformedMessage: it is not a whole SignedData.
    """
    reader = BERReader(stream)
    _enter(reader)
    yield from _signed_blocks(reader)
    for what in (_WHAT, "ContentInfo"):
        reader.leave(what)


def bare_signed_blocks(stream: BinaryIO) -> Iterator[bytes]:
    """As ``signed_blocks``, of a SignedData that stands without its ContentInfo.

    Raises:
        MalformedMessage: it is not a whole SignedData.
    """
    reader = BERReader(stream)
    _enter_bare(reader)
    yield from _signed_blocks(reader)


def _signed_blocks(reader: BERReader) -> Iterator[bytes]:
    reader.skip("digestAlgorithms")
    reader.enter(ber.SEQUENCE, "encapContentInfo")
    reader.read_oid("eContentType")
    if reader.at(ber.context(0)):
        reader.enter(ber.context(0), "eContent")
        if reader.at(ber.OCTET_STRING):
            yield from reader.octet_string_blocks(reader.take("eContent"), "eContent")
        else:
            # PKCS #7 allowed any type here; what it holds is no mail.
            reader.skip("eContent")
        reader.leave("eContent")
    reader.leave("encapContentInfo")
    while reader.peek() is not None:
        reader.skip(_WHAT)
    reader.leave(_WHAT)
