"""Encryption profiles, and whether a certificate can be encrypted to under one.

Which algorithms a profile writes is a table. Dates, key usage and owners of
certificates are judged elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import (
    dsa,
    ec,
    ed448,
    ed25519,
    padding,
    rsa,
    x448,
    x25519,
)

from sectool.cms import ber, oids
from sectool.cms.ber import BERReader
from sectool.cms.seams import OAEP, IssuerAndSerialNumber, PKCS1v15, RSAPadding
from sectool.errors import CertificateUnusable, MalformedMessage

RSA_KEY_BITS = range(2048, 16384 + 1)
"""Sizes of RSA keys that are encrypted to."""


class Profile(Enum):
    """What is written, by who must be able to read it."""

    COMPATIBLE = "compatible"
    """What every mail program that could be tried reads."""
    MODERN = "modern"
    """Authenticated encryption throughout."""
    POST_QUANTUM = "post-quantum"
    """Key encapsulation that a quantum computer does not break."""

    @property
    def content_type(self) -> str:
        """Of the envelopes it writes, dotted."""
        return PROFILES[self].content_type


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """The algorithms of one profile."""

    content_type: str
    """Of the envelope, dotted."""
    content_encryption: str
    """Dotted."""
    rsa_padding: RSAPadding | None
    """None: RSA recipients are refused."""


PROFILES: dict[Profile, ProfileRow] = {
    Profile.COMPATIBLE: ProfileRow(oids.ENVELOPED_DATA, oids.AES_256_CBC, PKCS1v15()),
    Profile.MODERN: ProfileRow(
        oids.AUTH_ENVELOPED_DATA, oids.AES_256_GCM, OAEP("sha256", "sha256")
    ),
    Profile.POST_QUANTUM: ProfileRow(oids.AUTH_ENVELOPED_DATA, oids.AES_256_GCM, None),
}

_KEY_NAMES = (
    (ec.EllipticCurvePublicKey, "an elliptic-curve key"),
    (x25519.X25519PublicKey, "an X25519 key"),
    (x448.X448PublicKey, "an X448 key"),
    (ed25519.Ed25519PublicKey, "an Ed25519 key, which only signs"),
    (ed448.Ed448PublicKey, "an Ed448 key, which only signs"),
    (dsa.DSAPublicKey, "a DSA key, which only signs"),
)
_HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "sha1": hashes.SHA1,
    "sha224": hashes.SHA224,
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}


@dataclass(frozen=True)
class Recipient:
    """A certificate to encrypt to."""

    certificate: x509.Certificate

    @cached_property
    def identifier(self) -> IssuerAndSerialNumber:
        """With the issuer byte for byte as in the certificate.

        Raises:
            CertificateUnusable: the certificate is damaged.
        """
        try:
            return _issuer_and_serial_number(self.certificate.tbs_certificate_bytes)
        except MalformedMessage as error:
            raise CertificateUnusable(f"the certificate is damaged: {error}") from error

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, lower-case hexadecimal."""
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    def check(self, profile: Profile) -> None:
        """Refuses a key that cannot serve under a profile.

        Raises:
            CertificateUnusable: says why.
        """
        self.rsa_padding(profile)

    def rsa_padding(self, profile: Profile) -> RSAPadding:
        """The padding this certificate's key is used with; raises as ``check`` does."""
        rsa_padding = PROFILES[profile].rsa_padding
        self._rsa_key  # noqa: B018 - a kind of key that is never usable is said first
        if rsa_padding is None:
            raise CertificateUnusable(f"an RSA key cannot serve under profile {profile.value}")
        return rsa_padding

    @property
    def encrypted_key_size(self) -> int:
        """Bytes of a content-encryption key encrypted to this certificate."""
        return (self._rsa_key.key_size + 7) // 8

    def encrypt_key(self, content_encryption_key: bytes, rsa_padding: RSAPadding) -> bytes:
        """Encrypts a content-encryption key.

        Raises:
            CertificateUnusable: the key of the certificate does not work.
        """
        try:
            return self._rsa_key.encrypt(content_encryption_key, _padding(rsa_padding))
        except (ValueError, UnsupportedAlgorithm) as error:
            raise CertificateUnusable("the certificate's key cannot encrypt") from error

    @cached_property
    def _rsa_key(self) -> rsa.RSAPublicKey:
        try:
            key = self.certificate.public_key()
        except (ValueError, UnsupportedAlgorithm) as error:
            raise CertificateUnusable("the certificate's key is of an unknown kind") from error
        if not isinstance(key, rsa.RSAPublicKey):
            names = [name for kind, name in _KEY_NAMES if isinstance(key, kind)]
            name = names[0] if names else "a key of unknown kind"
            raise CertificateUnusable(
                f"the certificate has {name}; only RSA keys can be encrypted to"
            )
        if key.key_size not in RSA_KEY_BITS:
            raise CertificateUnusable(
                f"the certificate's RSA key has {key.key_size} bits; "
                f"{RSA_KEY_BITS.start} to {RSA_KEY_BITS.stop - 1} are accepted"
            )
        exponent = key.public_numbers().e
        if exponent < 3 or exponent % 2 == 0:
            raise CertificateUnusable("the certificate's RSA key has an unusable exponent")
        return key


def distinct(recipients: Sequence[Recipient]) -> tuple[Recipient, ...]:
    """The recipients, each certificate once."""
    return tuple({recipient.fingerprint: recipient for recipient in recipients}.values())


def _padding(rsa_padding: RSAPadding) -> padding.AsymmetricPadding:
    if isinstance(rsa_padding, PKCS1v15):
        return padding.PKCS1v15()
    return padding.OAEP(
        mgf=padding.MGF1(_HASHES[rsa_padding.mgf_hash_name]()),
        algorithm=_HASHES[rsa_padding.hash_name](),
        label=rsa_padding.label or None,
    )


def _issuer_and_serial_number(to_be_signed: bytes) -> IssuerAndSerialNumber:
    """From TBSCertificate (RFC 5280 section 4.1)."""
    reader = BERReader.over(to_be_signed)
    reader.enter(ber.SEQUENCE, "TBSCertificate")
    if reader.at(ber.context(0)):
        reader.skip("version")
    serial_number = reader.read_integer("serialNumber")
    reader.skip("signature")
    return IssuerAndSerialNumber(reader.read_raw("issuer", len(to_be_signed)), serial_number)
