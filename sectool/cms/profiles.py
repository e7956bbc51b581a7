"""Encryption profiles, and whether a certificate can be encrypted to under one.

Which algorithms a profile writes is a table. Dates, key usage and owners of
certificates are judged elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from functools import cached_property
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import (
    dsa,
    ec,
    ed448,
    ed25519,
    mlkem,
    rsa,
    x448,
    x25519,
)
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from sectool.asn1 import tags
from sectool.cms import oids
from sectool.cms.identifiers import padding_of
from sectool.cms.key_agreement import encode_key_agreement, key_agreement_algorithm
from sectool.cms.key_encapsulation import (
    encode_key_encapsulation,
    kem_algorithm,
    read_encapsulation,
)
from sectool.cms.key_transport import encode_key_transport, rsa_padding_algorithm
from sectool.cms.reader import CMSReader
from sectool.cms.recipients import RecipientInfo, RecipientKind
from sectool.cms.seams import OAEP, IssuerAndSerialNumber, PKCS1v15, RSAPadding
from sectool.errors import CertificateUnusable, MalformedMessage
from sectool.values import dataclass

# --- how a key is written for a certificate: one class for each kind of key -----------------------


class KeyEncryption(Protocol):
    """One way to encrypt a content-encryption key; only for keys of its kind."""

    @property
    def envelope_version(self) -> int:
        """The version of an EnvelopedData that has such a recipient (RFC 5652 section 6.1)."""

    def encode(
        self,
        identifier: IssuerAndSerialNumber,
        public_key: PublicKeyTypes,
        content_encryption_key: bytes,
    ) -> bytes:
        """DER of a RecipientInfo; its size depends on the kind and size of the keys only.

        Raises:
            ValueError, UnsupportedAlgorithm: the library refuses the public key.
        """

    def has_written(self, recipient_info: RecipientInfo, public_key: PublicKeyTypes) -> bool:
        """Whether the algorithms of a RecipientInfo are those that ``encode`` writes."""


@dataclass(frozen=True, slots=True)
class KeyTransport:
    """RSA with a padding."""

    padding: RSAPadding

    @property
    def envelope_version(self) -> int:
        return 0

    def encode(
        self,
        identifier: IssuerAndSerialNumber,
        public_key: PublicKeyTypes,
        content_encryption_key: bytes,
    ) -> bytes:
        assert isinstance(public_key, rsa.RSAPublicKey)
        encrypted_key = public_key.encrypt(content_encryption_key, padding_of(self.padding))
        return encode_key_transport(identifier, self.padding, encrypted_key)

    def has_written(
        self,
        recipient_info: RecipientInfo,
        public_key: PublicKeyTypes,  # noqa: ARG002 - the seam
    ) -> bool:
        return recipient_info.algorithm == rsa_padding_algorithm(self.padding)


@dataclass(frozen=True, slots=True)
class KeyAgreement:
    """ECDH or X25519 with an ephemeral key."""

    scheme_oid: str

    @property
    def envelope_version(self) -> int:
        return 2

    def encode(
        self,
        identifier: IssuerAndSerialNumber,
        public_key: PublicKeyTypes,
        content_encryption_key: bytes,
    ) -> bytes:
        assert isinstance(public_key, ec.EllipticCurvePublicKey | x25519.X25519PublicKey)
        return encode_key_agreement(identifier, public_key, self.scheme_oid, content_encryption_key)

    def has_written(
        self,
        recipient_info: RecipientInfo,
        public_key: PublicKeyTypes,  # noqa: ARG002 - the seam
    ) -> bool:
        return recipient_info.algorithm == key_agreement_algorithm(self.scheme_oid)


@dataclass(frozen=True, slots=True)
class KeyEncapsulation:
    """ML-KEM."""

    @property
    def envelope_version(self) -> int:
        return 3

    def encode(
        self,
        identifier: IssuerAndSerialNumber,
        public_key: PublicKeyTypes,
        content_encryption_key: bytes,
    ) -> bytes:
        assert isinstance(public_key, mlkem.MLKEM768PublicKey | mlkem.MLKEM1024PublicKey)
        return encode_key_encapsulation(identifier, public_key, content_encryption_key)

    def has_written(self, recipient_info: RecipientInfo, public_key: PublicKeyTypes) -> bool:
        assert isinstance(public_key, mlkem.MLKEM768PublicKey | mlkem.MLKEM1024PublicKey)
        if recipient_info.algorithm != kem_algorithm(public_key):
            return False
        return read_encapsulation(recipient_info.detail).is_as_written


# --- which of them a profile uses -----------------------------------------------------------------

_RSA, _X25519, _ML_KEM_768, _ML_KEM_1024 = "RSA", "X25519", "ML-KEM-768", "ML-KEM-1024"
_KEY_KINDS = (
    (rsa.RSAPublicKey, _RSA),
    (x25519.X25519PublicKey, _X25519),
    (x448.X448PublicKey, "X448"),
    (mlkem.MLKEM768PublicKey, _ML_KEM_768),
    (mlkem.MLKEM1024PublicKey, _ML_KEM_1024),
)
_SIGNING_KEYS = (
    (ed25519.Ed25519PublicKey, "an Ed25519"),
    (ed448.Ed448PublicKey, "an Ed448"),
    (dsa.DSAPublicKey, "a DSA"),
)
RSA_KEY_BITS = range(2048, 16384 + 1)
"""Sizes of RSA keys that are encrypted to."""


class Profile(Enum):
    """What is written, by who must be able to read it."""

    COMPATIBLE = "compatible"
    """What every mail program that could be tried reads to RSA; to elliptic curves not all do."""
    MODERN = "modern"
    """Authenticated encryption throughout."""
    POST_QUANTUM = "post-quantum"
    """Key encapsulation that a quantum computer does not break."""
    ALSO_CLASSIC = "post-quantum, also classic"
    """The same, and to other keys as ``MODERN``: only as safe as the weakest of them."""

    @property
    def is_of_one_kind(self) -> bool:
        """Whether it keeps what it promises to every recipient alike."""
        return self is not Profile.ALSO_CLASSIC

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
    key_encryption: Mapping[str, KeyEncryption]
    """By kind of key, as ``_KEY_KINDS`` and curves are called; other kinds are refused."""


_COMPATIBLE_CURVES: Mapping[str, KeyEncryption] = {
    "secp256r1": KeyAgreement(oids.ECDH_SHA256_KDF),
    "secp384r1": KeyAgreement(oids.ECDH_SHA384_KDF),
}
_MODERN: Mapping[str, KeyEncryption] = {
    _RSA: KeyTransport(OAEP("sha256", "sha256")),
    **_COMPATIBLE_CURVES,
    "secp521r1": KeyAgreement(oids.ECDH_SHA512_KDF),
    _X25519: KeyAgreement(oids.ECDH_HKDF_SHA256),
}
_POST_QUANTUM: Mapping[str, KeyEncryption] = {
    _ML_KEM_768: KeyEncapsulation(),
    _ML_KEM_1024: KeyEncapsulation(),
}
PROFILES: dict[Profile, ProfileRow] = {
    Profile.COMPATIBLE: ProfileRow(
        oids.ENVELOPED_DATA,
        oids.AES_256_CBC,
        {_RSA: KeyTransport(PKCS1v15()), **_COMPATIBLE_CURVES},
    ),
    Profile.MODERN: ProfileRow(oids.AUTH_ENVELOPED_DATA, oids.AES_256_GCM, _MODERN),
    Profile.POST_QUANTUM: ProfileRow(oids.AUTH_ENVELOPED_DATA, oids.AES_256_GCM, _POST_QUANTUM),
    Profile.ALSO_CLASSIC: ProfileRow(
        oids.AUTH_ENVELOPED_DATA, oids.AES_256_GCM, {**_MODERN, **_POST_QUANTUM}
    ),
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
        self.key_encryption(profile)

    def key_encryption(self, profile: Profile) -> KeyEncryption:
        """How a profile encrypts to this certificate's key; raises as ``check`` does."""
        kind = _kind(self.public_key)
        key_encryption = PROFILES[profile].key_encryption.get(kind)
        if key_encryption is None:
            raise CertificateUnusable(
                f"the certificate's {kind} key cannot serve under profile {profile.value}",
                hint=_who_takes(kind, profile),
            )
        return key_encryption

    def encode_recipient_info(self, profile: Profile, content_encryption_key: bytes) -> bytes:
        """DER of the RecipientInfo that a profile writes.

        Raises:
            CertificateUnusable: the key of the certificate does not work, or not here.
        """
        key_encryption = self.key_encryption(profile)
        try:
            return key_encryption.encode(self.identifier, self.public_key, content_encryption_key)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise CertificateUnusable("the certificate's key cannot encrypt") from error

    @property
    def recipient_kind(self) -> RecipientKind:
        """The kind of RecipientInfo that is written to it."""
        if isinstance(self.public_key, rsa.RSAPublicKey):
            return RecipientKind.KEY_TRANSPORT
        if isinstance(self.public_key, mlkem.MLKEM768PublicKey | mlkem.MLKEM1024PublicKey):
            return RecipientKind.KEM
        return RecipientKind.KEY_AGREEMENT

    @cached_property
    def public_key(self) -> PublicKeyTypes:
        """The key that is encrypted to.

        Raises:
            CertificateUnusable: no profile encrypts to such a key.
        """
        try:
            key = self.certificate.public_key()
        except (ValueError, UnsupportedAlgorithm) as error:
            raise CertificateUnusable("the certificate's key is of an unknown kind") from error
        if isinstance(key, rsa.RSAPublicKey):
            _check_rsa(key)
        for kind, name in _SIGNING_KEYS:
            if isinstance(key, kind):
                raise CertificateUnusable(f"the certificate has {name} key, which only signs")
        return key


def _who_takes(kind: str, refused_by: Profile) -> str:
    able = [other for other in Profile if kind in PROFILES[other].key_encryption]
    if not able:
        return "no profile takes such a key"
    hint = f"--profile {able[0].value} takes it"
    if refused_by is Profile.POST_QUANTUM:
        hint += "; beside a post-quantum one --also-classic does"
    return hint


def _kind(key: PublicKeyTypes) -> str:
    """What the tables of the profiles call a kind of key."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.curve.name
    names = [name for kind, name in _KEY_KINDS if isinstance(key, kind)]
    return names[0] if names else "unknown"


def _check_rsa(key: rsa.RSAPublicKey) -> None:
    if key.key_size not in RSA_KEY_BITS:
        raise CertificateUnusable(
            f"the certificate's RSA key has {key.key_size} bits; "
            f"{RSA_KEY_BITS.start} to {RSA_KEY_BITS.stop - 1} are accepted"
        )
    exponent = key.public_numbers().e
    if exponent < 3 or exponent % 2 == 0:
        raise CertificateUnusable("the certificate's RSA key has an unusable exponent")


def distinct(recipients: Sequence[Recipient]) -> tuple[Recipient, ...]:
    """The recipients, each certificate once."""
    return tuple({recipient.fingerprint: recipient for recipient in recipients}.values())


def _issuer_and_serial_number(to_be_signed: bytes) -> IssuerAndSerialNumber:
    """From TBSCertificate (RFC 5280 section 4.1)."""
    reader = CMSReader.over(to_be_signed)
    reader.enter(tags.SEQUENCE, "TBSCertificate")
    if reader.at(tags.context(0)):
        reader.skip("version")
    serial_number = reader.read_integer("serialNumber")
    reader.skip("signature")
    return IssuerAndSerialNumber(reader.read_raw("issuer", len(to_be_signed)), serial_number)
