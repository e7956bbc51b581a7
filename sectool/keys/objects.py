"""One key, certificate or bag of them, told by its structure and added to what a file holds.

What a file is called, and what its PEM lines say, are hints only: a ``.pem``
may be DER, and a block called CERTIFICATE a bag.
"""

from __future__ import annotations

import re
from enum import StrEnum

from sectool.asn1 import tags
from sectool.asn1.tree import Node
from sectool.errors import SectoolError
from sectool.keys import ber
from sectool.keys.contents import FileContents
from sectool.keys.pkcs12 import read_pkcs12

_PFX_BEGINS = re.compile(
    rb"\x30(?:\x80|\x81.|\x82..|\x83.{3}|\x84.{4}|[\x00-\x7f])\x02\x01\x03\x30", re.DOTALL
)
_SIGNED_DATA = "1.2.840.113549.1.7.2"
_NETSCAPE_CERTIFICATES = "2.16.840.1.113730.2.5"


class ObjectKind(StrEnum):
    """What a structure turns out to be."""

    PKCS12 = "PKCS#12"
    CERTIFICATE = "certificate"
    CERTIFICATES = "bag of certificates"
    PRIVATE_KEY = "private key"
    ENCRYPTED_PRIVATE_KEY = "encrypted private key"


def recognise_object(raw: bytes) -> ObjectKind | None:
    """What this is, in BER; None for anything else. What follows it does not matter."""
    if _PFX_BEGINS.match(raw):
        return ObjectKind.PKCS12
    try:
        return _recognise(ber.read(raw))
    except SectoolError:
        return None


def _recognise(node: Node) -> ObjectKind | None:
    if node.tag != tags.SEQUENCE:
        return None
    parts = node.children()
    shape = [part.tag for part in parts]
    if shape == [tags.SEQUENCE, tags.SEQUENCE, tags.BIT_STRING]:
        return ObjectKind.CERTIFICATE if _has_certificate_fields(node) else None
    if shape == [tags.SEQUENCE, tags.OCTET_STRING]:
        return ObjectKind.ENCRYPTED_PRIVATE_KEY
    if shape == [tags.OBJECT_IDENTIFIER, tags.context(0)]:
        kinds = {_SIGNED_DATA, _NETSCAPE_CERTIFICATES}
        return ObjectKind.CERTIFICATES if parts[0].object_identifier() in kinds else None
    pkcs8 = shape[:3] == [tags.INTEGER, tags.SEQUENCE, tags.OCTET_STRING]
    rsa_or_dsa = len(shape) in {4, 6, 9, 10} and set(shape[:9]) == {tags.INTEGER}
    elliptic = shape[:2] == [tags.INTEGER, tags.OCTET_STRING]
    return ObjectKind.PRIVATE_KEY if pkcs8 or rsa_or_dsa or elliptic else None


def _has_certificate_fields(node: Node) -> bool:
    """Tells a certificate from a request or a revocation list, which have fewer fields."""
    shape = [child.tag for child in node.children()[0].children()]
    if shape[:1] == [tags.context(0)]:
        shape = shape[1:]
    return shape[:6] == [tags.INTEGER, *[tags.SEQUENCE] * 5]


def add_object(raw: bytes, kind: ObjectKind, contents: FileContents) -> None:
    """Adds what a structure of that kind holds.

    Raises:
        KeyFileError: it is damaged, shut or over a limit as a whole.
    """
    if kind is ObjectKind.PKCS12:
        read_pkcs12(raw, contents)
    elif kind is ObjectKind.CERTIFICATE:
        contents.add_certificate(raw)
    elif kind is ObjectKind.CERTIFICATES:
        _add_bag(raw, contents)
    elif not contents.wants_keys:
        return
    elif kind is ObjectKind.PRIVATE_KEY:
        contents.add_private_key(raw)
    else:
        contents.add_encrypted_key(ber.read(raw))


def _add_bag(raw: bytes, contents: FileContents) -> None:
    """SignedData that signs nothing (RFC 5652 section 5.1), as Windows exports certificates.

    Its signers, where it has any, are of no interest; nor are attribute certificates
    and other kinds beside X.509. Netscape's CertificateSequence is such a bag, too.
    """
    kind, content, *_ = ber.read(raw).children()
    parts = content.only_child().expect(tags.SEQUENCE).children()
    if kind.object_identifier() == _SIGNED_DATA:
        parts = [each for part in parts if part.tag == tags.context(0) for each in part.children()]
    for certificate in parts:
        if certificate.tag == tags.SEQUENCE:
            contents.add_certificate(certificate.der())
