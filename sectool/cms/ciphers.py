"""Content encryption in CBC, streamed, and what a row of the algorithm table is.

RFC 5652 section 6.3 (padding), RFC 3565. Knows no keys and no structure around
the encrypted content; modes with a tag stand in ``aead``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container
from typing import Protocol

from cryptography.hazmat.primitives.ciphers import (
    BlockCipherAlgorithm,
    Cipher,
    modes,
)

from sectool.asn1 import der
from sectool.cms.identifiers import AlgorithmIdentifier
from sectool.cms.reader import CMSReader
from sectool.errors import (
    DecryptionFailed,
    MalformedMessage,
)
from sectool.values import dataclass


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

    @property
    def is_aead(self) -> bool:
        """Whether ``finish`` verifies a tag over the content."""

    def check(self, sealed: SealedContent) -> None:
        """Refuses what cannot be whole, before any key is used.

        Raises:
            MalformedMessage: the size or tag cannot belong to this algorithm.
            UnsupportedMessage: the tag is missing.
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
    """Bytes of a cipher block and of an initialization vector."""
    specification: str
    """The document that gives its parameters."""
    read: Callable[[ContentEncryption, bytes | None], ContentCipher]
    """Reads the encoded parameters; raises MalformedMessage or UnsupportedMessage."""
    parameters: str = "initialization vector"
    """What its parameters are, in a few words."""
    is_aead: bool = False
    """Whether it has a tag, so that it belongs into AuthEnvelopedData and nothing else does."""
    block_cipher: Callable[[bytes], BlockCipherAlgorithm] | None = None
    """The block cipher under a key; None where ``read`` brings its own."""
    read_with_tag: Callable[[ContentEncryption, bytes | None], ContentCipher] | None = None
    """As ``read``, of content in EnvelopedData that ends in its tag; None: it has no such form."""
    new: Callable[[ContentEncryption], SealingCipher] | None = None
    """Fresh parameters from the system's random source; None: never written."""


@dataclass(frozen=True, slots=True)
class RowCipher:
    """What content ciphers have of their row of the table."""

    row: ContentEncryption

    @property
    def key_sizes(self) -> Container[int]:
        """As in ``ContentCipher``."""
        return self.row.key_sizes

    @property
    def is_aead(self) -> bool:
        """As in ``ContentCipher``."""
        return self.row.is_aead


# --- CBC ---------------------------------------------------------------------


def parameters_reader(parameters: bytes | None) -> CMSReader:
    """A reader of parameters that must be there."""
    if parameters is None:
        raise MalformedMessage("the parameters of the content encryption are missing")
    return CMSReader.over(parameters)


def read_iv(reader: CMSReader, size: int) -> bytes:
    """An initialization vector of ``size`` bytes."""
    iv = reader.read_octet_string("the initialization vector", reader.limits.identifier_size)
    if len(iv) != size:
        raise MalformedMessage(f"the initialization vector has {len(iv)} bytes instead of {size}")
    return iv


def check_whole_blocks(size: int, block_size: int) -> None:
    """Refuses encrypted content that CBC mode cannot have written."""
    if not size:
        raise MalformedMessage("the encrypted content is empty")
    if size % block_size:
        raise MalformedMessage(f"{size} bytes of encrypted content are not whole cipher blocks")


@dataclass(frozen=True, slots=True)
class CBC(RowCipher):
    """A block cipher in CBC mode with the padding of RFC 5652 section 6.3."""

    iv: bytes

    @classmethod
    def read(cls, row: ContentEncryption, parameters: bytes | None) -> CBC:
        """The parameters are the initialization vector, one block long (RFC 3565 section 4.2)."""
        return cls(row, read_iv(parameters_reader(parameters), row.block_size))

    @classmethod
    def new(cls, row: ContentEncryption) -> CBC:
        """With a fresh initialization vector."""
        return cls(row, os.urandom(row.block_size))

    @property
    def algorithm(self) -> AlgorithmIdentifier:
        return AlgorithmIdentifier(self.row.oid, der.octet_string(self.iv))

    def check(self, sealed: SealedContent) -> None:
        check_whole_blocks(sealed.size, self.row.block_size)

    def encrypted_size(self, size: int) -> int:
        return size + self.row.block_size - size % self.row.block_size

    def decryptor(self, key: bytes, sealed: SealedContent) -> Decryptor:  # noqa: ARG002 - the seam
        return CBCDecryptor(self._cipher(key).decryptor(), self.row.block_size)

    def encryptor(self, key: bytes) -> Encryptor:
        return _CBCEncryptor(self._cipher(key).encryptor(), self.row.block_size)

    def _cipher(self, key: bytes) -> Cipher[modes.CBC]:
        assert self.row.block_cipher is not None
        return Cipher(self.row.block_cipher(key), modes.CBC(self.iv))


class BlockContext(Protocol):
    """Blocks under way through a cipher in CBC mode."""

    def update(self, data: bytes, /) -> bytes:
        """What ``data`` becomes, as far as whole blocks are there."""

    def finalize(self) -> bytes:
        """The rest; ValueError: no whole block was left."""


class CBCDecryptor:
    """Takes the padding off what a cipher in CBC mode gives."""

    def __init__(self, context: BlockContext, block_size: int) -> None:
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

    def __init__(self, context: BlockContext, block_size: int) -> None:
        self._context = context
        self._block_size = block_size
        self._size = 0

    def update(self, data: bytes, /) -> bytes:
        self._size += len(data)
        return self._context.update(data)

    def finalize(self) -> bytes:
        padding = self._block_size - self._size % self._block_size
        return self._context.update(bytes((padding,)) * padding) + self._context.finalize()
