"""How a content-encryption key is written for a certificate's key: one class for each kind of key.

Which of them a profile uses is a table in ``profiles``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec, mlkem, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from sectool.cms.identifiers import padding_of
from sectool.cms.key_agreement import encode_key_agreement, key_agreement_algorithm
from sectool.cms.key_encapsulation import (
    encode_key_encapsulation,
    kem_algorithm,
    read_encapsulation,
)
from sectool.cms.key_transport import encode_key_transport, rsa_padding_algorithm
from sectool.cms.recipients import RecipientInfo
from sectool.cms.seams import IssuerAndSerialNumber, RSAPadding


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
