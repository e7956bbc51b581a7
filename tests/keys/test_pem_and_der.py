"""PEM and DER: any number of keys and certificates, encrypted or not, whatever lies around them."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sectool.cms.seams import IssuerAndSerialNumber
from sectool.errors import PassphraseError, UsageError
from sectool.keys import limits
from sectool.keys.containers import looks_like_key_or_certificate
from sectool.keys.history import KeyHistory
from sectool.keys.private_keys import SoftwareKey
from sectool.keys.problems import ProblemKind

PASSPHRASE = "correct horse"
Load = Callable[..., KeyHistory]
Encode = Callable[..., bytes]
Names = Callable[[x509.Certificate], IssuerAndSerialNumber]


@pytest.fixture
def plain(rsa_key: rsa.RSAPrivateKey, encode: Encode, tmp_path: Path) -> Path:
    path = tmp_path / "plain.input"
    path.write_bytes(encode(rsa_key, pem=True))
    return path


ENCRYPTIONS = {
    "traditional, AES-256": ["rsa", "-traditional", "-aes256"],
    "traditional, AES-128": ["rsa", "-traditional", "-aes128"],
    "traditional, Camellia": ["rsa", "-traditional", "-camellia192"],
    "traditional, DES": ["rsa", "-traditional", "-des", "-provider", "legacy"],
    "traditional, 3DES": ["rsa", "-traditional", "-des3"],
    "PKCS#8, default": ["pkcs8", "-topk8"],
    "PKCS#8, 3DES": ["pkcs8", "-topk8", "-v2", "des3"],
    "PKCS#8, HMAC-SHA-1": ["pkcs8", "-topk8", "-v2", "aes128", "-v2prf", "hmacWithSHA1"],
    "PKCS#8, HMAC-SHA-512": ["pkcs8", "-topk8", "-v2", "aes256", "-v2prf", "hmacWithSHA512"],
    "PKCS#8, scrypt": ["pkcs8", "-topk8", "-scrypt"],
    "PKCS#8, RC2": ["pkcs8", "-topk8", "-v2", "rc2", "-provider", "legacy"],
    "PKCS#8, RC2-64": ["pkcs8", "-topk8", "-v2", "rc2-64-cbc", "-provider", "legacy"],
    "PKCS#8, DES": ["pkcs8", "-topk8", "-v2", "des", "-provider", "legacy"],
    "PKCS#8, PBES1 MD5 and DES": ["pkcs8", "-topk8", "-v1", "PBE-MD5-DES", "-provider", "legacy"],
    "PKCS#8, PBES1 SHA-1 and RC2": [
        *("pkcs8", "-topk8", "-v1", "PBE-SHA1-RC2-64", "-provider", "legacy"),
    ],
    "PKCS#8, PKCS#12 3DES": ["pkcs8", "-topk8", "-v1", "PBE-SHA1-3DES"],
    "PKCS#8, PKCS#12 RC2-40": [
        *("pkcs8", "-topk8", "-v1", "PBE-SHA1-RC2-40", "-provider", "legacy"),
    ],
    "PKCS#8, PKCS#12 RC4": [
        *("pkcs8", "-topk8", "-v1", "PBE-SHA1-RC4-128", "-provider", "legacy"),
    ],
}


def encrypt(openssl: Any, plain: Path, out: Path, options: list[str]) -> None:
    providers = ["-provider", "default"] if "-provider" in options else []
    passphrase = ["-passout", f"pass:{PASSPHRASE}"]
    openssl(*options, *providers, "-in", plain, "-out", out, *passphrase)


@pytest.mark.parametrize("options", ENCRYPTIONS.values(), ids=ENCRYPTIONS)
def test_an_encrypted_key_of_openssl_opens(
    options: list[str], plain: Path, openssl: Any, load: Load, tmp_path: Path
) -> None:
    """B85."""
    out = tmp_path / "out.pem"
    encrypt(openssl, plain, out, options)
    assert [entry.algorithm for entry in load(out).entries] == ["RSA 2048"]


@pytest.mark.parametrize("options", ENCRYPTIONS.values(), ids=ENCRYPTIONS)
def test_an_encrypted_key_stays_shut_under_a_wrong_passphrase(
    options: list[str], plain: Path, openssl: Any, load: Load, tmp_path: Path
) -> None:
    out = tmp_path / "out.pem"
    encrypt(openssl, plain, out, options)
    with pytest.raises(PassphraseError):
        load(out, passphrase="wrong")


def test_an_encrypted_key_in_der_opens(
    rsa_key: rsa.RSAPrivateKey, encode: Encode, load: Load, tmp_path: Path
) -> None:
    path = tmp_path / "key.der"
    path.write_bytes(encode(rsa_key, PASSPHRASE))
    assert len(load(path)) == 1


@pytest.mark.parametrize("name", ["rsa", "small", "ec", "x25519", "ed25519"])
@pytest.mark.parametrize("pem", [False, True], ids=["DER", "PEM"])
def test_every_kind_of_key_is_listed(
    *,
    name: str,
    pem: bool,
    key_of: dict[str, PrivateKeyTypes],
    encode: Encode,
    load: Load,
    tmp_path: Path,
) -> None:
    path = tmp_path / "key"
    path.write_bytes(encode(key_of[name], pem=pem))
    (entry,) = load(path).entries
    expected = {"rsa": "RSA 2048", "small": "RSA 1024", "ec": "EC secp256r1"}
    assert entry.algorithm == expected.get(name, name.title())


@pytest.mark.parametrize("name", ["rsa", "ec"])
@pytest.mark.parametrize("encoding", [Encoding.DER, Encoding.PEM], ids=["DER", "PEM"])
def test_a_traditional_key_is_read(
    name: str, encoding: Encoding, key_of: dict[str, PrivateKeyTypes], load: Load, tmp_path: Path
) -> None:
    path = tmp_path / "key"
    old = PrivateFormat.TraditionalOpenSSL
    path.write_bytes(key_of[name].private_bytes(encoding, old, NoEncryption()))
    assert len(load(path)) == 1


@pytest.fixture
def bundle(key_of: dict[str, PrivateKeyTypes], certify: Any, encode: Encode) -> bytes:
    """Two keys and two certificates with text around them."""
    parts = [b"Bag Attributes\n    friendlyName: old\n"]
    for number, name in enumerate(["rsa", "small"], 1):
        parts.append(certify(key_of[name], serial_number=number).public_bytes(Encoding.PEM))
        parts.append(b"Key Attributes: <No Attributes>\n")
        parts.append(encode(key_of[name], PASSPHRASE if number == 1 else None, pem=True))
    return b"".join(parts)


LINE_ENDS = {"LF": b"\n", "CRLF": b"\r\n", "CR": b"\r", "blank lines between": b"\n\n"}


@pytest.mark.parametrize("line_end", LINE_ENDS.values(), ids=LINE_ENDS)
def test_all_of_a_pem_bundle_is_read(
    line_end: bytes, bundle: bytes, load: Load, tmp_path: Path
) -> None:
    path = tmp_path / "bundle.pem"
    path.write_bytes(bundle.replace(b"\n", line_end))
    history = load(path)
    assert [entry.has_certificate for entry in history.entries] == [True, True]
    assert history.problems == ()


def test_a_damaged_block_costs_only_itself(bundle: bytes, load: Load, tmp_path: Path) -> None:
    path = tmp_path / "bundle.pem"
    path.write_bytes(b"-----BEGIN PRIVATE KEY-----\n!!!\n-----END PRIVATE KEY-----\n" + bundle)
    history = load(path)
    assert len(history) == 2
    assert [problem.kind for problem in history.problems] == [ProblemKind.DAMAGED]


def test_a_block_without_end_is_a_problem(bundle: bytes, load: Load, tmp_path: Path) -> None:
    path = tmp_path / "bundle.pem"
    path.write_bytes(bundle + b"-----BEGIN PRIVATE KEY-----\nMII")
    assert "no end" in load(path).problems[0].reason


def test_certificates_in_other_files_find_their_key(
    *,
    rsa_key: rsa.RSAPrivateKey,
    certify: Any,
    encode: Encode,
    load: Load,
    names: Names,
    tmp_path: Path,
) -> None:
    """B85."""
    certificate = certify(rsa_key)
    key, other = tmp_path / "a.key", tmp_path / "b.cer"
    key.write_bytes(encode(rsa_key))
    other.write_bytes(certificate.public_bytes(Encoding.DER))
    assert len(load(other, key).find(names(certificate))) == 1


def test_base64_without_pem_lines_is_read(
    rsa_key: rsa.RSAPrivateKey, encode: Encode, load: Load, tmp_path: Path
) -> None:
    path = tmp_path / "key.txt"
    path.write_bytes(base64.encodebytes(encode(rsa_key)))
    assert len(load(path)) == 1


def test_a_thousand_certificates_in_one_file_are_read(
    rsa_key: rsa.RSAPrivateKey, certify: Any, encode: Encode, load: Load, tmp_path: Path
) -> None:
    """B85."""
    path = tmp_path / "many.pem"
    one = certify(rsa_key).public_bytes(Encoding.PEM)
    path.write_bytes(encode(rsa_key, pem=True) + one * 1000)
    assert len(load(path).entries) == 1


def test_a_wrong_coefficient_of_an_rsa_key_is_made_anew(
    rsa_key: rsa.RSAPrivateKey, encode: Encode, load: Load, tmp_path: Path
) -> None:
    path = tmp_path / "key.der"
    raw = bytearray(encode(rsa_key))
    raw[-5] ^= 0xFF  # in the CRT coefficient
    path.write_bytes(raw)
    (key,) = load(path).keys
    assert key.operations.portable == SoftwareKey(rsa_key, "").portable


def test_a_java_key_store_of_the_old_kind_is_named(load: Load, tmp_path: Path) -> None:
    path = tmp_path / "store.jks"
    path.write_bytes(b"\xfe\xed\xfe\xed" + bytes(40))
    with pytest.raises(UsageError) as caught:
        load(path)
    assert "keytool" in caught.value.hint


DEK_INFOS = ["AES-256-CBC,00", "AES-256-CBC,zz", "AES-256-CBC", "", "XYZ,0011", "DES-CBC,"]


@pytest.mark.parametrize("dek_info", DEK_INFOS)
def test_damaged_headers_of_an_old_pem_key_are_refused(
    dek_info: str, load: Load, tmp_path: Path
) -> None:
    path = tmp_path / "key.pem"
    headers = f"Proc-Type: 4,ENCRYPTED\nDEK-Info: {dek_info}\n\nAAAAAAAAAAAAAAAAAAAAAA==\n"
    path.write_text(f"-----BEGIN RSA PRIVATE KEY-----\n{headers}-----END RSA PRIVATE KEY-----\n")
    with pytest.raises(UsageError):
        load(path)


HOSTILE = {
    "empty": b"",
    "many begins": b"-----BEGIN PRIVATE KEY-----" * 40_000,
    "endless label": b"-----BEGIN " + b"A" * 1_000_000,
    "endless blanks": b"MII" + b" " * 1_000_000 + b"!",
    "one byte": b"\x30",
    "length of 2^63": b"\x30\x88\x7f" + b"\xff" * 7,
    "length of 2^1000": b"\x30\xfe" + b"\xff" * 200,
    "high tags": b"\x30\x84\x00\x00\x00\x08\x1f\x81\x81\x81\x81\x81\x81\x01",
    "too large": b"\x30" * (limits.MAXIMUM_FILE_BYTES + 1),
}


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_refused(raw: bytes, load: Load, tmp_path: Path) -> None:
    path = tmp_path / "hostile.pem"
    path.write_bytes(raw)
    with pytest.raises(UsageError):
        load(path)


def test_keys_and_certificates_are_told_from_mailboxes(
    rsa_key: rsa.RSAPrivateKey, certify: Any, encode: Encode, tmp_path: Path
) -> None:
    armoured = certify(rsa_key).public_bytes(Encoding.PEM)
    files = {
        "certificate.pem": (armoured, True),
        "certificate.der": (certify(rsa_key).public_bytes(Encoding.DER), True),
        "key": (encode(rsa_key), True),
        "text.crt": (b"Certificate:\n    Data:\n" + armoured, True),
        "mbox": (b"From alice Mon Jan  1 00:00:00 2024\nSubject: cert\n\n" + armoured, False),
        "mail.eml": (b"Subject: my certificate\n\n" + armoured, False),
        "empty": (b"", False),
        "README": (b"plain text", False),
    }
    for name, (raw, _) in files.items():
        (tmp_path / name).write_bytes(raw)
    found = {name: looks_like_key_or_certificate(tmp_path / name) for name in files}
    assert found == {name: expected for name, (_, expected) in files.items()}
    assert not looks_like_key_or_certificate(tmp_path)
    assert not looks_like_key_or_certificate(tmp_path / "missing")
