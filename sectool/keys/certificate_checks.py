"""What is asked of a certificate before mail is encrypted to it, whoever it is for.

RFC 8550 (S/MIME certificate handling) and RFC 5280 section 4.2.1 say what a
certificate must allow.
"""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, rsa, x25519
from cryptography.x509.oid import ExtendedKeyUsageOID

from sectool.errors import SectoolError, UsageError
from sectool.keys.certificates import HeldCertificate, read_extension
from sectool.values import dataclass

AGREEING_KEYS = (ec.EllipticCurvePublicKey, x25519.X25519PublicKey)
ENCIPHERING_KEYS = (rsa.RSAPublicKey, mlkem.MLKEM768PublicKey, mlkem.MLKEM1024PublicKey)
_PURPOSES = frozenset(
    {ExtendedKeyUsageOID.EMAIL_PROTECTION, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
)

_ACCEPTED = re.compile("(?P<fingerprint>(?:[0-9a-f]{2}:?){31}[0-9a-f]{2})(?::(?P<check>[a-z-]+))?")


class Check(StrEnum):
    """A check of a new certificate that a person may override."""

    AUTHORITY = "authority"
    """It is no certificate of an authority."""
    VALIDITY = "validity"
    """It is in date."""
    EXTENSIONS = "extensions"
    """Its extensions can be read."""
    KEY_USAGE = "key-usage"
    EXTENDED_KEY_USAGE = "extended-key-usage"
    OWNER = "owner"
    """It names the owner that was asked for."""
    ADDRESS = "address"
    """It names a mail address at all, so that one can tell whose it is."""
    NEWEST = "newest"
    """It is no old certificate of the key history while a newer one is at hand."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One check that a certificate fails."""

    check: Check
    text: str
    """What is wrong, to stand behind "the certificate of …"."""


def certificate_faults(certificate: x509.Certificate, now: datetime) -> tuple[Fault, ...]:
    """The checks that a certificate fails by itself, whoever it is for.

    Args:
        certificate: whose key can be encrypted to.
        now: aware; it must be in date then.
    """
    found = [(Check.VALIDITY, _date_fault(certificate, now))]
    try:
        found += [
            (Check.AUTHORITY, _authority_fault(certificate)),
            (Check.KEY_USAGE, _key_usage_fault(certificate)),
            (Check.EXTENDED_KEY_USAGE, _extended_key_usage_fault(certificate)),
        ]
    except SectoolError:
        found.append((Check.EXTENSIONS, "has extensions that cannot be read"))
    return tuple(Fault(check, text) for check, text in found if text)


def read_acceptance(text: str) -> str:
    """What a person writes to override a check, in the one form in which it is compared.

    Args:
        text: ``FINGERPRINT``, the SHA-256 of a certificate with or without colons: the one
            check that it fails. ``FINGERPRINT:CHECK``: the check of that name, where it
            fails several.

    Raises:
        UsageError: it is neither.
    """
    found = _ACCEPTED.fullmatch(text.strip().lower())
    if found is None:
        raise UsageError(
            f"{text!r} is no SHA-256 fingerprint",
            hint="openssl x509 -noout -fingerprint -sha256 -in CERT shows it",
        )
    fingerprint = found["fingerprint"].replace(":", "")
    if found["check"] is None:
        return fingerprint
    if found["check"] not in set(Check):
        raise UsageError(
            f"there is no check {found['check']!r} of a certificate",
            hint=f"it is one of: {', '.join(Check)}",
        )
    return f"{fingerprint}:{found['check']}"


def is_authority(certificate: HeldCertificate) -> bool:
    """Whether it is marked as one of an authority."""
    if certificate.parsed is None:
        return False
    try:
        return bool(_authority_fault(certificate.parsed))
    except SectoolError:
        return False


def _authority_fault(certificate: x509.Certificate) -> str:
    constraints = read_extension(certificate, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        return ""
    return "is marked as a CA (CA:TRUE; `openssl req -x509` sets that by default)"


def _date_fault(certificate: x509.Certificate, now: datetime) -> str:
    if now < certificate.not_valid_before_utc:
        return f"is not valid before {certificate.not_valid_before_utc:%Y-%m-%d}"
    if now > certificate.not_valid_after_utc:
        return f"has expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
    return ""


def _key_usage_fault(certificate: x509.Certificate) -> str:
    usage = read_extension(certificate, x509.KeyUsage)
    if isinstance(certificate.public_key(), AGREEING_KEYS):
        name, allowed = "keyAgreement", usage is None or usage.key_agreement
    else:
        name, allowed = "keyEncipherment", usage is None or usage.key_encipherment
    return "" if allowed else f"lacks {name} in its key usage"


def _extended_key_usage_fault(certificate: x509.Certificate) -> str:
    usage = read_extension(certificate, x509.ExtendedKeyUsage)
    if usage is None or _PURPOSES.intersection(usage):
        return ""
    return "lacks emailProtection in its extended key usage"
