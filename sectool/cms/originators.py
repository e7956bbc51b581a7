"""The public key of a sender who is named by a certificate (RFC 5652 sections 6.1 and 6.2.2).

Certificates are taken from the message itself, else from those a person has;
nothing is verified, since a wrong one only gives a secret that unwraps nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sectool.asn1 import der, tags
from sectool.cms.reader import CMSReader
from sectool.cms.seams import (
    IssuerAndSerialNumber,
    RecipientIdentifier,
    SenderKeys,
    SubjectKeyIdentifier,
)
from sectool.errors import MalformedMessage, UnsupportedMessage

_MOST_CERTIFICATES = 100
_MOST_SENDERS = 10
"""Certificates of one name that are tried: an authority is to give a serial number once."""
_EXTENSION_OID = "2.5.29.14"
"""subjectKeyIdentifier (RFC 5280 section 4.2.1.2)."""


@dataclass(frozen=True, slots=True)
class _Certificate:
    issuer_and_serial_number: IssuerAndSerialNumber
    subject_key_identifier: bytes
    """Empty: the certificate has no such extension."""
    public_key: bytes
    """Content of subjectPublicKey, whole bytes."""


def originator_public_keys(
    originator_info: bytes, identifier: RecipientIdentifier, senders: SenderKeys | None
) -> Sequence[bytes]:
    """The points or bytes of the public keys that an originator's identifier may mean.

    Args:
        originator_info: as encoded, under its tag; empty where the message has none.
        identifier: of the originator of a key agreement.
        senders: asked where the message does not hold that certificate.

    Raises:
        UnsupportedMessage: nobody holds that certificate.
        MalformedMessage: originatorInfo is damaged.
    """
    for certificate in _certificates(originator_info) if originator_info else ():
        if isinstance(identifier, SubjectKeyIdentifier):
            is_named = certificate.subject_key_identifier == identifier.value
        else:
            found = certificate.issuer_and_serial_number
            is_named = found.serial_number == identifier.serial_number and (
                der.canonical(found.issuer) == der.canonical(identifier.issuer)
            )
        if is_named:
            return [certificate.public_key]
    held = senders.find_public_keys(identifier) if senders is not None else ()
    if not held:
        raise UnsupportedMessage(
            "the sender's certificate of a key agreement is not in the message",
            hint="put the sender's certificate beside the keys that --keys names",
        )
    return held[:_MOST_SENDERS]


def _certificates(originator_info: bytes) -> Iterator[_Certificate]:
    """The X.509 certificates of an OriginatorInfo; other choices are passed over."""
    reader = CMSReader.over(originator_info)
    reader.enter(tags.context(0), "originatorInfo")
    if not reader.at(tags.context(0)):
        return
    reader.enter(tags.context(0), "the certificates of originatorInfo")
    for _ in range(_MOST_CERTIFICATES):
        if reader.peek() is None:
            return
        if reader.at(tags.SEQUENCE):
            raw = reader.read_raw("a certificate of originatorInfo", len(originator_info))
            yield _read_certificate(raw)
        else:
            reader.skip("a certificate of originatorInfo")


def _read_certificate(raw: bytes) -> _Certificate:
    """Certificate and TBSCertificate (RFC 5280 section 4.1), as far as they name a key."""
    what = "a certificate of originatorInfo"
    reader = CMSReader.over(raw)
    reader.enter(tags.SEQUENCE, what)
    reader.enter(tags.SEQUENCE, what)
    if reader.at(tags.context(0)):
        reader.skip("version")
    serial_number = reader.read_integer("serialNumber")
    reader.skip("signature")
    issuer = reader.read_raw("issuer", reader.limits.name_size)
    reader.skip("validity")
    reader.skip("subject")
    reader.enter(tags.SEQUENCE, "subjectPublicKeyInfo")
    reader.skip("the algorithm of subjectPublicKeyInfo")
    bits = reader.read_primitive(tags.BIT_STRING, "subjectPublicKey", len(raw))
    reader.leave("subjectPublicKeyInfo")
    if bits[:1] != b"\0":
        raise MalformedMessage("the public key of a certificate is not whole bytes")
    while reader.peek() is not None and not reader.at(tags.context(3)):
        reader.skip(what)
    key_identifier = _read_key_identifier(reader) if reader.peek() is not None else b""
    return _Certificate(IssuerAndSerialNumber(issuer, serial_number), key_identifier, bits[1:])


def _read_key_identifier(reader: CMSReader) -> bytes:
    """The subjectKeyIdentifier among the extensions, or nothing."""
    what = "the extensions of a certificate"
    reader.enter(tags.context(3), what)
    reader.enter(tags.SEQUENCE, what)
    while reader.peek() is not None:
        reader.enter(tags.SEQUENCE, what)
        oid = reader.read_oid(what)
        if not reader.at(tags.OCTET_STRING):
            reader.skip("critical")
        value = reader.read_octet_string(what, reader.limits.attributes_size)
        reader.leave(what)
        if oid == _EXTENSION_OID:
            limit = reader.limits.identifier_size
            return CMSReader.over(value).read_octet_string("subjectKeyIdentifier", limit)
    return b""
