"""Reads every key and certificate of a PKCS#12 file (RFC 7292, RFC 9579).

A key history is often one file with many keys, and the usual loaders give the
first alone. Keys and certificates are matched later, by public key.
"""

from __future__ import annotations

from functools import partial

from sectool.errors import SectoolError
from sectool.keys import ber, limits
from sectool.keys.contents import FileContents
from sectool.keys.encryption import mac_fits
from sectool.keys.problems import damaged, over_limit, passphrase_needed, unsupported

_DATA = "1.2.840.113549.1.7.1"
_ENCRYPTED_DATA = "1.2.840.113549.1.7.6"
_BAG = "1.2.840.113549.1.12.10.1."
_KEY_BAG = _BAG + "1"
_SHROUDED_KEY_BAG = _BAG + "2"
_CERTIFICATE_BAG = _BAG + "3"
_SAFE_CONTENTS_BAG = _BAG + "6"
_X509_CERTIFICATE = "1.2.840.113549.1.9.22.1"


def read_pkcs12(raw: bytes, contents: FileContents) -> None:
    """Adds all that the file holds to ``contents``.

    Args:
        raw: the PFX in BER or DER.
        contents: brings the passphrases; a bag that fails becomes a problem there.

    Raises:
        KeyFileError: the file as a whole is damaged, shut or over a limit.
    """
    parts = ber.read(raw).expect(ber.SEQUENCE).children()
    if len(parts) < 2 or parts[0].integer() != 3:
        raise damaged("this is no PKCS#12 file of version 3")
    content_type, content = _content_info(parts[1])
    if content_type != _DATA:
        raise unsupported("a PKCS#12 file that is protected by a public key")
    authenticated_safe = content.octets()
    if len(parts) > 2:
        _check_mac(parts[2], authenticated_safe, contents)
    for safe in ber.read(authenticated_safe).expect(ber.SEQUENCE).children():
        contents.attempt(partial(_add_safe, safe, contents))


def _content_info(node: ber.Node) -> tuple[str, ber.Node]:
    """Type and value of a ContentInfo."""
    parts = node.expect(ber.SEQUENCE).children()
    if len(parts) != 2:
        raise damaged("a part of the PKCS#12 file is empty")
    return parts[0].object_identifier(), parts[1].expect(ber.context(0)).only_child()


def _check_mac(mac_data: ber.Node, content: bytes, contents: FileContents) -> None:
    """Finds the passphrase of the file."""
    for passphrase in contents.passphrases:
        if mac_fits(mac_data, content, passphrase, contents.budget):
            contents.passphrases.worked(passphrase)
            return
    raise passphrase_needed("the PKCS#12 file", given=contents.passphrases.given)


def _add_safe(safe: ber.Node, contents: FileContents) -> None:
    content_type, content = _content_info(safe)
    if content_type == _DATA:
        plaintext = content.octets()
    elif content_type == _ENCRYPTED_DATA:
        plaintext = _open_safe(content, contents)
    else:
        raise unsupported("a part of a PKCS#12 file that is protected by a public key")
    _add_bags(ber.read(plaintext), contents, nesting=0)


def _open_safe(encrypted_data: ber.Node, contents: FileContents) -> bytes:
    """SafeContents out of EncryptedData (RFC 5652 section 8)."""
    parts = encrypted_data.expect(ber.SEQUENCE).children()
    info = parts[1].expect(ber.SEQUENCE).children() if len(parts) > 1 else []
    if len(info) != 3:
        raise damaged("an encrypted part of the PKCS#12 file is empty")
    ciphertext = info[2].expect(ber.context(0)).octets()
    return contents.open(info[1], ciphertext, _is_safe_contents, "a part of the PKCS#12 file")


def _is_safe_contents(plaintext: bytes) -> bool:
    try:
        bags = ber.read_exactly(plaintext).expect(ber.SEQUENCE).children()
        return all(bag.tag == ber.SEQUENCE for bag in bags)
    except SectoolError:
        return False


def _add_bags(safe_contents: ber.Node, contents: FileContents, *, nesting: int) -> None:
    if nesting > limits.MAXIMUM_NESTED_BAGS:
        raise over_limit("the bags of the PKCS#12 file are nested too deep")
    for bag in safe_contents.expect(ber.SEQUENCE).children():
        contents.attempt(partial(_add_bag, bag, contents, nesting))


def _add_bag(bag: ber.Node, contents: FileContents, nesting: int) -> None:
    parts = bag.expect(ber.SEQUENCE).children()
    if len(parts) < 2:
        raise damaged("a bag of the PKCS#12 file is empty")
    kind, value = parts[0].object_identifier(), parts[1].expect(ber.context(0)).only_child()
    if kind == _KEY_BAG:
        contents.add_private_key(value.der())
    elif kind == _SHROUDED_KEY_BAG:
        contents.add_encrypted_key(value)
    elif kind == _CERTIFICATE_BAG:
        _add_certificate(value, contents)
    elif kind == _SAFE_CONTENTS_BAG:
        _add_bags(value, contents, nesting=nesting + 1)
    # Revocation lists and secrets of other programs are no part of a key history.


def _add_certificate(bag: ber.Node, contents: FileContents) -> None:
    parts = bag.expect(ber.SEQUENCE).children()
    if len(parts) != 2:
        raise damaged("a certificate bag of the PKCS#12 file is empty")
    if parts[0].object_identifier() == _X509_CERTIFICATE:
        contents.add_certificate(parts[1].expect(ber.context(0)).only_child().octets())
