"""Key wrap: a content-encryption key under a key-encryption key (RFC 3394, RFC 3217).

Every algorithm here checks itself: what comes out was wrapped under that key.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from functools import partial

from cryptography.hazmat.decrepit.ciphers.algorithms import SEED, Camellia, TripleDES
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, Cipher, modes
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from sectool.asn1 import der
from sectool.cms import oids
from sectool.cms.identifiers import AlgorithmIdentifier, require_null_or_absent
from sectool.errors import DecryptionFailed, MalformedMessage, UnsupportedMessage
from sectool.values import dataclass

_HALF = 8
"""Bytes of half a block, the unit that RFC 3394 wraps."""
_INTEGRITY_CHECK = bytes.fromhex("a6a6a6a6a6a6a6a6")
"""RFC 3394 section 2.2.3.1."""
_ROUNDS = 6
_TRIPLE_DES_BLOCK = 8
_TRIPLE_DES_VECTOR = bytes.fromhex("4adda22c79e82105")
"""RFC 3217 section 3.1, of the outer encryption."""


@dataclass(frozen=True, slots=True)
class KeyWrap:
    """One row of the table of key-wrap algorithms."""

    oid: str
    key_size: int
    """Bytes of the key-encryption key."""
    specification: str
    """The document that describes it."""
    unwrap: Callable[[bytes, bytes], bytes]
    """From key-encryption key and wrapped key to the key; raises DecryptionFailed."""
    overhead: int = _HALF
    """Bytes by which the wrapped key is longer than the key."""

    def check(self, wrapped: bytes) -> None:
        """Refuses what no key can have wrapped, before any is used.

        Raises:
            MalformedMessage: its length.
        """
        if len(wrapped) % _HALF or len(wrapped) < self.overhead + 2 * _HALF:
            name = oids.key_encryption_name(self.oid)
            raise MalformedMessage(
                f"encryptedKey has {len(wrapped)} bytes, which {name} never gives"
            )


def _aes_unwrap(key_encryption_key: bytes, wrapped: bytes) -> bytes:
    try:
        return aes_key_unwrap(key_encryption_key, wrapped)
    except (InvalidUnwrap, ValueError):
        raise DecryptionFailed from None


def block_cipher_unwrap(
    cipher: Callable[[bytes], BlockCipherAlgorithm], key_encryption_key: bytes, wrapped: bytes
) -> bytes:
    """RFC 3394 section 2.2.2 over any cipher of 128-bit blocks; the primitive library has AES.

    Args:
        cipher: makes the block cipher of a key.
        key_encryption_key: of a size that the cipher takes.
        wrapped: the key under it, 8 bytes longer.

    Raises:
        DecryptionFailed: this was not wrapped under that key.
    """
    if len(wrapped) % _HALF or len(wrapped) < 3 * _HALF:
        raise DecryptionFailed
    check, *halves = (wrapped[at : at + _HALF] for at in range(0, len(wrapped), _HALF))
    decryptor = Cipher(cipher(key_encryption_key), modes.ECB()).decryptor()  # noqa: S305 - RFC 3394 chains
    for step in range(_ROUNDS * len(halves), 0, -1):
        at = (step - 1) % len(halves)
        masked = (int.from_bytes(check) ^ step).to_bytes(_HALF)
        block = decryptor.update(masked + halves[at])
        check, halves[at] = block[:_HALF], block[_HALF:]
    if not hmac.compare_digest(check, _INTEGRITY_CHECK):
        raise DecryptionFailed
    return b"".join(halves)


def _triple_des_unwrap(key_encryption_key: bytes, wrapped: bytes) -> bytes:
    """RFC 3217 section 3.2; the key inside may be of any whole number of blocks.

    Parity bits are not looked at: OpenSSL wraps AES keys this way.
    """
    if len(wrapped) % _TRIPLE_DES_BLOCK or len(wrapped) < 4 * _TRIPLE_DES_BLOCK:
        raise DecryptionFailed
    outer = _triple_des_cbc(key_encryption_key, _TRIPLE_DES_VECTOR, wrapped)[::-1]
    vector, inner = outer[:_TRIPLE_DES_BLOCK], outer[_TRIPLE_DES_BLOCK:]
    opened = _triple_des_cbc(key_encryption_key, vector, inner)
    key, checksum = opened[:-_TRIPLE_DES_BLOCK], opened[-_TRIPLE_DES_BLOCK:]
    expected = hashlib.sha1(key, usedforsecurity=False).digest()[:_TRIPLE_DES_BLOCK]
    if not hmac.compare_digest(checksum, expected):
        raise DecryptionFailed
    return key


def _triple_des_cbc(key: bytes, iv: bytes, ciphertext: bytes) -> bytes:
    decryptor = Cipher(TripleDES(key), modes.CBC(iv)).decryptor()
    return decryptor.update(ciphertext) + decryptor.finalize()


_camellia_unwrap = partial(block_cipher_unwrap, Camellia)
_seed_unwrap = partial(block_cipher_unwrap, SEED)
KEY_WRAPS = {
    row.oid: row
    for row in (
        KeyWrap(oids.AES_128_WRAP, 16, "RFC 3565 section 2.3.2", _aes_unwrap),
        KeyWrap(oids.AES_192_WRAP, 24, "RFC 3565 section 2.3.2", _aes_unwrap),
        KeyWrap(oids.AES_256_WRAP, 32, "RFC 3565 section 2.3.2", _aes_unwrap),
        KeyWrap(oids.TRIPLE_DES_WRAP, 24, "RFC 3217 section 3", _triple_des_unwrap, 2 * _HALF),
        KeyWrap(oids.CAMELLIA_128_WRAP, 16, "RFC 3657 section 3", _camellia_unwrap),
        KeyWrap(oids.CAMELLIA_192_WRAP, 24, "RFC 3657 section 3", _camellia_unwrap),
        KeyWrap(oids.CAMELLIA_256_WRAP, 32, "RFC 3657 section 3", _camellia_unwrap),
        KeyWrap(oids.SEED_WRAP, 16, "RFC 4010 section 3", _seed_unwrap),
    )
}
"""Rows by object identifier."""


def key_wrap(algorithm: AlgorithmIdentifier) -> KeyWrap:
    """The row of a KeyWrapAlgorithm.

    Raises:
        UnsupportedMessage: it has none.
        MalformedMessage: it has parameters where none belong.
    """
    row = KEY_WRAPS.get(algorithm.oid)
    if row is None:
        name = oids.key_encryption_name(algorithm.oid)
        raise UnsupportedMessage(f"key wrap {name} is not supported")
    require_null_or_absent(algorithm, oids.key_encryption_name(algorithm.oid))
    return row


def with_and_without_null(wrap: AlgorithmIdentifier) -> tuple[AlgorithmIdentifier, ...]:
    """A KeyWrapAlgorithm as it is bound to a derived key: as it stands, and the other way.

    Some writers derive with absent parameters (RFC 3565 section 2.3.2) and write NULL, or the
    other way about. The key wrap checks itself, so that both can be tried.

    Args:
        wrap: as the message has it; without parameters but NULL.
    """
    forms = (None, der.NULL) if wrap.parameters is None else (der.NULL, None)
    return tuple(AlgorithmIdentifier(wrap.oid, parameters) for parameters in forms)


AES_256_WRAP = AlgorithmIdentifier(oids.AES_256_WRAP)
"""What is written, whatever the kind of recipient."""


def wrap_with_aes_256(key_encryption_key: bytes, content_encryption_key: bytes) -> bytes:
    """Wraps under a key of 32 bytes; the result is 8 bytes longer."""
    return aes_key_wrap(key_encryption_key, content_encryption_key)
