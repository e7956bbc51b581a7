"""Key derivations of a key file are bounded, and what makes no sense is told (B84, B85)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from sectool.asn1 import der
from sectool.errors import UsageError
from sectool.keys import limits
from sectool.keys.derivation import PKCS12Derivation, Purpose
from sectool.keys.history import KeyHistory

Load = Callable[..., KeyHistory]

PBES2, PBKDF2, SCRYPT = (
    "1.2.840.113549.1.5.13",
    "1.2.840.113549.1.5.12",
    "1.3.6.1.4.1.11591.4.11",
)
AES_256_CBC = der.sequence(der.oid("2.16.840.1.101.3.4.1.42"), der.octet_string(bytes(16)))
SALT = der.octet_string(b"salt")


def encrypted_key(*derivation: bytes) -> bytes:
    """An EncryptedPrivateKeyInfo (RFC 5958) of no key at all."""
    parameters = der.sequence(der.sequence(*derivation), AES_256_CBC)
    return der.sequence(der.sequence(der.oid(PBES2), parameters), der.octet_string(bytes(64)))


def pbkdf2(*parameters: bytes) -> bytes:
    return encrypted_key(der.oid(PBKDF2), der.sequence(*parameters))


def scrypt(cost: int, block_size: int = 8, parallelisation: int = 1) -> bytes:
    numbers = map(der.integer, (cost, block_size, parallelisation))
    return encrypted_key(der.oid(SCRYPT), der.sequence(SALT, *numbers))


REFUSED = {
    "PBKDF2 without iterations": (pbkdf2(SALT), "PBKDF2 has no iterations"),
    "PBKDF2 of no rounds": (pbkdf2(SALT, der.integer(0)), "no iterations"),
    "PBKDF2 of negative rounds": (pbkdf2(SALT, der.integer(-5)), "no iterations"),
    "PBKDF2 without end": (
        pbkdf2(SALT, der.integer(limits.MAXIMUM_ITERATIONS + 1)),
        "iterations",
    ),
    "PBKDF2 with a long salt": (
        pbkdf2(der.octet_string(bytes(limits.MAXIMUM_SALT_BYTES + 1)), der.integer(1)),
        "the salt of a key derivation is too long",
    ),
    "PBKDF2 with a hash nobody knows": (
        pbkdf2(SALT, der.integer(1), der.sequence(der.oid("1.2.3"))),
        "the message authentication code 1.2.3",
    ),
    "scrypt without parameters": (
        encrypted_key(der.oid(SCRYPT), der.sequence(SALT)),
        "scrypt has no parameters",
    ),
    "scrypt of an odd cost": (scrypt(1000), "the parameters of scrypt make no sense"),
    "scrypt of no cost": (scrypt(1), "the parameters of scrypt make no sense"),
    "scrypt of no blocks": (scrypt(16, 0), "the parameters of scrypt make no sense"),
    "scrypt of no lanes": (scrypt(16, 8, 0), "the parameters of scrypt make no sense"),
    "scrypt in a gigabyte": (scrypt(2**20), "scrypt asks for too much memory"),
    "scrypt of many lanes": (scrypt(2, 1, 2**24), "scrypt asks for too much memory"),
    "a derivation nobody knows": (
        encrypted_key(der.oid("1.2.3"), der.sequence()),
        "the key derivation 1.2.3",
    ),
    "a derivation without parameters": (
        encrypted_key(der.oid(PBKDF2)),
        "a key derivation has no parameters",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_derivation_that_cannot_serve_is_refused(name: str, load: Load, tmp_path: Path) -> None:
    raw, reason = REFUSED[name]
    (tmp_path / "some.key").write_bytes(raw)
    with pytest.raises(UsageError, match=reason):
        load(tmp_path / "some.key")


GPGSM_FILE = Path(__file__).with_name("gpgsm-2.2.40.pem")
"""Written by gpgsm 2.2.40 with a salt for which it derives another key than RFC 7292 does.

OpenSSL 3.0 reads the certificate in it and fails with "bad decrypt" at the key.
"""


def test_a_key_that_gpgsm_derived_in_its_own_way_opens(load: Load) -> None:
    (entry,) = load(GPGSM_FILE).entries
    assert entry.has_certificate


def test_what_gpgsm_derives_otherwise_is_told_only_where_it_differs() -> None:
    passphrase = "correct horse".encode("utf-16-be") + b"\0\0"
    salts = {
        "f6c98851f9b6612a": [
            "0004e88133b6db5c98a37a3a908d776a5f95ffe35a8f09f2",
            "0004e88133b6db5c98a37a3a908d776a5f95ffe3a8a5dc2f",
        ],
        "0000000000000000": ["fc4718aef185fca3bc939ef1af3518bd3f28c63c3c1d48a5"],
    }
    for salt, keys in salts.items():
        derivation = PKCS12Derivation("sha1", bytes.fromhex(salt), 2048)
        derived = [key.hex() for key in derivation.derivations(passphrase, Purpose.KEY, 24)]
        assert derived == keys


PASSPHRASE_FORMS = {
    "NSS before 3.31": ("Grüße", "Grüße".encode("utf-16-be") + b"\0\0"),
    "PKI.js": ("żółw", bytes(ord(letter) & 0xFF for letter in "żółw")),
    "UTF-8": ("żółw", "żółw".encode()),
}


@pytest.mark.parametrize(("passphrase", "form"), PASSPHRASE_FORMS.values(), ids=PASSPHRASE_FORMS)
def test_a_passphrase_is_tried_in_every_form_that_a_program_gave_to_pbes2(
    *, passphrase: str, form: bytes, small_rsa_key: Any, encode: Any, load: Load, tmp_path: Path
) -> None:
    key = hashlib.pbkdf2_hmac("sha256", form, b"salt", 2, 32)
    hmac_sha256 = der.sequence(der.oid("1.2.840.113549.2.9"))
    derivation = der.sequence(der.oid(PBKDF2), der.sequence(SALT, der.integer(2), hmac_sha256))
    padder = PKCS7(128).padder()
    plaintext = padder.update(encode(small_rsa_key)) + padder.finalize()
    encryptor = Cipher(AES(key), CBC(bytes(16))).encryptor()
    algorithm = der.sequence(der.oid(PBES2), der.sequence(derivation, AES_256_CBC))
    path = tmp_path / "a.key"
    path.write_bytes(der.sequence(algorithm, der.octet_string(encryptor.update(plaintext))))
    assert len(load(path, passphrase=passphrase)) == 1
