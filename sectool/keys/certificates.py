"""Facts of a certificate that lookups and lists need (RFC 5280, RFC 7093).

Old authorities wrote certificates that strict parsers refuse: issuer, serial
number and public key are read leniently, the rest as far as it can be.
"""

from __future__ import annotations

import contextlib
import hashlib
import warnings
from collections.abc import Iterator
from datetime import datetime
from functools import cached_property
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from sectool.asn1 import der, tags
from sectool.asn1.tree import Node
from sectool.cms import oids
from sectool.cms.names import PARSER_ERRORS, display_name
from sectool.errors import SectoolError
from sectool.keys import ber
from sectool.keys.problems import damaged
from sectool.outcome import CertificateFingerprint
from sectool.values import dataclass

_AGREEING_KEYS = frozenset({oids.EC_PUBLIC_KEY, oids.X25519, oids.X448})

UNREADABLE_NAME = "(unreadable name)"

Extension = TypeVar("Extension", bound=x509.ExtensionType)


@dataclass(frozen=True)
class HeldCertificate:
    """A certificate in a key history; nothing is checked of it."""

    der: bytes
    issuer: bytes
    """DER of the issuer ``Name``."""
    serial_number: int
    public_key_info: bytes
    """DER of the SubjectPublicKeyInfo."""

    @cached_property
    def fingerprint(self) -> CertificateFingerprint:
        """SHA-256 of the certificate, lower-case hexadecimal."""
        return CertificateFingerprint(hashlib.sha256(self.der).hexdigest())

    @cached_property
    def parsed(self) -> x509.Certificate | None:
        """None for a certificate that only the lenient reader takes."""
        try:
            return parse_certificate(self.der)
        except SectoolError:
            return None

    @property
    def subject_name(self) -> str:
        """RFC 4514 string."""
        return UNREADABLE_NAME if self.parsed is None else name_text(self.parsed, "subject")

    @property
    def issuer_name(self) -> str:
        """RFC 4514 string."""
        return UNREADABLE_NAME if self.parsed is None else name_text(self.parsed, "issuer")

    @property
    def validity(self) -> tuple[datetime, datetime] | None:
        """First and last moment, aware; None where they cannot be read."""
        if self.parsed is None:
            return None
        try:
            return self.parsed.not_valid_before_utc, self.parsed.not_valid_after_utc
        except PARSER_ERRORS:
            return None

    @cached_property
    def subject_key_identifier(self) -> bytes | None:
        """Value of the extension; None where there is none."""
        if self.parsed is None:
            return None
        try:
            value = read_extension(self.parsed, x509.SubjectKeyIdentifier)
        except SectoolError:
            return None
        return None if value is None else value.digest


def read_certificate(encoded: bytes) -> HeldCertificate:
    """Issuer, serial number and public key of a certificate.

    Args:
        encoded: DER; what follows the certificate is dropped (OpenSSL appends
            trust settings).

    Raises:
        KeyFileError: this is no certificate.
    """
    node = ber.read(encoded)
    parts = node.expect(tags.SEQUENCE).children()
    fields = parts[0].expect(tags.SEQUENCE).children() if parts else []
    if fields and fields[0].tag == tags.context(0):
        fields = fields[1:]
    if len(parts) != 3 or len(fields) < 6:
        raise damaged("a certificate is damaged")
    serial_number, _, issuer, _, _, public_key_info = fields[:6]
    _public_key_bits(public_key_info)
    return HeldCertificate(
        der=bytes(node.encoding),
        issuer=bytes(issuer.expect(tags.SEQUENCE).encoding),
        serial_number=serial_number.integer(),
        public_key_info=bytes(public_key_info.encoding),
    )


def parse_certificate(der: bytes) -> x509.Certificate:
    """The certificate with all its fields.

    Raises:
        KeyFileError: the parser refuses it.
    """
    try:
        with _without_warnings():
            return x509.load_der_x509_certificate(der)
    except PARSER_ERRORS as error:
        raise damaged("a certificate is damaged or against its standard") from error


def read_extension(certificate: x509.Certificate, kind: type[Extension]) -> Extension | None:
    """Value of one extension; None where the certificate has none of this kind.

    Raises:
        KeyFileError: the extensions cannot be read.
    """
    try:
        with _without_warnings():
            return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
    except PARSER_ERRORS as error:
        raise damaged("the extensions of a certificate cannot be read") from error


def name_text(certificate: x509.Certificate, which: str) -> str:
    """RFC 4514 string of ``subject`` or ``issuer``."""
    try:
        with _without_warnings():
            name: x509.Name = getattr(certificate, which)
            return display_name(name.public_bytes())
    except PARSER_ERRORS:
        return UNREADABLE_NAME


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """A serial number of zero or a country of three letters is no reason to bother a person."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _public_key_bits(public_key_info: Node) -> bytes:
    return public_key_info.pair("a public key is damaged")[1].bits()


def public_key_bits(public_key_info: bytes) -> bytes:
    """Content of the BIT STRING in a SubjectPublicKeyInfo."""
    return _public_key_bits(ber.read(public_key_info))


def agrees(public_key_info: bytes) -> bool:
    """Whether this is a key for key agreements: on an elliptic curve, X25519 or X448."""
    try:
        algorithm, *_ = ber.read(public_key_info).children()
        return algorithm.children()[0].object_identifier() in _AGREEING_KEYS
    except (SectoolError, IndexError):
        return False


def public_key_identity(public_key_info: bytes) -> bytes:
    """Equal for all SubjectPublicKeyInfos of one key, however they are written.

    What tells that a key and a certificate belong together. The algorithm
    beside the bits is left out, since it varies (rsaEncryption, RSAES-OAEP,
    with or without NULL), points of elliptic curves are uncompressed, and the numbers
    of RSA are written as DER asks.
    """
    bits = public_key_bits(public_key_info)
    numbers = rsa_numbers(public_key_info)
    if numbers is not None:
        return der.sequence(*map(der.integer, numbers))
    if bits[:1] not in {b"\2", b"\3"}:
        return bits
    try:
        key = load_der_public_key(public_key_info)
        return public_key_bits(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    except PARSER_ERRORS:
        return bits


def rsa_numbers(public_key_info: bytes) -> tuple[int, int] | None:
    """Modulus and exponent of an RSA key; None for any other."""
    bits = public_key_bits(public_key_info)
    try:
        modulus, exponent = ber.read_exactly(bits).expect(tags.SEQUENCE).children()
        return modulus.unsigned(), exponent.unsigned()
    except (SectoolError, ValueError):
        return None


def computed_key_identifiers(public_key_info: bytes) -> Iterator[bytes]:
    """Subject key identifiers that may name a key without the extension.

    RFC 5280 section 4.2.1.2 methods 1 and 2, RFC 7093 section 2 methods 1 to
    4, and the same hashes in full.
    """
    bits = public_key_bits(public_key_info)
    sha1 = hashlib.sha1(bits, usedforsecurity=False).digest()
    yield sha1
    yield bytes([0x40 | sha1[12] & 0x0F]) + sha1[13:]
    for hash_name in ("sha256", "sha384", "sha512"):
        digest = hashlib.new(hash_name, bits).digest()
        yield digest[:20]
        yield digest
    for hash_name in ("sha1", "sha256", "sha384", "sha512"):
        yield hashlib.new(hash_name, public_key_info).digest()
