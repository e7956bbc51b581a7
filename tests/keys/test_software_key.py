"""RSA keys open what was encrypted to them; every failure looks the same."""

from __future__ import annotations

import itertools

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from sectool.cms.seams import OAEP, PKCS1v15, RSAPadding
from sectool.errors import DecryptionFailed
from sectool.keys.private_keys import SoftwareKey

HASHES = {
    "sha1": hashes.SHA1(),
    "sha224": hashes.SHA224(),
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
CONTENT_ENCRYPTION_KEY = bytes(range(32))


@pytest.mark.parametrize("name", ["rsa", "small"])
def test_pkcs1_v1_5_opens(name: str, key_of: dict[str, PrivateKeyTypes]) -> None:
    key = key_of[name]
    assert isinstance(key, rsa.RSAPrivateKey)
    encrypted = key.public_key().encrypt(CONTENT_ENCRYPTION_KEY, padding.PKCS1v15())
    assert SoftwareKey(key, "k").decrypt_rsa(encrypted, PKCS1v15()) == CONTENT_ENCRYPTION_KEY


@pytest.mark.parametrize(("hash_name", "mgf"), list(itertools.product(HASHES, repeat=2)))
@pytest.mark.parametrize("label", [b"", b"label"])
def test_oaep_opens_with_any_hashes_and_label(
    hash_name: str, mgf: str, label: bytes, rsa_key: rsa.RSAPrivateKey
) -> None:
    oaep = padding.OAEP(padding.MGF1(HASHES[mgf]), HASHES[hash_name], label)
    encrypted = rsa_key.public_key().encrypt(CONTENT_ENCRYPTION_KEY, oaep)
    opened = SoftwareKey(rsa_key, "k").decrypt_rsa(encrypted, OAEP(hash_name, mgf, label))
    assert opened == CONTENT_ENCRYPTION_KEY


FAILURES: dict[str, tuple[str, bytes, RSAPadding]] = {
    "not an RSA key": ("ec", bytes(256), PKCS1v15()),
    "too short": ("rsa", bytes(10), PKCS1v15()),
    "too long": ("rsa", bytes(1000), PKCS1v15()),
    "empty": ("rsa", b"", PKCS1v15()),
    "above the modulus": ("rsa", b"\xff" * 256, PKCS1v15()),
    "OAEP that does not fit": ("rsa", bytes(255) + b"\2", OAEP()),
    "unknown hash": ("rsa", bytes(256), OAEP(hash_name="md4")),
    "hash too long for the key": ("small", bytes(128), OAEP("sha512", "sha512")),
}


@pytest.mark.parametrize(("name", "encrypted", "asked"), FAILURES.values(), ids=FAILURES)
def test_every_failure_is_one_error_with_one_text(
    name: str, encrypted: bytes, asked: RSAPadding, key_of: dict[str, PrivateKeyTypes]
) -> None:
    with pytest.raises(DecryptionFailed) as caught:
        SoftwareKey(key_of[name], "k").decrypt_rsa(encrypted, asked)
    assert caught.value.message == DecryptionFailed.TEXT


def test_a_wrong_label_fails(rsa_key: rsa.RSAPrivateKey) -> None:
    oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), b"one")
    encrypted = rsa_key.public_key().encrypt(b"key", oaep)
    with pytest.raises(DecryptionFailed):
        SoftwareKey(rsa_key, "k").decrypt_rsa(encrypted, OAEP(label=b"two"))


def test_the_repr_of_a_key_is_its_label(rsa_key: rsa.RSAPrivateKey) -> None:
    assert repr(SoftwareKey(rsa_key, "a.p12: CN=Alice")) == "SoftwareKey('a.p12: CN=Alice')"
