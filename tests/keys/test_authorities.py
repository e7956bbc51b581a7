"""Who issued the certificates of a history: their names, and the keys that signed."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from sectool.keys import KeyHistory, authority_names
from sectool.keys.certificates import UNREADABLE_NAME

Load = Callable[..., KeyHistory]
NAME = "CN=Test Authority"


def signed_by(identifier: bytes) -> list[x509.ExtensionType]:
    return [x509.AuthorityKeyIdentifier(identifier, None, None)]


def history(
    load: Load,
    place: Path,
    key: bytes,
    certificates: Sequence[x509.Certificate],
) -> KeyHistory:
    path = place / "history.pem"
    path.write_bytes(key + b"".join(each.public_bytes(Encoding.PEM) for each in certificates))
    return load(path)


def test_an_authority_is_named_with_every_key_it_signed_with(
    *, rsa_key: rsa.RSAPrivateKey, certify: Any, encode: Any, load: Load, tmp_path: Path
) -> None:
    certificates = [
        certify(rsa_key, serial_number=1, extensions=signed_by(b"one")),
        certify(rsa_key, serial_number=2, extensions=signed_by(b"two")),
    ]
    found = authority_names(history(load, tmp_path, encode(rsa_key, pem=True), certificates))
    assert found == {NAME: {b"one", b"two"}}


def test_an_authority_may_be_any_where_one_certificate_does_not_say_its_key(
    *, rsa_key: rsa.RSAPrivateKey, certify: Any, encode: Any, load: Load, tmp_path: Path
) -> None:
    certificates = [
        certify(rsa_key, serial_number=1, extensions=signed_by(b"one")),
        certify(rsa_key, serial_number=2),
    ]
    found = authority_names(history(load, tmp_path, encode(rsa_key, pem=True), certificates))
    assert found == {NAME: set()}


def test_a_history_without_certificates_names_nobody(
    rsa_key: rsa.RSAPrivateKey, encode: Any, load: Load, tmp_path: Path
) -> None:
    assert authority_names(history(load, tmp_path, encode(rsa_key, pem=True), [])) == {}


def test_a_certificate_of_a_version_that_is_none_says_nothing_of_its_authority(
    *, rsa_key: rsa.RSAPrivateKey, certify: Any, encode: Any, load: Load, tmp_path: Path
) -> None:
    der = certify(rsa_key, extensions=signed_by(b"one")).public_bytes(Encoding.DER)
    version = bytes.fromhex("a003020102")
    assert der.count(version) == 1
    odd = base64.encodebytes(der.replace(version, bytes.fromhex("a003020107")))
    path = tmp_path / "history.pem"
    armoured = b"-----BEGIN CERTIFICATE-----\n" + odd + b"-----END CERTIFICATE-----\n"
    path.write_bytes(encode(rsa_key, pem=True) + armoured)
    assert authority_names(load(path)) == {UNREADABLE_NAME: set()}
