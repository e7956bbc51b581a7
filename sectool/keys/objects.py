"""One key, certificate or bag of them, told by its structure and added to what a file holds.

What a file is called, and what its PEM lines say, are hints only: a ``.pem``
may be DER, and a block called CERTIFICATE a bag.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import partial

from sectool.asn1 import tags
from sectool.asn1.tree import Node
from sectool.errors import SectoolError
from sectool.keys import ber, limits
from sectool.keys.contents import FileContents
from sectool.keys.encryption import mac_fits
from sectool.keys.problems import (
    KeyFileError,
    ProblemKind,
    damaged,
    over_limit,
    passphrase_needed,
    unsupported,
)

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


# --- PKCS#12 --------------------------------------------------------------------------------------
# RFC 7292, RFC 9579. A key history is often one file with many keys, and the usual
# loaders give the first alone. Keys and certificates are matched later, by public key.


_DATA = "1.2.840.113549.1.7.1"
_ENCRYPTED_DATA = "1.2.840.113549.1.7.6"
_BAG = "1.2.840.113549.1.12.10.1."
_KEY_BAG = _BAG + "1"
_SHROUDED_KEY_BAG = _BAG + "2"
_CERTIFICATE_BAG = _BAG + "3"
_SAFE_CONTENTS_BAG = _BAG + "6"
_LOCAL_KEY_IDENTIFIER = "1.2.840.113549.1.9.21"
_X509_CERTIFICATE = "1.2.840.113549.1.9.22.1"


def read_pkcs12(raw: bytes, contents: FileContents) -> None:
    """Adds all that the file holds to ``contents``.

    Args:
        raw: the PFX in BER or DER.
        contents: brings the passphrases; a bag that fails becomes a problem there.

    Raises:
        KeyFileError: the file as a whole is damaged, shut or over a limit.
    """
    parts = ber.read(raw).expect(tags.SEQUENCE).children()
    if len(parts) < 2 or parts[0].integer() != 3:
        raise damaged("this is no PKCS#12 file of version 3")
    content_type, content = _content_info(parts[1])
    if content_type != _DATA:
        raise unsupported("a PKCS#12 file that is protected by a public key")
    authenticated_safe = content.octets()
    safes = ber.read(authenticated_safe)
    fault = _mac_fault(parts[2], authenticated_safe, contents) if len(parts) > 2 else None
    if fault is None:
        _add_safes(safes, contents)
    else:
        _add_unchecked(safes, contents, fault)
    contents.refuse_contradictions()


def _add_safes(safes: Node, contents: FileContents) -> None:
    for safe in safes.expect(tags.SEQUENCE).children():
        if contents.is_decided:
            break
        contents.attempt(partial(_add_safe, safe, contents))


def _content_info(node: Node) -> tuple[str, Node]:
    """Type and value of a ContentInfo."""
    parts = node.pair("a part of the PKCS#12 file is empty")
    return parts[0].object_identifier(), parts[1].expect(tags.context(0)).only_child()


def _mac_fault(mac_data: Node, content: bytes, contents: FileContents) -> KeyFileError | None:
    """Finds the passphrase of the file; None where one fits its MAC."""
    try:
        for passphrase in contents.passphrases:
            if mac_fits(mac_data, content, passphrase):
                contents.passphrases.worked(passphrase)
                return None
    except KeyFileError as error:
        return error
    return passphrase_needed("the PKCS#12 file", given=contents.passphrases.given)


def _add_unchecked(safes: Node, contents: FileContents, fault: KeyFileError) -> None:
    """What a file holds whose MAC does not verify, where a person asked for it.

    A passphrase that opens a key is right, so the MAC is wrong; else the passphrase is.

    Raises:
        KeyFileError: the file stays shut, with the reason.
    """
    trial = contents if not contents.checks_mac else contents.trial()
    _add_safes(safes, trial)
    if not (trial.private_keys or (trial.certificates and trial is contents)):
        shut = [each for each in trial.problems if each.kind is ProblemKind.PASSPHRASE]
        raise fault if fault.kind is ProblemKind.PASSPHRASE or not shut else shut[0]
    if fault.kind is ProblemKind.PASSPHRASE:
        reason = "the MAC of the PKCS#12 file does not verify, though its keys open"
    else:
        reason = f"the MAC of the PKCS#12 file cannot be checked: {fault.message}"
    if trial is contents:
        reason = f"{reason}; it was read unchecked, as --no-mac-check asks"
        contents.problems.append(
            KeyFileError(reason, kind=ProblemKind.UNCHECKED, withholds_key=False)
        )
        return
    hint = "it was altered, or an odd program wrote it; --no-mac-check reads it all the same"
    kind = ProblemKind.DAMAGED if fault.kind is ProblemKind.PASSPHRASE else fault.kind
    raise KeyFileError(reason, kind=kind, hint=hint)


def _add_safe(safe: Node, contents: FileContents) -> None:
    content_type, content = _content_info(safe)
    if content_type == _DATA:
        plaintext = content.octets()
    elif content_type == _ENCRYPTED_DATA:
        plaintext = _open_safe(content, contents)
    else:
        raise unsupported("a part of a PKCS#12 file that is protected by a public key")
    _add_bags(ber.read(plaintext), contents, nesting=0)


def _open_safe(encrypted_data: Node, contents: FileContents) -> bytes:
    """SafeContents out of EncryptedData (RFC 5652 section 8)."""
    parts = encrypted_data.expect(tags.SEQUENCE).children()
    info = parts[1].expect(tags.SEQUENCE).children() if len(parts) > 1 else []
    if len(info) != 3:
        raise damaged("an encrypted part of the PKCS#12 file is empty")
    ciphertext = info[2].expect(tags.context(0)).octets()
    return contents.open(info[1], ciphertext, _is_safe_contents, "a part of the PKCS#12 file")


def _is_safe_contents(plaintext: bytes) -> bool:
    try:
        bags = ber.read_exactly(plaintext).expect(tags.SEQUENCE).children()
        return all(bag.tag == tags.SEQUENCE for bag in bags)
    except SectoolError:
        return False


def _add_bags(safe_contents: Node, contents: FileContents, *, nesting: int) -> None:
    if nesting > limits.MAXIMUM_NESTED_BAGS:
        raise over_limit("the bags of the PKCS#12 file are nested too deep")
    for bag in safe_contents.expect(tags.SEQUENCE).children():
        if contents.is_decided:
            break
        with contents.linked(_local_key_identifier(bag)):
            contents.attempt(partial(_add_safe_bag, bag, contents, nesting))


def _local_key_identifier(bag: Node) -> bytes:
    """What the bags of a key and its certificate have in common (RFC 7292 section 4.2)."""
    try:
        for attribute in bag.children()[2].children():
            name, values = attribute.children()
            if name.object_identifier() == _LOCAL_KEY_IDENTIFIER:
                return values.only_child().octets()
    except (SectoolError, ValueError, IndexError):
        pass
    return b""


def _add_safe_bag(bag: Node, contents: FileContents, nesting: int) -> None:
    parts = bag.expect(tags.SEQUENCE).children()
    if len(parts) < 2:
        raise damaged("a bag of the PKCS#12 file is empty")
    kind, value = parts[0].object_identifier(), parts[1].expect(tags.context(0)).only_child()
    if kind == _KEY_BAG:
        contents.add_private_key(value.encoding)
    elif kind == _SHROUDED_KEY_BAG:
        contents.add_encrypted_key(value)
    elif kind == _CERTIFICATE_BAG:
        _add_certificate(value, contents)
    elif kind == _SAFE_CONTENTS_BAG:
        _add_bags(value, contents, nesting=nesting + 1)
    # Revocation lists and secrets of other programs are no part of a key history.


def _add_certificate(bag: Node, contents: FileContents) -> None:
    parts = bag.pair("a certificate bag of the PKCS#12 file is empty")
    if parts[0].object_identifier() == _X509_CERTIFICATE:
        contents.add_certificate(parts[1].expect(tags.context(0)).only_child().octets())
