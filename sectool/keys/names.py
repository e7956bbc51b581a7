"""Compares distinguished names as RFC 5280 section 7.1 asks.

Certificate authorities renew with another string type, other case or other
spaces, and RecipientInfos quote the name as some program wrote it: names that
mean the same must find the same key.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Hashable, Iterator

from sectool.asn1 import tags
from sectool.asn1.tree import Node
from sectool.errors import SectoolError
from sectool.keys import ber
from sectool.keys.certificates import public_key_identity
from sectool.keys.limits import MAXIMUM_NAME_BYTES
from sectool.keys.problems import damaged
from sectool.remembering import remembering

_ENCODINGS = {
    0x0C: "utf-8",
    0x12: "ascii",  # NumericString
    0x13: "latin-1",  # PrintableString; some authorities wrote Latin-1 into it
    0x14: "latin-1",  # T61String: in practice always Latin-1
    0x16: "latin-1",  # IA5String
    0x1A: "latin-1",  # VisibleString
    0x1C: "utf-32-be",  # UniversalString
    0x1E: "utf-16-be",  # BMPString
}

_MOST_ACCENTS = 30
"""On one letter, in the stream-safe text format of UAX #15 section 13."""


@remembering
def normalised_name(encoded: bytes) -> Hashable:
    """A value that is equal for names that RFC 5280 calls equal.

    Case, runs of spaces, string types and the order within a multi-valued
    relative name do not count. A name that does not parse, or is too long,
    equals only its very bytes.

    Args:
        encoded: DER or BER of a ``Name``. Hostile input is safe; nothing is raised.
    """
    if len(encoded) > MAXIMUM_NAME_BYTES:
        return encoded
    try:
        relative_names = ber.read_exactly(encoded).expect(tags.SEQUENCE).children()
        return tuple(_relative_name(node) for node in relative_names)
    except SectoolError:
        return encoded


def name_in_any_order(name: Hashable) -> Hashable:
    """A value that is equal for normalised names of the same attributes, however arranged.

    Some programs write relative names in the order in which RFC 4514 shows them.
    """
    if not isinstance(name, tuple):
        return name
    return tuple(sorted(attribute for relative_name in name for attribute in relative_name))


def unsigned_serial_number(serial_number: int) -> int:
    """A serial number as the octets of its INTEGER read without a sign.

    Some programs leave out the zero in front of a set bit, or put one where none was.
    """
    if serial_number >= 0:
        return serial_number
    octets = (~serial_number).bit_length() // 8 + 1
    return serial_number + (1 << 8 * octets)


def _relative_name(node: Node) -> tuple[Hashable, ...]:
    attributes = {_attribute(child) for child in node.expect(tags.SET).children()}
    return tuple(sorted(attributes))


def _attribute(node: Node) -> tuple[str, int, str]:
    """Object identifier, tag where the value is no known string, and the value."""
    parts = node.expect(tags.SEQUENCE).children()
    if len(parts) < 2:
        raise damaged("an attribute of a name has no value")
    kind, value = parts[0].object_identifier(), parts[1]
    encoding = _ENCODINGS.get(value.tag)
    if encoding is not None:
        try:
            return kind, 0, _prepared(value.octets().decode(encoding))
        except UnicodeDecodeError:
            pass
    return kind, value.tag, value.content.hex()


def _prepared(text: str) -> str:
    """The part of RFC 4518 that matters: compatibility forms, case, spaces.

    A letter under more accents than any language has is left as it is: to put them in
    their order takes time that grows with the square of their number (UAX #15 section 13).
    """
    if not text.isascii() and _piles_up_accents(text):
        return text
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split())


def _piles_up_accents(text: str) -> bool:
    run = 0
    for character in text:
        run = run + 1 if unicodedata.combining(character) else 0
        if run > _MOST_ACCENTS:
            return True
    return False


# --- names as some programs write them, though no document allows it ------------------------------
# What is found so is said to be named oddly; that it opens is still to be proven.


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
