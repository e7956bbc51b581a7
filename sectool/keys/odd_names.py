"""Names of recipients as some programs write them, though no document allows it.

What is found so is said to be named oddly; that it opens is still to be proven.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from sectool.asn1 import tags
from sectool.errors import SectoolError
from sectool.keys import ber
from sectool.keys.certificates import public_key_identity
from sectool.keys.names import name_in_any_order, unsigned_serial_number

_MOST_WRAPPED = 2


def odd_name(name: tuple[Hashable, int]) -> tuple[Hashable, int]:
    """Equal for issuer and serial number in any order of attributes and with either sign.

    Args:
        name: the issuer as it is compared, and the serial number.
    """
    issuer, serial_number = name
    return name_in_any_order(issuer), unsigned_serial_number(serial_number)


def odd_key_identifiers(value: bytes) -> Iterator[tuple[bytes, str]]:
    """What a value may mean that no key has as its subject key identifier.

    Args:
        value: of a SubjectKeyIdentifier.

    Yields:
        A subject key identifier, or a public key as ``public_key_identity`` gives it; and
        what is odd, in words.
    """
    yield value, "by its public key in place of an identifier"
    yield from _of_public_key(value)
    for _ in range(_MOST_WRAPPED):
        try:
            value = ber.read_exactly(value).expect(tags.OCTET_STRING).octets()
        except SectoolError:
            return
        yield value, "its key identifier is wrapped once more, as the extension of a certificate"
        yield from _of_public_key(value)


def _of_public_key(value: bytes) -> Iterator[tuple[bytes, str]]:
    """The key that a whole SubjectPublicKeyInfo holds, or its BIT STRING."""
    how = "by its whole public key"
    try:
        node = ber.read_exactly(value)
        if node.tag == tags.BIT_STRING:
            yield node.bits(), how
        elif node.tag == tags.SEQUENCE:
            yield public_key_identity(value), how
    except (SectoolError, ValueError, IndexError):
        return
