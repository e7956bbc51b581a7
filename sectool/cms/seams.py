"""What ``cms`` asks of the rooms above it: sources of bytes, sinks, and keys.

Key operations never yield a private key, so that a token (PKCS#11) serves as
well as a file. Nothing here knows mail.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import BinaryIO, Protocol

from sectool.message import Sink
from sectool.values import dataclass


class Source(Protocol):
    """CMS or plaintext bytes that can be read from the start more than once."""

    def open(self) -> BinaryIO:
        """A new stream from the first byte; the caller closes it."""


class SizedSource(Source, Protocol):
    """A source whose length is known, as sealing to DER needs it."""

    @property
    def size(self) -> int:
        """Length in bytes."""


@dataclass(frozen=True, slots=True)
class IssuerAndSerialNumber:
    """RFC 5652 section 10.2.4."""

    issuer: bytes
    """DER of the issuer ``Name``, exactly as the RecipientInfo carries it."""
    serial_number: int


@dataclass(frozen=True, slots=True)
class SubjectKeyIdentifier:
    """RFC 5652 section 6.2.1, the ``[0]`` choice of RecipientIdentifier."""

    value: bytes


RecipientIdentifier = IssuerAndSerialNumber | SubjectKeyIdentifier


@dataclass(frozen=True, slots=True)
class PKCS1v15:
    """RSAES-PKCS1-v1_5 (RFC 8017 section 7.2)."""


@dataclass(frozen=True, slots=True)
class OAEP:
    """RSAES-OAEP (RFC 8017 section 7.1, RFC 4055 section 4.1)."""

    hash_name: str = "sha1"
    """``sha1``, ``sha224``, ``sha256``, ``sha384`` or ``sha512``."""
    mgf_hash_name: str = "sha1"
    label: bytes = b""


RSAPadding = PKCS1v15 | OAEP


class KeyOperations(Protocol):
    """One private key, by what it can do."""

    @property
    def label(self) -> str:
        """What a person calls this key: file name and subject, never a secret."""

    def decrypt_rsa(self, encrypted_key: bytes, padding: RSAPadding) -> bytes:
        """The content-encryption key of a KeyTransRecipientInfo.

        With PKCS#1 v1.5 a wrong key may return random bytes of any length
        instead of an error.

        Raises:
            DecryptionFailed: the padding did not fit, or this is not an RSA key.
            MalformedMessage: its length is not that of the modulus; leading zeros that
                were dropped do not count. That is said before the key is used.
        """

    def agree(self, public_key: bytes) -> bytes:
        """The shared secret Z of an ECDH key agreement, before any key derivation.

        Args:
            public_key: the other side's, on the curve of this key: a point as
                RFC 5480 section 2.2 encodes it, or the bytes of X25519 and X448.

        Raises:
            DecryptionFailed: it is no such point, or this key does not agree.
        """

    def decapsulate(self, ciphertext: bytes) -> bytes:
        """The shared secret of a KEM ciphertext.

        A wrong key returns another secret instead of an error (FIPS 203).

        Raises:
            DecryptionFailed: this is not a KEM key of that kind.
        """


class KeySource(Protocol):
    """Finds private keys by what a RecipientInfo says of them."""

    def find(self, identifier: RecipientIdentifier) -> Sequence[KeyOperations]:
        """All keys the identifier names (two certificates may share issuer and serial)."""


class SenderKeys(Protocol):
    """Public keys of senders whom a key agreement names by a certificate."""

    def find_public_keys(self, identifier: RecipientIdentifier) -> Sequence[bytes]:
        """Contents of subjectPublicKey, whole bytes, of all certificates of that name."""


class HashingSink:
    """Hands bytes on to a sink, and knows how many there were and their digest."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._sha256 = hashlib.sha256()
        self.size = 0
        """Bytes that were written."""

    def write(self, data: bytes, /) -> None:
        self._sha256.update(data)
        self.size += len(data)
        self._sink.write(data)

    def digest(self) -> str:
        """SHA-256 of what was written, lower-case hexadecimal."""
        return self._sha256.hexdigest()


class _Discard:
    def write(self, _data: bytes, /) -> None:
        pass


DISCARD: Sink = _Discard()
"""A sink for checking what is not to be kept."""
