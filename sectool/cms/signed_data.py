"""Reads a SignedData (RFC 5652 section 5), streaming; verifies nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from sectool.asn1 import tags
from sectool.cms import oids
from sectool.cms.identifiers import (
    AlgorithmIdentifier,
    read_algorithm_identifier,
    read_recipient_identifier,
    require_identifier,
)
from sectool.cms.limits import Limits
from sectool.cms.reader import CMSReader
from sectool.cms.seams import RecipientIdentifier, Source
from sectool.errors import LimitExceeded, MalformedMessage

_WHAT = "the signed data"


class Hasher(Protocol):
    """A hash function at work, as ``hashlib`` has them."""

    def update(self, data: bytes, /) -> None: ...


@dataclass(frozen=True, slots=True)
class SignerInfo:
    """RFC 5652 section 5.3."""

    identifier: RecipientIdentifier
    digest_algorithm: AlgorithmIdentifier
    signed_attributes: bytes
    """As encoded, under its own tag; empty where absent."""
    signature_algorithm: AlgorithmIdentifier
    signature: bytes


@dataclass(slots=True)
class SignedData:
    """All of a SignedData but its content."""

    content_type: str = ""
    """Of what was signed, dotted."""
    is_detached: bool = True
    certificates: tuple[bytes, ...] = ()
    signer_infos: tuple[SignerInfo, ...] = ()


def read_signed_data(source: Source, limits: Limits, hashers: Mapping[str, Hasher]) -> SignedData:
    """Walks a whole SignedData once.

    Args:
        source: read to the end of the structure; with its ContentInfo or without.
        limits: bounds on count and size.
        hashers: fed with the content, where it is inside.

    Raises:
        MalformedMessage: it is not a whole SignedData.
        LimitExceeded: a bound was reached.
    """
    signed = SignedData()
    with source.open() as stream:
        reader = CMSReader(stream, limits)
        around = _enter(reader)
        reader.read_integer("version")
        reader.skip("digestAlgorithms")
        _read_content(reader, signed, hashers)
        if reader.at(tags.context(0)):
            signed.certificates = tuple(_read_certificates(reader))
        if reader.at(tags.context(1)):
            reader.skip("crls")
        signed.signer_infos = tuple(_read_signer_infos(reader))
        for what in around:
            reader.leave(what)
    return signed


def _enter(reader: CMSReader) -> tuple[str, ...]:
    """Enters the structure; what has to be left again.

    As the content of an envelope it stands without its ContentInfo (RFC 5652
    section 6.1), which not all producers leave out, and in PKCS #7 also without its own
    tag and length (RFC 2315 section 10.3).
    """
    if reader.at(tags.INTEGER):
        return ()
    reader.enter(tags.SEQUENCE, _WHAT)
    if reader.at(tags.INTEGER):
        return (_WHAT,)
    if reader.read_oid("contentType") != oids.SIGNED_DATA:
        raise MalformedMessage("the content is not SignedData")
    reader.enter(tags.context(0), _WHAT)
    reader.enter(tags.SEQUENCE, _WHAT)
    return (_WHAT, _WHAT, "ContentInfo")


def _read_content(reader: CMSReader, signed: SignedData, hashers: Mapping[str, Hasher]) -> None:
    reader.enter(tags.SEQUENCE, "encapContentInfo")
    signed.content_type = reader.read_oid("eContentType")
    if reader.at(tags.context(0)):
        signed.is_detached = False
        reader.enter(tags.context(0), "eContent")
        header = reader.take_tag(tags.OCTET_STRING, "eContent")
        for block in reader.octet_string_blocks(header, "eContent"):
            for hasher in hashers.values():
                hasher.update(block)
        reader.leave("eContent")
    reader.leave("encapContentInfo")


def _read_certificates(reader: CMSReader) -> Iterator[bytes]:
    what = "certificates"
    limits = reader.limits
    reader.enter(tags.context(0), what)
    count = 0
    while (header := reader.peek()) is not None:
        count += 1
        if count > limits.certificates:
            raise LimitExceeded(f"a signature brings more than {limits.certificates} certificates")
        if header.tag == tags.SEQUENCE:
            yield reader.read_raw("a certificate", limits.certificate_size)
        else:
            reader.skip("a certificate of another kind")
    reader.leave(what)


def _read_signer_infos(reader: CMSReader) -> Iterator[SignerInfo]:
    what = "signerInfos"
    reader.enter(tags.SET, what)
    count = 0
    while reader.peek() is not None:
        count += 1
        if count > reader.limits.signers:
            raise LimitExceeded(f"more than {reader.limits.signers} signed it")
        yield _read_signer_info(reader)
    reader.leave(what)


def _read_signer_info(reader: CMSReader) -> SignerInfo:
    """SignerInfo (RFC 5652 section 5.3)."""
    what = "a signerInfo"
    reader.enter(tags.SEQUENCE, what)
    reader.read_integer("version")
    identifier = require_identifier(read_recipient_identifier(reader), "a signer")
    digest_algorithm = read_algorithm_identifier(reader, "digestAlgorithm")
    attributes = b""
    if reader.at(tags.context(0)):
        attributes = reader.read_raw("signedAttrs", reader.limits.attributes_size)
    signature_algorithm = read_algorithm_identifier(reader, "signatureAlgorithm")
    signature = reader.read_octet_string("signature", reader.limits.encrypted_key_size)
    if reader.at(tags.context(1)):
        reader.skip("unsignedAttrs")
    reader.leave(what)
    return SignerInfo(identifier, digest_algorithm, attributes, signature_algorithm, signature)
