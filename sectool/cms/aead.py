"""Content encryption with a tag, streamed: AES-GCM, AES-CCM and ChaCha20-Poly1305.

RFC 5084, RFC 8103. Knows no keys and no structure around the encrypted content.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import AEADDecryptionContext, Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from sectool.asn1 import der, tags
from sectool.cms.ciphers import (
    ContentEncryption,
    Decryptor,
    Encryptor,
    RowCipher,
    SealedContent,
    parameters_reader,
)
from sectool.cms.identifiers import AlgorithmIdentifier
from sectool.cms.reader import CMSReader
from sectool.errors import (
    DecryptionFailed,
    LimitExceeded,
    MalformedMessage,
    UnsupportedMessage,
)
from sectool.values import dataclass

_DEFAULT_TAG_SIZE = 12
_FULL_TAG_SIZE = 16
_GCM_NONCE_SIZE = 12
_GCM_NONCE_SIZES = range(8, 129)
"""Those that the primitive library takes; pkijs writes 16."""
_GCM_TAG_SIZES = range(12, 17)
_GCM_LONGEST = 2**36 - 32
_CCM_NONCE_SIZES = range(7, 14)
_CCM_TAG_SIZES = range(4, 17, 2)
_CHACHA20_NONCE_SIZE = 12
_CHACHA20_LONGEST = 2**38 - 64


TAG_FAILURE = "the tag is missing or does not verify"
"""One text for content that should end in its tag: nothing tells the two apart."""


def _read_parameters(parameters: bytes | None, mode: str) -> tuple[bytes, int | None]:
    """Nonce and tag length of GCMParameters and CCMParameters, which look alike."""
    reader = parameters_reader(parameters)
    reader.enter(tags.SEQUENCE, f"{mode} parameters")
    return _read_nonce_and_size(reader, mode)


def _read_odd_parameters(parameters: bytes | None) -> tuple[bytes, int | None]:
    """GCMParameters as programs write them that put GCM into an EnvelopedData.

    pkijs and what is made with it write the bare nonce; the pkcs7 packages of Go put
    GCMParameters into a SEQUENCE once more, and forget that it is constructed.
    """
    reader = parameters_reader(parameters)
    if reader.at(tags.OCTET_STRING):
        return _read_nonce(reader, "GCM"), None
    for _ in range(2):
        header = reader.take_tag(tags.SEQUENCE, "GCM parameters")
        if header.constructed:
            reader.enter_header(header, "GCM parameters")
        if reader.at(tags.OCTET_STRING):
            break
    return _read_nonce_and_size(reader, "GCM")


def _read_nonce(reader: CMSReader, mode: str) -> bytes:
    return reader.read_octet_string(f"the {mode} nonce", reader.limits.identifier_size)


def _read_nonce_and_size(reader: CMSReader, mode: str) -> tuple[bytes, int | None]:
    nonce = _read_nonce(reader, mode)
    tag_size = None if reader.peek() is None else reader.read_integer(f"the {mode} tag length")
    reader.leave(f"{mode} parameters")
    return nonce, tag_size


def _check_tag(mac: bytes, declared: int | None) -> None:
    # The default is 12 (RFC 5084), but Exchange writes 16 and omits the
    # length: both are verified in full, whichever stands there.
    accepted = (_DEFAULT_TAG_SIZE, _FULL_TAG_SIZE) if declared is None else (declared,)
    if len(mac) not in accepted:
        raise MalformedMessage(f"an authentication tag of {len(mac)} bytes is wrong here")


def _check_length(size: int, longest: int) -> None:
    if size > longest:
        raise MalformedMessage("the encrypted content is longer than its algorithm allows")


@dataclass(frozen=True, slots=True)
class GCM(RowCipher):
    """AES in Galois/Counter Mode (RFC 5084 section 3.2)."""

    nonce: bytes
    tag_size: int | None
    """aes-ICVlen; None where it is absent."""

    @classmethod
    def read(cls, row: ContentEncryption, parameters: bytes | None) -> GCM:
        """GCMParameters: nonce and tag length."""
        nonce, tag_size = _read_parameters(parameters, "GCM")
        _check_gcm(nonce, tag_size)
        return cls(row, nonce, tag_size)

    @classmethod
    def new(cls, row: ContentEncryption) -> GCM:
        """With a fresh nonce; the key must be fresh as well."""
        return cls(row, os.urandom(_GCM_NONCE_SIZE), _FULL_TAG_SIZE)

    @property
    def algorithm(self) -> AlgorithmIdentifier:
        size = b"" if self.tag_size is None else der.integer(self.tag_size)
        return AlgorithmIdentifier(self.row.oid, der.sequence(der.octet_string(self.nonce), size))

    def check(self, sealed: SealedContent) -> None:
        _check_tag(sealed.mac, self.tag_size)
        _check_length(sealed.size, _GCM_LONGEST)

    def encrypted_size(self, size: int) -> int:
        if size > _GCM_LONGEST:
            raise LimitExceeded("the content is longer than GCM allows")
        return size

    def decryptor(self, key: bytes, sealed: SealedContent) -> Decryptor:
        mode = modes.GCM(self.nonce, sealed.mac, min_tag_length=min(_GCM_TAG_SIZES))
        context = Cipher(AES(key), mode).decryptor()
        if sealed.additional_data:
            context.authenticate_additional_data(sealed.additional_data)
        return _GCMDecryptor(context)

    def encryptor(self, key: bytes) -> Encryptor:
        return Cipher(AES(key), modes.GCM(self.nonce)).encryptor()


def _check_gcm(nonce: bytes, tag_size: int | None) -> None:
    if not nonce:
        raise MalformedMessage("the GCM nonce is empty")
    if len(nonce) not in _GCM_NONCE_SIZES:
        raise UnsupportedMessage(f"a GCM nonce of {len(nonce)} bytes is not supported")
    if tag_size is not None and tag_size not in _GCM_TAG_SIZES:
        raise MalformedMessage("the GCM tag length is not 12 to 16")


@dataclass(frozen=True, slots=True)
class GCMWithTag(RowCipher):
    """AES-GCM in an EnvelopedData, which has no place for a tag: the content ends in it.

    No document describes it. OpenSSL leaves the tag out, and such content proves nothing:
    it is not opened.
    """

    nonce: bytes
    tag_size: int

    @classmethod
    def read(cls, row: ContentEncryption, parameters: bytes | None) -> GCMWithTag:
        """GCMParameters, or what some programs write in their place; 16 is the default."""
        nonce, tag_size = _read_odd_parameters(parameters)
        _check_gcm(nonce, tag_size)
        return cls(row, nonce, _FULL_TAG_SIZE if tag_size is None else tag_size)

    def check(self, sealed: SealedContent) -> None:
        if sealed.size < self.tag_size:
            raise UnsupportedMessage(TAG_FAILURE)
        _check_length(sealed.size - self.tag_size, _GCM_LONGEST)

    def decryptor(self, key: bytes, sealed: SealedContent) -> Decryptor:  # noqa: ARG002 - the seam
        mode = modes.GCM(self.nonce, None, min_tag_length=min(_GCM_TAG_SIZES))
        return _GCMWithTagDecryptor(Cipher(AES(key), mode).decryptor(), self.tag_size)


class _GCMWithTagDecryptor:
    def __init__(self, context: AEADDecryptionContext, tag_size: int) -> None:
        self._context = context
        self._tag_size = tag_size
        self._held = b""

    def update(self, data: bytes, /) -> bytes:
        held = self._held + data
        self._held = held[-self._tag_size :]
        return self._context.update(held[: -self._tag_size])

    def finish(self) -> bytes:
        try:
            return self._context.finalize_with_tag(self._held)
        except (InvalidTag, ValueError):
            raise DecryptionFailed from None


class _GCMDecryptor:
    def __init__(self, context: AEADDecryptionContext) -> None:
        self._context = context

    def update(self, data: bytes, /) -> bytes:
        return self._context.update(data)

    def finish(self) -> bytes:
        try:
            return self._context.finalize()
        except InvalidTag:
            raise DecryptionFailed from None


@dataclass(frozen=True, slots=True)
class CCM(RowCipher):
    """AES in Counter with CBC-MAC mode (RFC 5084 section 3.1); opened only."""

    nonce: bytes
    tag_size: int | None
    """aes-ICVlen; None where it is absent."""

    @classmethod
    def read(cls, row: ContentEncryption, parameters: bytes | None) -> CCM:
        """CCMParameters: nonce and tag length."""
        nonce, tag_size = _read_parameters(parameters, "CCM")
        if len(nonce) not in _CCM_NONCE_SIZES:
            raise MalformedMessage("the CCM nonce has not 7 to 13 bytes")
        if tag_size is not None and tag_size not in _CCM_TAG_SIZES:
            raise MalformedMessage("the CCM tag length is not an even number from 4 to 16")
        return cls(row, nonce, tag_size)

    def check(self, sealed: SealedContent) -> None:
        _check_tag(sealed.mac, self.tag_size)
        # The nonce and the length field share 15 bytes (RFC 3610 section 2.1).
        _check_length(sealed.size, 256 ** (15 - len(self.nonce)) - 1)

    def decryptor(self, key: bytes, sealed: SealedContent) -> Decryptor:
        # Both lengths stand in the first block that is authenticated, so the
        # cipher is told before it sees any content.
        import Cryptodome.Cipher.AES  # noqa: PLC0415  # slow to load, and rare

        cipher = Cryptodome.Cipher.AES.new(  # type: ignore[call-overload]  # the stub lacks msg_len
            key,
            Cryptodome.Cipher.AES.MODE_CCM,
            nonce=self.nonce,
            mac_len=len(sealed.mac),
            msg_len=sealed.size,
            assoc_len=len(sealed.additional_data),
        )
        return _begin(cipher, sealed)


@dataclass(frozen=True, slots=True)
class ChaCha20Poly1305(RowCipher):
    """ChaCha20 with Poly1305 (RFC 8103, RFC 8439); opened only."""

    nonce: bytes

    @classmethod
    def read(cls, row: ContentEncryption, parameters: bytes | None) -> ChaCha20Poly1305:
        """AEADChaCha20Poly1305Nonce (RFC 8103 section 3)."""
        reader = parameters_reader(parameters)
        nonce = reader.read_octet_string("the nonce", reader.limits.identifier_size)
        if len(nonce) != _CHACHA20_NONCE_SIZE:
            raise MalformedMessage("the ChaCha20-Poly1305 nonce has not 12 bytes")
        return cls(row, nonce)

    def check(self, sealed: SealedContent) -> None:
        _check_tag(sealed.mac, _FULL_TAG_SIZE)
        _check_length(sealed.size, _CHACHA20_LONGEST)

    def decryptor(self, key: bytes, sealed: SealedContent) -> Decryptor:
        from Cryptodome.Cipher import ChaCha20_Poly1305  # noqa: PLC0415  # likewise

        return _begin(ChaCha20_Poly1305.new(key=key, nonce=self.nonce), sealed)


class _TaggedCipher(Protocol):
    @property
    def update(self) -> Callable[[bytes], object]: ...
    @property
    def decrypt(self) -> Callable[[bytes], bytes]: ...
    @property
    def verify(self) -> Callable[[bytes], object]: ...


def _begin(cipher: _TaggedCipher, sealed: SealedContent) -> Decryptor:
    if sealed.additional_data:
        cipher.update(sealed.additional_data)
    return _TaggedDecryptor(cipher, sealed.mac)


class _TaggedDecryptor:
    def __init__(self, cipher: _TaggedCipher, mac: bytes) -> None:
        self._cipher = cipher
        self._mac = mac

    def update(self, data: bytes, /) -> bytes:
        return self._cipher.decrypt(data)

    def finish(self) -> bytes:
        try:
            self._cipher.verify(self._mac)
        except ValueError:
            raise DecryptionFailed from None
        return b""
