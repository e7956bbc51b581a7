"""The certificates to encrypt to after the move, each checked before a message is touched.

RFC 8550 (S/MIME certificate handling) and RFC 5280 section 4.2.1 say what a
certificate must allow. A mistake here would shut mail away from its owner.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from datetime import datetime
from functools import cache, cached_property
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sectool import cms
from sectool.cms.names import PARSER_ERRORS
from sectool.errors import CertificateUnusable, SectoolError
from sectool.keys import limits
from sectool.keys.certificate_checks import (
    AGREEING_KEYS,
    ENCIPHERING_KEYS,
    Check,
    Fault,
    certificate_faults,
    is_authority,
    read_acceptance,
)
from sectool.keys.certificates import (
    HeldCertificate,
    computed_key_identifiers,
    name_text,
    parse_certificate,
    public_key_identity,
    read_extension,
)
from sectool.keys.containers import exists, read_contents
from sectool.keys.contents import FileContents
from sectool.keys.files import read_file
from sectool.keys.passphrases import Ask, Passphrases
from sectool.keys.private_keys import describe_key, encode_public_key
from sectool.keys.problems import KeyFileError, ProblemKind
from sectool.keys.specification import KeySpecification
from sectool.outcome import CertificateFingerprint
from sectool.values import dataclass

CURVES = frozenset({"secp256r1", "secp384r1", "secp521r1"})
"""Elliptic curves that are encrypted to; which profile takes which is not judged here."""


@dataclass(frozen=True)
class NewRecipient:
    """One certificate to encrypt to; it has passed the checks, and pickles."""

    der: bytes
    path: Path
    """The file it was taken from."""
    fingerprint: CertificateFingerprint
    """SHA-256 of the certificate, lower-case hexadecimal."""
    subject: str
    """RFC 4514 string."""
    addresses: tuple[str, ...]
    """Mail addresses it names, as they are written there."""
    not_before: datetime
    not_after: datetime
    overridden: tuple[str, ...] = ()
    """Checks that it failed and a person overrode, each in words."""
    overridden_checks: tuple[Check, ...] = ()
    """The same, by name."""
    is_in_transition: bool = False
    """Whether it is an old one that stands beside a newer one of the same person."""

    @cached_property
    def certificate(self) -> x509.Certificate:
        """The parsed certificate."""
        return parse_certificate(self.der)

    @property
    def key_kind(self) -> str:
        """Algorithm and size of the key: ``RSA 2048``, ``EC secp256r1``, ``ML-KEM-768``."""
        return describe_key(self.certificate.public_key())

    @property
    def public_key_identity(self) -> bytes:
        """Equal for all certificates of one key."""
        return public_key_identity(_public_key_info(self.certificate))

    @property
    def subject_key_identifiers(self) -> tuple[str, ...]:
        """What an envelope may name the key by, lower-case hexadecimal."""
        info = _public_key_info(self.certificate)
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
            authority (PEM, DER, PKCS#7), or a PKCS#12 with one key.
        now: aware; the certificates must be in date then.
        accept_fingerprints: which checks a person overrides, as ``read_acceptance`` gives
            them.
        owners: mail addresses of one person, of which at least one certificate must name
            one, unless all of them are accepted by fingerprint; none: nobody's is asked for.
        passphrases: where passphrases of PKCS#12 files lie; its paths are not used.
        ask: asks a person for a passphrase.

    Raises:
        CertificateUnusable: a file is missing or unreadable, holds no single
            certificate, or the certificate fails a check, which is named.
        UsageError: the passphrase file or table cannot be read.
    """
    passphrases = passphrases or KeySpecification()
    sources = Passphrases(passphrases, ask)
    accepted = frozenset(map(read_acceptance, accept_fingerprints))
    recipients: dict[str, NewRecipient] = {}
    for path in paths:
        contents = _read(path, sources, checks_mac=passphrases.checks_mac)
        recipient = _check(_recipient(path, _choose(path, contents)), now, accepted)
        if any(problem.kind is ProblemKind.UNCHECKED for problem in contents.problems):
            fault = "lies in a PKCS#12 file whose MAC does not verify"
            recipient = replace(recipient, overridden=(*recipient.overridden, fault))
        recipients.setdefault(recipient.fingerprint, recipient)
    return _check_owner(tuple(recipients.values()), owners, accepted)


def _read(path: Path, sources: Passphrases, *, checks_mac: bool) -> FileContents:
    if not exists(path):
        raise CertificateUnusable(
            f"there is no certificate file {path}", hint="name a PEM, DER or PKCS#12 file"
        )
    if path.is_dir():
        raise CertificateUnusable(f"{path} is a directory", hint="name each certificate alone")
    try:
        raw = read_file(path.resolve())
        contents = read_contents(raw, sources.of(path), wants_keys=False, checks_mac=checks_mac)
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
    hint = error.hint_about(path)
    if not hint and error.kind is ProblemKind.DAMAGED:
        hint = "name a PEM or DER certificate, or a PKCS#12 file"
    elif not hint and error.kind is ProblemKind.UNREADABLE:
        hint = "check the path, the owner and the mode"
    return CertificateUnusable(f"{path}: {error.message}", hint=hint)


def _choose(path: Path, contents: FileContents) -> HeldCertificate:
    """The one certificate of the file that is meant."""
    found = list({certificate.der: certificate for certificate in contents.certificates}.values())
    own = _matching(contents, found)
    candidates = own or [certificate for certificate in found if not is_authority(certificate)]
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
    _check_key(recipient)
    return override(recipient, certificate_faults(recipient.certificate, now), accepted)


def override(
    recipient: NewRecipient,
    faults: Sequence[Fault],
    accept_fingerprints: frozenset[str],
) -> NewRecipient:
    """The certificate with the checks it fails noted as overridden.

    A fingerprint alone stands for one check: accepted for what one has seen, a certificate
    is not accepted for what comes later.

    Args:
        recipient: the certificate.
        faults: that were found now, beside those overridden before.
        accept_fingerprints: as ``read_acceptance`` gives them.

    Raises:
        CertificateUnusable: a person overrode not all of them.
    """
    failed = (*recipient.overridden_checks, *(fault.check for fault in faults))
    named = {check for check in failed if f"{recipient.fingerprint}:{check}" in accept_fingerprints}
    left = len(set(failed) - named)
    if faults and left > (recipient.fingerprint in accept_fingerprints):
        raise CertificateUnusable(
            f"{_named(recipient)} {' and '.join(fault.text for fault in faults)}",
            hint=_how_to_override(recipient.fingerprint, failed),
        )
    return replace(
        recipient,
        overridden=(*recipient.overridden, *(fault.text for fault in faults)),
        overridden_checks=failed,
    )


def _how_to_override(fingerprint: CertificateFingerprint, failed: Sequence[Check]) -> str:
    if len(failed) == 1:
        return f"--accept-certificate {fingerprint} overrides this check ({failed[0]})"
    options = (f"--accept-certificate {fingerprint}:{check}" for check in failed)
    return f"{' '.join(options)} override these checks"


def override_all(
    recipients: Sequence[NewRecipient],
    fault: Fault,
    accept_fingerprints: frozenset[str],
    message: str,
) -> tuple[NewRecipient, ...]:
    """As ``override``, of what is wrong with all certificates together.

    Args:
        recipients: the certificates.
        fault: the check that no one of them passes.
        accept_fingerprints: as ``read_acceptance`` gives them.
        message: what is told instead of one fault.

    Raises:
        CertificateUnusable: a person overrode it not for each of them.
    """
    try:
        return tuple(override(each, [fault], accept_fingerprints) for each in recipients)
    except CertificateUnusable as error:
        hint = error.hint
        if len(recipients) > 1:
            options = (
                f"--accept-certificate {each.fingerprint}:{fault.check}" for each in recipients
            )
            hint = f"{' '.join(options)} override this check"
        raise CertificateUnusable(message, hint=hint) from None


def _check_owner(
    recipients: tuple[NewRecipient, ...],
    owners: Sequence[str],
    accepted: frozenset[str],
) -> tuple[NewRecipient, ...]:
    """Holds that the owner of the mailbox is among those who can read it afterwards."""
    if not owners or any(recipient.names(*owners) for recipient in recipients):
        return recipients
    wanted = " or ".join(owners)
    fault = Fault(Check.OWNER, f"does not name {wanted}")
    message = f"no new certificate names {wanted}; named are {all_addresses(recipients)}"
    return override_all(recipients, fault, accepted, message)


def all_addresses(recipients: Iterable[NewRecipient]) -> str:
    """Every mail address that the certificates name, for a person."""
    return (
        ", ".join(dict.fromkeys(name for each in recipients for name in each.addresses))
        or "nobody's addresses"
    )


def _named(recipient: NewRecipient) -> str:
    return f"{recipient.path}: the certificate of {recipient.subject}"


def _public_key_info(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _check_key(recipient: NewRecipient) -> None:
    """The checks that nobody can override: the mail would be anybody's, or nobody's."""
    fault, hint = _key_fault(recipient.certificate)
    if fault:
        raise CertificateUnusable(f"{_named(recipient)} has {fault}", hint=hint)


def is_fit(certificate: x509.Certificate, moment: datetime) -> bool:
    """Whether mail may be encrypted to a certificate, whoever it is for.

    Args:
        certificate: any.
        moment: aware; it must be in date then.
    """
    return not _key_fault(certificate)[0] and not certificate_faults(certificate, moment)


def _key_fault(certificate: x509.Certificate) -> tuple[str, str]:
    """What is wrong with the key, and a hint; both empty where mail can be encrypted to it."""
    ask = "ask for a new certificate with a new key"
    try:
        key: PublicKeyTypes = certificate.public_key()
    except PARSER_ERRORS:
        return _unreadable_key(certificate), ask
    if not isinstance(key, AGREEING_KEYS + ENCIPHERING_KEYS) or (
        isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name not in CURVES
    ):
        types = "RSA, P-256, P-384, P-521, X25519 and ML-KEM keys can be encrypted to"
        return f"a key of type {describe_key(key)}", types
    if certificate.public_key_algorithm_oid == x509.PublicKeyAlgorithmOID.RSASSA_PSS:
        return "a key for signatures only (RSASSA-PSS)", ask
    why = why_unsound(key)
    return why, ask if why else ""


def _unreadable_key(certificate: x509.Certificate) -> str:
    algorithm = certificate.public_key_algorithm_oid
    if algorithm == x509.PublicKeyAlgorithmOID.EC_PUBLIC_KEY:
        return "an EC key that is no point of a curve that can be encrypted to"
    if algorithm == x509.PublicKeyAlgorithmOID.RSAES_PKCS1_v1_5:
        return "an RSA key whose modulus or public exponent can be none"
    return "a key that cannot be read, or of an unknown type"


# --- keys that anybody could open the mail of -----------------------------------------------------


MINIMUM_RSA_BITS = 2048
LARGEST_TRIAL_DIVISOR = 65_536
"""A modulus is the product of two large primes, so that each smaller divisor shows it is none."""


def why_unsound(key: PublicKeyTypes) -> str:
    """What is wrong with a public key, to stand behind "has"; empty where nothing shows.

    The parser holds points against their curve (SEC 1 section 2.3.4) and refuses a public
    exponent that is even or below 3; what is asked here is what it takes.
    """
    if isinstance(key, rsa.RSAPublicKey):
        return _why_unsound_rsa(key)
    if isinstance(key, x25519.X25519PublicKey):
        return _why_unsound_x25519(key)
    return ""


def _why_unsound_rsa(key: rsa.RSAPublicKey) -> str:
    """RFC 8017 section 3.1: the modulus is a product of distinct odd primes."""
    modulus = key.public_numbers().n
    if key.key_size < MINIMUM_RSA_BITS:
        return f"an RSA key of {key.key_size} bits, under {MINIMUM_RSA_BITS}"
    if key.key_size > limits.MAXIMUM_RSA_BITS:
        return f"an RSA key of {key.key_size} bits, over {limits.MAXIMUM_RSA_BITS}"
    if modulus % 2 == 0:
        return "an RSA key with an even modulus"
    if math.gcd(modulus, _small_primes()) != 1:
        return "an RSA key whose modulus has small factors"
    return ""


@cache
def _small_primes() -> int:
    """The product of all odd primes up to the largest trial divisor."""
    sieve = bytearray([1]) * (LARGEST_TRIAL_DIVISOR + 1)
    for number in range(3, math.isqrt(LARGEST_TRIAL_DIVISOR) + 1, 2):
        if sieve[number]:
            sieve[number * number :: number] = bytes(len(sieve[number * number :: number]))
    return math.prod(n for n in range(3, LARGEST_TRIAL_DIVISOR + 1, 2) if sieve[n])


def _why_unsound_x25519(key: x25519.X25519PublicKey) -> str:
    """RFC 7748 section 6.1: with a point of low order every secret agreed on is zero."""
    try:
        secret = x25519.X25519PrivateKey.generate().exchange(key)
    except ValueError:
        return "an X25519 key of low order"
    return "" if any(secret) else "an X25519 key of low order"
