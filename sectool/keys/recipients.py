"""The certificates to encrypt to after the move, each checked before a message is touched.

RFC 8550 (S/MIME certificate handling) and RFC 5280 section 4.2.1 say what a
certificate must allow. A mistake here would shut mail away from its owner.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from sectool import cms
from sectool.errors import CertificateUnusable, SectoolError
from sectool.keys.certificates import (
    PARSER_ERRORS,
    HeldCertificate,
    computed_key_identifiers,
    name_text,
    parse_certificate,
    public_key_identity,
    read_extension,
)
from sectool.keys.containers import exists, read_contents, read_file
from sectool.keys.contents import FileContents
from sectool.keys.passphrases import Ask, Passphrases
from sectool.keys.private_keys import describe_key, encode_public_key
from sectool.keys.problems import KeyFileError, ProblemKind
from sectool.keys.specification import KeySpecification

MINIMUM_RSA_BITS = 2048
CURVES = frozenset({"secp256r1", "secp384r1", "secp521r1"})
"""Elliptic curves that are encrypted to; which profile takes which is not judged here."""
_AGREEING_KEYS = (ec.EllipticCurvePublicKey, x25519.X25519PublicKey)
_ENCIPHERING_KEYS = (rsa.RSAPublicKey, mlkem.MLKEM768PublicKey, mlkem.MLKEM1024PublicKey)
_PURPOSES = frozenset(
    {ExtendedKeyUsageOID.EMAIL_PROTECTION, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
)


@dataclass(frozen=True)
class NewRecipient:
    """One certificate to encrypt to; it has passed the checks, and pickles."""

    der: bytes
    path: Path
    """The file it was taken from."""
    fingerprint: str
    """SHA-256 of the certificate, lower-case hexadecimal."""
    subject: str
    """RFC 4514 string."""
    addresses: tuple[str, ...]
    """Mail addresses it names, as they are written there."""
    not_before: datetime
    not_after: datetime
    overridden: tuple[str, ...] = ()
    """Checks that it failed and a person overrode, each in words."""

    @cached_property
    def certificate(self) -> x509.Certificate:
        """The parsed certificate."""
        return parse_certificate(self.der)

    @property
    def key_kind(self) -> str:
        """Algorithm and size of the key: ``RSA 2048``, ``EC secp256r1``, ``ML-KEM-768``."""
        return describe_key(self.certificate.public_key())

    @property
    def subject_key_identifiers(self) -> tuple[str, ...]:
        """What an envelope may name the key by, lower-case hexadecimal."""
        info = self.certificate.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        found = [value.hex() for value in computed_key_identifiers(info)]
        with contextlib.suppress(SectoolError):
            if extension := read_extension(self.certificate, x509.SubjectKeyIdentifier):
                found.append(extension.digest.hex())
        return tuple(dict.fromkeys(found))

    def names(self, *addresses: str) -> bool:
        """Whether the certificate says that it is one of these mail addresses'."""
        wanted = frozenset(map(cms.comparable_address, addresses))
        return any(cms.comparable_address(named) in wanted for named in self.addresses)

    def __reduce__(self) -> tuple[object, ...]:
        # The cached certificate is an object that does not pickle.
        values = tuple(getattr(self, field.name) for field in fields(self))
        return (NewRecipient, values)


def load_new_recipients(
    paths: Iterable[Path],
    now: datetime,
    *,
    accept_fingerprints: frozenset[str] = frozenset(),
    owners: Sequence[str] = (),
    passphrases: KeySpecification | None = None,
    ask: Ask | None = None,
) -> tuple[NewRecipient, ...]:
    """The certificates of the files, checked; each certificate once, in order.

    Args:
        paths: each a file with exactly one certificate that is not of an
            authority (PEM, DER), or a PKCS#12 with one key.
        now: aware; the certificates must be in date then.
        accept_fingerprints: SHA-256 fingerprints of certificates whose dates
            and usages a person has accepted as they are.
        owners: mail addresses of one person, of which at least one certificate must name
            one, unless all of them are accepted by fingerprint; none: nobody's is asked for.
        passphrases: where passphrases of PKCS#12 files lie; its paths are not used.
        ask: asks a person for a passphrase.

    Raises:
        CertificateUnusable: a file is missing or unreadable, holds no single
            certificate, or the certificate fails a check, which is named.
        UsageError: the passphrase file or table cannot be read.
    """
    sources = Passphrases(passphrases or KeySpecification(), ask)
    accepted = frozenset(text.replace(":", "").strip().lower() for text in accept_fingerprints)
    recipients: dict[str, NewRecipient] = {}
    for path in paths:
        recipient = _recipient(path, _choose(path, _read(path, sources)))
        recipient = _check(recipient, now, accepted)
        recipients.setdefault(recipient.fingerprint, recipient)
    return _check_owner(tuple(recipients.values()), owners, accepted)


def _read(path: Path, sources: Passphrases) -> FileContents:
    if not exists(path):
        raise CertificateUnusable(
            f"there is no certificate file {path}", hint="name a PEM, DER or PKCS#12 file"
        )
    if path.is_dir():
        raise CertificateUnusable(f"{path} is a directory", hint="name each certificate alone")
    try:
        contents = read_contents(read_file(path.resolve()), sources.of(path), wants_keys=False)
    except KeyFileError as error:
        raise _unusable(path, error) from error
    if not contents.certificates:
        for problem in contents.problems:
            raise _unusable(path, problem)
        raise CertificateUnusable(
            f"{path} holds no certificate", hint="name the certificate, not the private key"
        )
    return contents


def _unusable(path: Path, error: KeyFileError) -> CertificateUnusable:
    hint = error.hint
    if error.kind is ProblemKind.DAMAGED:
        hint = "name a PEM or DER certificate, or a PKCS#12 file"
    return CertificateUnusable(f"{path}: {error.message}", hint=hint)


def _choose(path: Path, contents: FileContents) -> HeldCertificate:
    """The one certificate of the file that is meant."""
    found = list({certificate.der: certificate for certificate in contents.certificates}.values())
    own = _matching(contents, found)
    candidates = own or [certificate for certificate in found if not _is_authority(certificate)]
    if len(found) == 1:
        candidates = found
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        raise CertificateUnusable(f"{path} holds only certificates of authorities")
    names = "; ".join(f"{each.subject_name} ({each.fingerprint[:16]})" for each in candidates[:5])
    raise CertificateUnusable(
        f"{path} holds {len(candidates)} certificates to choose from: {names}",
        hint="give a file with the one that is meant",
    )


def _matching(contents: FileContents, found: list[HeldCertificate]) -> list[HeldCertificate]:
    """Certificates of the private keys in the file."""
    keys = {public_key_identity(encode_public_key(key)) for key in contents.private_keys}
    return [each for each in found if public_key_identity(each.public_key_info) in keys]


def _is_authority(certificate: HeldCertificate) -> bool:
    if certificate.parsed is None:
        return False
    try:
        constraints = read_extension(certificate.parsed, x509.BasicConstraints)
    except SectoolError:
        return False
    return constraints is not None and constraints.ca


def _recipient(path: Path, held: HeldCertificate) -> NewRecipient:
    certificate = held.parsed
    if certificate is None or held.validity is None:
        raise CertificateUnusable(f"{path}: the certificate is damaged or against its standard")
    return NewRecipient(
        der=held.der,
        path=path,
        fingerprint=held.fingerprint,
        subject=name_text(certificate, "subject"),
        addresses=cms.certificate_addresses(certificate),
        not_before=held.validity[0],
        not_after=held.validity[1],
    )


def _check(recipient: NewRecipient, now: datetime, accepted: frozenset[str]) -> NewRecipient:
    """Every check of a new certificate, the ones that can be overridden last."""
    certificate = recipient.certificate
    _check_key(recipient)
    checks = (_date_fault, _key_usage_fault, _extended_key_usage_fault)
    faults = tuple(fault for check in checks if (fault := check(certificate, now)))
    if faults and recipient.fingerprint not in accepted:
        raise CertificateUnusable(
            f"{_named(recipient)} {faults[0]}",
            hint=f"--accept-certificate {recipient.fingerprint} overrides this check",
        )
    return replace(recipient, overridden=faults)


def _check_owner(
    recipients: tuple[NewRecipient, ...], owners: Sequence[str], accepted: frozenset[str]
) -> tuple[NewRecipient, ...]:
    """Holds that the owner of the mailbox is among those who can read it afterwards."""
    if not owners or any(recipient.names(*owners) for recipient in recipients):
        return recipients
    wanted = " or ".join(owners)
    fault = f"does not name {wanted}"
    if any(recipient.fingerprint not in accepted for recipient in recipients):
        raise CertificateUnusable(
            f"no new certificate names {wanted}; named are {_all_names(recipients)}",
            hint=" ".join(f"--accept-certificate {each.fingerprint}" for each in recipients)
            + " overrides this check",
        )
    return tuple(replace(each, overridden=(*each.overridden, fault)) for each in recipients)


def _all_names(recipients: Sequence[NewRecipient]) -> str:
    return (
        ", ".join(dict.fromkeys(name for each in recipients for name in each.addresses))
        or "nobody's addresses"
    )


def _named(recipient: NewRecipient) -> str:
    return f"{recipient.path}: the certificate of {recipient.subject}"


def _check_key(recipient: NewRecipient) -> None:
    try:
        key: PublicKeyTypes = recipient.certificate.public_key()
    except PARSER_ERRORS as error:
        raise CertificateUnusable(f"{_named(recipient)} has a key of an unknown type") from error
    if not isinstance(key, _AGREEING_KEYS + _ENCIPHERING_KEYS) or (
        isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name not in CURVES
    ):
        raise CertificateUnusable(
            f"{_named(recipient)} has a key of type {describe_key(key)}",
            hint="RSA, P-256, P-384, P-521, X25519 and ML-KEM keys can be encrypted to",
        )
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < MINIMUM_RSA_BITS:
        raise CertificateUnusable(
            f"{_named(recipient)} has an RSA key of {key.key_size} bits, under {MINIMUM_RSA_BITS}",
            hint="ask for a certificate with a longer key",
        )
    if recipient.certificate.public_key_algorithm_oid == x509.PublicKeyAlgorithmOID.RSASSA_PSS:
        raise CertificateUnusable(f"{_named(recipient)} has a key for signatures only (RSASSA-PSS)")


def _date_fault(certificate: x509.Certificate, now: datetime) -> str:
    if now < certificate.not_valid_before_utc:
        return f"is not valid before {certificate.not_valid_before_utc:%Y-%m-%d}"
    if now > certificate.not_valid_after_utc:
        return f"has expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
    return ""


def _key_usage_fault(certificate: x509.Certificate, _now: datetime) -> str:
    try:
        usage = read_extension(certificate, x509.KeyUsage)
    except SectoolError:
        return "has extensions that cannot be read"
    if isinstance(certificate.public_key(), _AGREEING_KEYS):
        name, allowed = "keyAgreement", usage is None or usage.key_agreement
    else:
        name, allowed = "keyEncipherment", usage is None or usage.key_encipherment
    return "" if allowed else f"lacks {name} in its key usage"


def _extended_key_usage_fault(certificate: x509.Certificate, _now: datetime) -> str:
    try:
        usage = read_extension(certificate, x509.ExtendedKeyUsage)
    except SectoolError:
        return "has extensions that cannot be read"
    if usage is None or _PURPOSES.intersection(usage):
        return ""
    return "lacks emailProtection in its extended key usage"
