"""The mail addresses a certificate names (RFC 8550 section 3, RFC 9598)."""

from __future__ import annotations

import contextlib
import unicodedata
import warnings
from collections.abc import Iterator

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import NameOID

from sectool.cms.reader import CMSReader
from sectool.errors import MalformedMessage

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
