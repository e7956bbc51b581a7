"""Content encryption in CBC and GCM, streamed, and what a row of the algorithm table is.

RFC 5652 section 6.3 (padding), RFC 3565, RFC 5084. Knows no keys and no
structure around the encrypted content.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import (
    AEADDecryptionContext,
    BlockCipherAlgorithm,
    Cipher,
    CipherContext,
    modes,
)

from sectool.cms import ber, der
from sectool.cms.ber import BERReader
from sectool.cms.identifiers import AlgorithmIdentifier
from sectool.errors import (
    DecryptionFailed,
    LimitExceeded,
    MalformedMessage,
    UnsupportedMessage,
)

GCM_NONCE_SIZE = 12
GCM_TAG_SIZE = 16
_GCM_TAG_SIZES = range(12, 17)
_GCM_LONGEST = 2**36 - 32


@dataclass(frozen=True, slots=True)
class SealedContent:
    """What stands around the encrypted content and takes part in opening it."""

    size: int
    """Bytes of encrypted content."""
    mac: bytes = b""
    """The tag of an AuthEnvelopedData, else empty."""
    additional_data: bytes = b""
    """DER of the authenticated attributes as a SET OF (RFC 5083 section 2.2), or empty."""


class Decryptor(Protocol):
    """One decryption under way."""

    def update(self, data: bytes, /) -> bytes:
        """Plaintext that is not proven before ``finish`` returns."""

    def finish(self) -> bytes:
        """The last plaintext.

        Raises:
            DecryptionFailed: padding or tag do not fit.
        """


class Encryptor(Protocol):
    """One encryption under way."""

    def update(self, data: bytes, /) -> bytes:
        """The next encrypted content."""

    def finalize(self) -> bytes:
        """The last encrypted content."""

    @property
    def tag(self) -> bytes:
        """The authentication tag once finished; empty without one."""


class ContentCipher(Protocol):
    """A content-encryption algorithm whose parameters have been read."""

    @property
    def key_sizes(self) -> Container[int]:
        """Bytes a content-encryption key may have."""

    def check(self, sealed: SealedContent) -> None:
        """Refuses what cannot be whole, before any key is used.

        Raises:
            MalformedMessage: the size or tag cannot belong to this algorithm.
        """

    def decryptor(self, key: bytes, sealed: SealedContent) -> Decryptor:
        """Begins a decryption under a key of a right length."""


class SealingCipher(Protocol):
    """A content-encryption algorithm with fresh parameters, for writing."""

    @property
    def algorithm(self) -> AlgorithmIdentifier:
        """As it stands in EncryptedContentInfo."""

    def encrypted_size(self, size: int) -> int:
        """Bytes of encrypted content for ``size`` bytes of content.

        Raises:
            LimitExceeded: the algorithm does not take so much under one key.
        """

    def encryptor(self, key: bytes) -> Encryptor:
        """Begins the one encryption these parameters may serve."""


@dataclass(frozen=True, slots=True)
class ContentEncryption:
    """One row of the table of content-encryption algorithms."""

    oid: str
    key_sizes: tuple[int, ...]
    """Bytes a content-encryption key may have."""
    block_size: int
    """Bytes of a cipher block."""
    is_aead: bool
    """True: only in AuthEnvelopedData; False: only in EnvelopedData."""
    specification: str
    """The document that gives its parameters."""
    block_cipher: Callable[[bytes], BlockCipherAlgorithm]
    """The block cipher under a key."""
    read: Callable[[ContentEncryption, bytes | None], ContentCipher]
    """Reads the encoded parameters; raises MalformedMessage or UnsupportedMessage."""
    new: Callable[[ContentEncryption], SealingCipher] | None = None
    """Fresh parameters from the system's random source; None: never written."""


# --- CBC ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CBC:
    """A block cipher in CBC mode with the padding of RFC 5652 section 6.3."""

    row: ContentEncryption
    iv: bytes

    @classmethod
    def read(cls, row: ContentEncryption, parameters: bytes | None) -> CBC:
        """The parameters are the initialization vector, one block long (RFC 3565 section 4.2)."""
        if parameters is None:
            raise MalformedMessage("the initialization vector is missing")
        reader = BERReader.over(parameters)
        iv = reader.read_octet_string("the initialization vector", reader.limits.identifier_size)
        if len(iv) != row.block_size:
            raise MalformedMessage(
                f"the initialization vector has {len(iv)} bytes instead of {row.block_size}"
            )
        return cls(row, iv)

    @classmethod
    def new(cls, row: ContentEncryption) -> CBC:
        """With a fresh initialization vector."""
        return cls(row, os.urandom(row.block_size))

    @property
    def algorithm(self) -> AlgorithmIdentifier:
        return AlgorithmIdentifier(self.row.oid, der.octet_string(self.iv))

    @property
    def key_sizes(self) -> Container[int]:
        return self.row.key_sizes

    def check(self, sealed: SealedContent) -> None:
        if not sealed.size or sealed.size % self.row.block_size:
            raise MalformedMessage(
                f"{sealed.size} bytes of encrypted content are not whole cipher blocks"
            )

    def encrypted_size(self, size: int) -> int:
        return size + self.row.block_size - size % self.row.block_size

    def decryptor(self, key: bytes, sealed: SealedContent) -> Decryptor:  # noqa: ARG002 - the seam
        cipher = Cipher(self.row.block_cipher(key), modes.CBC(self.iv))
        return _CBCDecryptor(cipher.decryptor(), self.row.block_size)

    def encryptor(self, key: bytes) -> Encryptor:
        cipher = Cipher(self.row.block_cipher(key), modes.CBC(self.iv))
        return _CBCEncryptor(cipher.encryptor(), self.row.block_size)


class _CBCDecryptor:
    def __init__(self, context: CipherContext, block_size: int) -> None:
        self._context = context
        self._block_size = block_size
        self._held = b""

    def update(self, data: bytes, /) -> bytes:
        plaintext = self._held + self._context.update(data)
        self._held = plaintext[-self._block_size :]
        return plaintext[: -self._block_size]

    def finish(self) -> bytes:
        try:
            last = self._held + self._context.finalize()
        except ValueError:
            raise DecryptionFailed from None
        padding = last[-1] if last else 0
        if not 1 <= padding <= self._block_size or padding > len(last):
            raise DecryptionFailed
        if last[-padding:] != bytes((padding,)) * padding:
            raise DecryptionFailed
        return last[:-padding]


class _CBCEncryptor:
    tag = b""

    def __init__(self, context: CipherContext, block_size: int) -> None:
        self._context = context
        self._block_size = block_size
        self._size = 0

    def update(self, data: bytes, /) -> bytes:
        self._size += len(data)
        return self._context.update(data)

    def finalize(self) -> bytes:
        padding = self._block_size - self._size % self._block_size
        return self._context.update(bytes((padding,)) * padding) + self._context.finalize()


# --- GCM ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GCM:
    """A block cipher in Galois/Counter Mode (RFC 5084 section 3.2)."""

    row: ContentEncryption
    nonce: bytes
    tag_size: int | None
    """aes-ICVlen; None where it is absent."""

    @classmethod
    def read(cls, row: ContentEncryption, parameters: bytes | None) -> GCM:
        """GCMParameters: nonce and tag length."""
        if parameters is None:
            raise MalformedMessage("the GCM parameters are missing")
        reader = BERReader.over(parameters)
        reader.enter(ber.SEQUENCE, "GCM parameters")
        nonce = reader.read_octet_string("the GCM nonce", reader.limits.identifier_size)
        tag_size = None if reader.peek() is None else reader.read_integer("the GCM tag length")
        reader.leave("GCM parameters")
        if not nonce:
            raise MalformedMessage("the GCM nonce is empty")
        if len(nonce) != GCM_NONCE_SIZE:
            raise UnsupportedMessage(f"a GCM nonce of {len(nonce)} bytes is not supported")
        if tag_size is not None and tag_size not in _GCM_TAG_SIZES:
            raise MalformedMessage("the GCM tag length is not 12 to 16")
        return cls(row, nonce, tag_size)

    @classmethod
    def new(cls, row: ContentEncryption) -> GCM:
        """With a fresh nonce; the key must be fresh as well."""
        return cls(row, os.urandom(GCM_NONCE_SIZE), GCM_TAG_SIZE)

    @property
    def algorithm(self) -> AlgorithmIdentifier:
        size = b"" if self.tag_size is None else der.integer(self.tag_size)
        return AlgorithmIdentifier(self.row.oid, der.sequence(der.octet_string(self.nonce), size))

    @property
    def key_sizes(self) -> Container[int]:
        return self.row.key_sizes

    def check(self, sealed: SealedContent) -> None:
        # The default is 12 (RFC 5084), but Exchange writes 16 and omits the
        # length: both are verified in full, whichever stands there.
        accepted = (12, 16) if self.tag_size is None else (self.tag_size,)
        if len(sealed.mac) not in accepted:
            raise MalformedMessage(
                f"an authentication tag of {len(sealed.mac)} bytes is wrong here"
            )
        if sealed.size > _GCM_LONGEST:
            raise MalformedMessage("the encrypted content is longer than GCM allows")

    def encrypted_size(self, size: int) -> int:
        if size > _GCM_LONGEST:
            raise LimitExceeded("the content is longer than GCM allows")
        return size

    def decryptor(self, key: bytes, sealed: SealedContent) -> Decryptor:
        mode = modes.GCM(self.nonce, sealed.mac, min_tag_length=min(_GCM_TAG_SIZES))
        context = Cipher(self.row.block_cipher(key), mode).decryptor()
        if sealed.additional_data:
            context.authenticate_additional_data(sealed.additional_data)
        return _AEADDecryptor(context)

    def encryptor(self, key: bytes) -> Encryptor:
        return Cipher(self.row.block_cipher(key), modes.GCM(self.nonce)).encryptor()


class _AEADDecryptor:
    def __init__(self, context: AEADDecryptionContext) -> None:
        self._context = context

    def update(self, data: bytes, /) -> bytes:
        return self._context.update(data)

    def finish(self) -> bytes:
        try:
            return self._context.finalize()
        except InvalidTag:
            raise DecryptionFailed from None
