"""Distinguished names for a person to read (RFC 4514), never for comparing; and mail addresses."""

from __future__ import annotations

import contextlib
import unicodedata
import warnings
from collections.abc import Iterator

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import NameOID

from sectool.asn1 import tags
from sectool.cms.reader import CMSReader
from sectool.errors import MalformedMessage
from sectool.remembering import remembering

_ATTRIBUTE_NAMES = {
    "2.5.4.3": "CN",
    "2.5.4.4": "SN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "title",
    "2.5.4.42": "GN",
    "2.5.4.97": "organizationIdentifier",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "emailAddress",
}
_STRING_ENCODINGS = {
    0x0C: "utf-8",  # UTF8String
    0x12: "ascii",  # NumericString
    0x13: "ascii",  # PrintableString
    0x14: "latin-1",  # TeletexString, as nearly every authority means it
    0x16: "ascii",  # IA5String
    0x1A: "ascii",  # VisibleString
    0x1C: "utf-32-be",  # UniversalString
    0x1E: "utf-16-be",  # BMPString
}
_SPECIAL = frozenset('",+;<>\\')


@remembering
def display_name(name: bytes) -> str:
    """An encoded ``Name`` as RFC 4514 writes it, most specific attribute first.

    Never fails: what does not parse is shown as ``#`` and hexadecimal.
    """
    try:
        relative_names = _relative_names(CMSReader.over(name))
    except MalformedMessage:
        return "#" + name.hex()
    return ",".join(reversed(relative_names))


def _relative_names(reader: CMSReader) -> list[str]:
    names: list[str] = []
    reader.enter(tags.SEQUENCE, "a name")
    while reader.peek() is not None:
        reader.enter(tags.SET, "a relative name")
        attributes: list[str] = []
        while reader.peek() is not None:
            attributes.append(_attribute(reader))
        reader.leave("a relative name")
        names.append("+".join(attributes))
    reader.leave("a name")
    return names


def _attribute(reader: CMSReader) -> str:
    reader.enter(tags.SEQUENCE, "an attribute")
    oid = reader.read_oid("an attribute type")
    header = reader.peek()
    raw = reader.read_raw("an attribute value", reader.limits.name_size)
    reader.leave("an attribute")
    text = None
    if header is not None and header.length is not None and not header.constructed:
        text = _text(header.tag, raw[len(header.encoded) :])
    return f"{_ATTRIBUTE_NAMES.get(oid, oid)}={'#' + raw.hex() if text is None else text}"


def _text(tag: int, content: bytes) -> str | None:
    encoding = _STRING_ENCODINGS.get(tag)
    if encoding is None:
        return None
    try:
        return _escape(content.decode(encoding))
    except UnicodeDecodeError:
        return None


def _escape(value: str) -> str:
    escaped = "".join(map(_escape_character, value))
    if value[:1] in {" ", "#"}:
        escaped = "\\" + escaped
    if len(value) > 1 and value.endswith(" "):
        escaped = escaped[:-1] + "\\ "
    return escaped


def _escape_character(character: str) -> str:
    if character in _SPECIAL:
        return "\\" + character
    if character.isprintable():
        return character
    return "".join(f"\\{octet:02x}" for octet in character.encode("utf-8", "surrogatepass"))


# --- mail addresses -------------------------------------------------------------------------------
# Those that a certificate names (RFC 8550 section 3, RFC 9598), and how they are compared.


_SMTP_UTF8_MAILBOX = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.9")
_UTF8_STRING = 0x0C
_LONGEST_ADDRESS = 1024

PARSER_ERRORS = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    OverflowError,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What the certificate parser raises on a certificate, or a part of one, that it cannot read."""


def certificate_addresses(certificate: x509.Certificate) -> tuple[str, ...]:
    """Every address of the subject alternative name, then those of the subject, each once.

    Never fails: what cannot be read names nobody.
    """
    with warnings.catch_warnings():
        # Odd certificates are what this has to live with.
        warnings.simplefilter("ignore")
        found = [*_of_alternative_name(certificate), *_of_subject(certificate)]
    return tuple(dict.fromkeys(found))


def comparable_address(address: str) -> str:
    """One text for all the ways in which a mail address may be written.

    Case does not count, since hardly a server lets it; an internationalised
    domain is the same in either of its forms (RFC 9598 section 5). What is longer
    than any address is compared as it is.
    """
    if len(address) > _LONGEST_ADDRESS:
        return address
    local_part, _, domain = address.strip().rpartition("@")
    with contextlib.suppress(UnicodeError):  # no domain name: compared as it is
        domain = domain.encode("idna").decode("ascii")
    local_part = unicodedata.normalize("NFC", local_part)
    return f"{local_part.casefold()}@{domain.rstrip('.').lower()}"


def _of_alternative_name(certificate: x509.Certificate) -> Iterator[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, *PARSER_ERRORS):
        return
    for name in extension.value:
        if isinstance(name, x509.RFC822Name):
            yield name.value
        elif isinstance(name, x509.OtherName) and name.type_id == _SMTP_UTF8_MAILBOX:
            try:
                raw = CMSReader.over(name.value).read_primitive(
                    _UTF8_STRING, "an address", _LONGEST_ADDRESS
                )
                yield raw.decode()
            except (MalformedMessage, UnicodeDecodeError):
                continue


def _of_subject(certificate: x509.Certificate) -> Iterator[str]:
    try:
        attributes = certificate.subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS)
    except PARSER_ERRORS:
        return
    for attribute in attributes:
        if isinstance(attribute.value, str):
            yield attribute.value
