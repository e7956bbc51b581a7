"""Paddings come off in software as the library takes them off, and never in doubt."""

from __future__ import annotations

import itertools

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from sectool.cms.seams import OAEP, PKCS1v15
from sectool.errors import DecryptionFailed
from sectool.keys.unpadding import unpad

KEY = bytes(range(1, 33))
HASHES = {
    "sha1": hashes.SHA1(),
    "sha224": hashes.SHA224(),
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


def raised(key: rsa.RSAPrivateKey, encrypted: bytes) -> bytes:
    """The block that the raw private-key operation gives."""
    numbers = key.private_numbers()
    number = pow(int.from_bytes(encrypted, "big"), numbers.d, numbers.public_numbers.n)
    return number.to_bytes(key.key_size // 8, "big")


@pytest.mark.parametrize("size", [0, 1, 16, 245])
def test_pkcs1_v1_5_comes_off(size: int, rsa_key: rsa.RSAPrivateKey) -> None:
    message = bytes(size)
    encrypted = rsa_key.public_key().encrypt(message, padding.PKCS1v15())
    assert unpad(raised(rsa_key, encrypted), PKCS1v15()) == message


@pytest.mark.parametrize(("hash_name", "mgf"), list(itertools.product(HASHES, repeat=2)))
@pytest.mark.parametrize("label", [b"", b"label"])
def test_oaep_comes_off_with_any_hashes_and_label(
    hash_name: str, mgf: str, label: bytes, rsa_key: rsa.RSAPrivateKey
) -> None:
    oaep = padding.OAEP(padding.MGF1(HASHES[mgf]), HASHES[hash_name], label)
    block = raised(rsa_key, rsa_key.public_key().encrypt(KEY, oaep))
    assert unpad(block, OAEP(hash_name, mgf, label)) == KEY
    with pytest.raises(DecryptionFailed):
        unpad(block, OAEP(hash_name, mgf, b"other"))


RANDOM = bytes([1 + n % 255 for n in range(253 - len(KEY))])
NOT_PKCS1: dict[str, bytes] = {
    "first octet": b"\1\2" + RANDOM + b"\0" + KEY,
    "second octet": b"\0\1" + RANDOM + b"\0" + KEY,
    "no end": b"\0\2" + RANDOM + b"\1" + KEY,
    "end at once": b"\0\2\0" + RANDOM + KEY,
    "seven octets of padding": b"\0\2" + b"\7" * 7 + b"\0" + bytes([9]) * 246,
    "zeros": bytes(256),
}


@pytest.mark.parametrize("block", NOT_PKCS1.values(), ids=NOT_PKCS1)
def test_what_is_no_pkcs1_v1_5_block_fails_with_the_one_text(block: bytes) -> None:
    assert len(block) == 256
    with pytest.raises(DecryptionFailed) as caught:
        unpad(block, PKCS1v15())
    assert caught.value.message == DecryptionFailed.TEXT


def test_eight_octets_of_padding_are_enough() -> None:
    assert unpad(b"\0\2" + b"\7" * 8 + b"\0" + bytes(245), PKCS1v15()) == bytes(245)


def test_one_octet_changed_anywhere_in_an_oaep_block_fails(rsa_key: rsa.RSAPrivateKey) -> None:
    oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
    block = raised(rsa_key, rsa_key.public_key().encrypt(KEY, oaep))
    for position in range(0, len(block) - len(KEY), 3):
        changed = bytearray(block)
        changed[position] ^= 0x10
        with pytest.raises(DecryptionFailed):
            unpad(bytes(changed), OAEP())


@pytest.mark.parametrize(
    ("size", "asked"),
    [(41, OAEP()), (128, OAEP("sha512", "sha512")), (256, OAEP("md5")), (256, OAEP("sha1", "md5"))],
)
def test_a_block_that_is_too_short_or_a_hash_that_is_not_known_fails(
    size: int, asked: OAEP
) -> None:
    with pytest.raises(DecryptionFailed):
        unpad(bytes(size), asked)


def test_an_oaep_block_without_end_of_padding_fails() -> None:
    # All octets after the hash of the label are zero, masked as OAEP does it.
    import hashlib

    from sectool.keys.unpadding import _mgf1, _xor

    block = hashlib.sha1(b"").digest() + bytes(215)
    masked = _xor(block, _mgf1("sha1", bytes(20), len(block)))
    seed = _xor(bytes(20), _mgf1("sha1", masked, 20))
    with pytest.raises(DecryptionFailed):
        unpad(b"\0" + seed + masked, OAEP())
