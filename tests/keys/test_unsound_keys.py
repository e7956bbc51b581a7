"""Certificates whose public key opens the mail to anybody: refused, whatever a person accepts."""

from __future__ import annotations

import hashlib
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from sectool.asn1 import der, tags
from sectool.errors import CertificateUnusable
from sectool.keys import ber
from sectool.keys.recipients import NewRecipient, load_new_recipients, why_unsound

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RANDOM = random.Random(5)
ODD = RANDOM.getrandbits(2048) | 1 << 2047 | 1
P_256 = der.sequence(der.oid("1.2.840.10045.2.1"), der.oid("1.2.840.10045.3.1.7"))
RSA = der.sequence(der.oid("1.2.840.113549.1.1.1"), der.NULL)
X25519 = der.sequence(der.oid("1.3.101.110"))
LOW_ORDER = {
    "zero": 0,
    "one": 1,
    "order 8": 325606250916557431795983626356110631294008115727848805560023387167927233504,
    "order 8 too": 39382357235489614581723060781553021112529911719440698176882885853963445705823,
    "minus one": 2**255 - 20,
    "the prime": 2**255 - 19,
    "the prime and one": 2**255 - 18,
    "zero with the unused bit": 2**255,
}
"""Every point of small order of Curve25519, in the encodings that are read (RFC 7748)."""


def public_key(algorithm: bytes, bits: bytes) -> bytes:
    return der.sequence(algorithm, der.element(tags.BIT_STRING, b"\0" + bits))


def rsa_key(modulus: int, exponent: int = 65537) -> bytes:
    return public_key(RSA, der.sequence(der.integer(modulus), der.integer(exponent)))


def with_key(certificate: bytes, key: bytes) -> bytes:
    """A certificate with another public key in its place; who signed it does not matter."""
    parts = ber.read(certificate).children()
    fields = [bytes(field.encoding) for field in parts[0].children()]
    fields[6] = key
    return der.sequence(der.sequence(*fields), *(bytes(part.encoding) for part in parts[1:]))


@pytest.fixture(scope="module")
def certificate(openssl: Any, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    place = tmp_path_factory.mktemp("certificate")
    openssl(
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", "/CN=Alice"),
        *("-addext", "basicConstraints=critical,CA:FALSE", "-outform", "DER"),
        *("-keyout", place / "key", "-out", place / "new.crt"),
    )
    return (place / "new.crt").read_bytes()


UNSOUND = {
    "an even modulus": ("an even modulus", rsa_key(ODD - 1)),
    "three": ("small factors", rsa_key(ODD - ODD % 3 + (0 if (ODD - ODD % 3) % 2 else 3))),
    "a factor of five digits": ("small factors", rsa_key(65_521 * (RANDOM.getrandbits(2040) | 1))),
    "one as exponent": ("exponent can be none", rsa_key(ODD, 1)),
    "an even exponent": ("exponent can be none", rsa_key(ODD, 65536)),
    "over 16384 bits": ("16385 bits, over 16384", rsa_key(ODD << 14337 | 1)),
    "under 2048 bits": ("2047 bits, under 2048", rsa_key(ODD >> 1 | 1)),
    "no point of the curve": ("no point", public_key(P_256, b"\4" + bytes(63) + b"\1")),
    "the point at infinity": ("no point", public_key(P_256, b"\0")),
    **{
        f"low order: {name}": ("low order", public_key(X25519, value.to_bytes(32, "little")))
        for name, value in LOW_ORDER.items()
    },
}


@pytest.mark.parametrize(("why", "key"), UNSOUND.values(), ids=UNSOUND)
def test_a_key_that_protects_nothing_is_refused_and_nobody_can_accept_it(
    why: str, key: bytes, certificate: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "new.crt"
    raw = with_key(certificate, key)
    path.write_bytes(raw)
    fingerprint = hashlib.sha256(raw).hexdigest()
    for accepted in (set(), {fingerprint}):
        with pytest.raises(CertificateUnusable, match=why) as caught:
            load_new_recipients([path], NOW, accept_fingerprints=frozenset(accepted))
        assert caught.value.exit_code == 15
        assert "--accept-certificate" not in caught.value.hint


def test_the_certificate_itself_is_good(certificate: bytes, tmp_path: Path) -> None:
    path = tmp_path / "new.crt"
    path.write_bytes(certificate)
    own = x509.load_der_x509_certificate(certificate).public_key()
    assert isinstance(own, rsa.RSAPublicKey)
    numbers = own.public_numbers()
    later = datetime.now(UTC)
    (found,) = load_new_recipients([path], later)
    assert isinstance(found, NewRecipient)
    raw = with_key(certificate, rsa_key(numbers.n, numbers.e))
    path.write_bytes(raw)
    assert load_new_recipients([path], later)[0].certificate.public_bytes(Encoding.DER) == raw


@pytest.mark.parametrize("name", ["rsa", "ec", "x25519", "ml-kem-768"])
def test_keys_as_they_are_generated_are_sound(name: str, key_of: dict[str, Any]) -> None:
    assert why_unsound(key_of[name].public_key()) == ""
