"""RSA paddings taken off in software, for tokens that only raise to a power (RFC 8017 section 7).

Lengths are public, so they have words of their own; they are looked at before a key is used.

Every octet is looked at whatever the others are, and there is one answer to all
that is wrong, so that neither words nor time tell one fault from another as far
as Python allows it. What passes may still be garbage, as with any RSA key.
"""

from __future__ import annotations

import hashlib
import hmac

from sectool.cms.identifiers import HASHES
from sectool.cms.seams import OAEP, PKCS1v15, RSAPadding
from sectool.errors import DecryptionFailed, MalformedMessage

_LEAST_PADDING = 8
_MOST_DROPPED = 8
"""Leading zeros: more of them happen in no mail that was ever written."""


def whole_encrypted_key(encrypted_key: bytes, size: int) -> bytes:
    """An encryptedKey as long as the modulus: some writers drop its leading zeros.

    Args:
        encrypted_key: as the RecipientInfo has it.
        size: of the modulus, in bytes.

    Raises:
        MalformedMessage: it is longer, or shorter than dropped zeros explain.
    """
    if not size - _MOST_DROPPED <= len(encrypted_key) <= size:
        raise MalformedMessage(
            f"encryptedKey has {len(encrypted_key)} bytes;"
            f" the key that its recipient names takes {size}"
        )
    return encrypted_key.rjust(size, b"\0")


def unpad(encoded: bytes, padding: RSAPadding) -> bytes:
    """The message in an encoded block.

    Args:
        encoded: as long as the modulus.
        padding: that it was made with.

    Raises:
        DecryptionFailed: it was not made so.
    """
    if isinstance(padding, PKCS1v15):
        return _unpad_pkcs1_v1_5(encoded)
    return _unpad_oaep(encoded, padding)


def _unpad_pkcs1_v1_5(encoded: bytes) -> bytes:
    """RFC 8017 section 7.2.2: 00, 02, eight octets or more that are not zero, 00, message."""
    end, found = 0, 0
    for position, octet in enumerate(encoded):
        is_end = _is_zero(octet) & (position > 1) & (1 - found)
        end |= position * is_end
        found |= is_end
    good = _is_zero(encoded[0]) & _is_zero(encoded[1] ^ 2) & found
    good &= end >= 2 + _LEAST_PADDING
    if not good:
        raise DecryptionFailed
    return encoded[end + 1 :]


def _is_zero(octet: int) -> int:
    """1 for zero, else 0."""
    return ((octet - 1) >> 8) & 1


def _unpad_oaep(encoded: bytes, padding: OAEP) -> bytes:
    """RFC 8017 section 7.1.2."""
    if padding.hash_name not in HASHES or padding.mgf_hash_name not in HASHES:
        raise DecryptionFailed
    label_hash = hashlib.new(padding.hash_name, padding.label, usedforsecurity=False).digest()
    size = len(label_hash)
    if len(encoded) < 2 * size + 2:
        raise DecryptionFailed
    masked_seed, masked_block = encoded[1 : 1 + size], encoded[1 + size :]
    seed = _xor(masked_seed, _mgf1(padding.mgf_hash_name, masked_block, size))
    block = _xor(masked_block, _mgf1(padding.mgf_hash_name, seed, len(masked_block)))
    good = _is_zero(encoded[0]) & hmac.compare_digest(block[:size], label_hash)
    end, found = 0, 0
    for position, octet in enumerate(block[size:], size):
        is_end = _is_zero(octet ^ 1) & (1 - found)
        good &= found | is_end | _is_zero(octet)
        end |= position * is_end
        found |= is_end
    if not good & found:
        raise DecryptionFailed
    return block[end + 1 :]


def _mgf1(hash_name: str, seed: bytes, size: int) -> bytes:
    """RFC 8017 appendix B.2.1."""
    mask = b""
    counter = 0
    while len(mask) < size:
        block = seed + counter.to_bytes(4, "big")
        mask += hashlib.new(hash_name, block, usedforsecurity=False).digest()
        counter += 1
    return mask[:size]


def _xor(one: bytes, other: bytes) -> bytes:
    size = len(one)
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(size, "big")
