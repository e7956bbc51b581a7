"""Mail that a held key must not open, made byte by byte and not by sectool's own writer.

All of it names the held key rightly, except where it is written to another name.
"""

from __future__ import annotations

import datetime
import random
from base64 import encodebytes
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
)

from benchmarks.envelopes import (
    AES_128_CBC,
    AES_128_GCM,
    AES_256_CBC,
    AES_256_GCM,
    TRIPLE_DES,
    KeyEncryption,
    Mode,
    Suite,
    element,
    recipient_info,
)

SERIAL_NUMBER = 0x2005
OTHER_SERIAL_NUMBER = 0x2006
VALID_FROM = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
VALID_TO = datetime.datetime(3020, 1, 1, tzinfo=datetime.UTC)

CONTENT = (
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    b"The plans are in the blue folder, and the key to it is where it always was.\r\n"
)
SIZES = (1, 15, 31, 47, 63, 64, 70, 79, 95, 150, 300, 700, 2000, 5000)
"""Bytes of content: most of what chance could make look like text is short."""
HEADER = (
    b"From: a@example.org\nSubject: wrong key\nDate: Mon, 7 Jan 2019 10:00:00 +0100\n"
    b"MIME-Version: 1.0\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data\n"
    b"Content-Transfer-Encoding: base64\n\n"
)


class Trial(StrEnum):
    """How far a wrong key is helped on its way."""

    OTHER_NAME = "other-name"
    """Encrypted to a key of another serial number: no held key is named."""
    ON_TRIAL = "on-trial"
    """The same, and the held key is tried on that name as if it might be its own."""
    WRONG_KEY = "wrong-key"
    """Encrypted to another private key with the same issuer and serial number."""
    WRONG_CONTENT_KEY = "wrong-content-key"
    """The right private key, but it gives another content-encryption key of the right length.
    With PKCS#1 v1.5 only, where a wrong private key gives just that now and then."""
    RANDOM_PLAINTEXT = "random-plaintext"
    """What is left where the padding passes too: random bytes under the right key."""


@dataclass(frozen=True)
class Kind:
    """One kind of mail that is made."""

    trial: Trial
    key_encryption: KeyEncryption = KeyEncryption.PKCS1V15
    mode: Mode = Mode.CBC

    def __str__(self) -> str:
        return f"{self.trial}.{self.key_encryption}.{self.mode}"


SUITES = {
    Mode.CBC: (AES_128_CBC, AES_256_CBC, TRIPLE_DES),
    Mode.GCM: (AES_128_GCM, AES_256_GCM),
}


# --- keys ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Keys:
    """Two keys under one issuer and serial number: mail goes to one, the other is held."""

    issuer: bytes
    """The issuer Name of both certificates, DER."""
    written_to: bytes
    """SubjectPublicKeyInfo of the key that mail goes to."""
    held: bytes
    """SubjectPublicKeyInfo of the key that is tried."""
    directory: Path
    """With a file of the held private key and its certificate, and nothing else."""
    missing: bytes = field(default=b"", repr=False)
    """PEM of the private key that mail goes to and of its certificate."""


def make_keys(directory: Path, key_bits: int = 2048) -> Keys:
    """RSA keys of the certificate that was renewed with another key but the old serial number."""
    return _keys(directory, *(rsa.generate_private_key(65537, key_bits) for _ in range(2)))


def make_curve_keys(directory: Path) -> Keys:
    """The same with keys on P-256."""
    return _keys(directory, *(ec.generate_private_key(ec.SECP256R1()) for _ in range(2)))


PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def _keys(directory: Path, written_to: PrivateKey, held: PrivateKey) -> Keys:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Example Mail CA")])
    (directory / "held.pem").write_bytes(_pem(held, name))
    issuer = name.public_bytes()
    return Keys(issuer, _public(written_to), _public(held), directory, _pem(written_to, name))


def _public(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _pem(key: PrivateKey, name: x509.Name) -> bytes:
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key())
        .serial_number(SERIAL_NUMBER)
        .not_valid_before(VALID_FROM)
        .not_valid_after(VALID_TO)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + certificate.public_bytes(Encoding.PEM)


@cache
def _load(public: bytes) -> PublicKeyTypes:
    return load_der_public_key(public)


# --- messages --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Made:
    """One message, and what a judge of the trial needs to know."""

    raw: bytes
    content: bytes = field(repr=False)
    """What was encrypted."""
    encrypted: bytes = field(repr=False)
    iv: bytes
    suite: Suite


class Maker:
    """Makes the messages of a kind; the same seed gives the same garbage."""

    def __init__(self, kind: Kind, keys: Keys, seed: int) -> None:
        self._kind = kind
        self._issuer = keys.issuer
        helped = kind.trial in {Trial.WRONG_CONTENT_KEY, Trial.RANDOM_PLAINTEXT}
        self._public_key = _load(keys.held if helped else keys.written_to)
        self._random = random.Random(f"{kind} {seed}")

    def make(self) -> Made:
        """The next message."""
        suite = self._random.choice(SUITES[self._kind.mode])
        content = self._content(suite)
        content_key = self._random.randbytes(suite.key_size)
        iv = self._random.randbytes(suite.iv_size)
        encrypted, tag = suite.encrypt(content_key, iv, content)
        if self._kind.trial is Trial.WRONG_CONTENT_KEY:
            content_key = self._random.randbytes(suite.key_size)
        infos = [self._recipient_info(content_key)]
        raw = HEADER + encodebytes(suite.envelope(iv, encrypted, tag, infos))
        return Made(raw, content, encrypted, iv, suite)

    def _content(self, suite: Suite) -> bytes:
        size = self._random.choice(SIZES)
        if self._kind.trial is not Trial.RANDOM_PLAINTEXT:
            return (CONTENT * (1 + size // len(CONTENT)))[:size]
        # The garbage that passes ends, nearly always, in padding of one byte.
        return self._random.randbytes(size + -(size + 1) % suite.block_size)

    def _recipient_info(self, content_key: bytes) -> bytes:
        other = self._kind.trial in {Trial.OTHER_NAME, Trial.ON_TRIAL}
        serial = (OTHER_SERIAL_NUMBER if other else SERIAL_NUMBER).to_bytes(2, "big")
        identifier = element(0x30, self._issuer, element(0x02, serial))
        key_encryption = self._kind.key_encryption
        return recipient_info(self._public_key, identifier, content_key, key_encryption)
