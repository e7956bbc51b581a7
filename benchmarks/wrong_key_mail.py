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
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
)

try:
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
except ImportError:  # older releases have it among the others
    from cryptography.hazmat.primitives.ciphers.algorithms import TripleDES

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


class KeyEncryption(StrEnum):
    """How the content-encryption key travels."""

    PKCS1V15 = "rsa-pkcs1-v1_5"
    OAEP = "rsa-oaep"
    ECDH = "ecdh-p-256"


class Mode(StrEnum):
    """Of the content encryption: CBC proves nothing, GCM has a tag."""

    CBC = "cbc"
    GCM = "gcm"


@dataclass(frozen=True)
class Kind:
    """One kind of mail that is made."""

    trial: Trial
    key_encryption: KeyEncryption = KeyEncryption.PKCS1V15
    mode: Mode = Mode.CBC

    def __str__(self) -> str:
        return f"{self.trial}.{self.key_encryption}.{self.mode}"


@dataclass(frozen=True)
class Suite:
    """What an algorithm needs; sizes in bytes."""

    oid: bytes
    """Encoded."""
    key_size: int
    block_size: int
    mode: Mode

    def fits(self, key: bytes) -> bool:
        """Whether the algorithm takes a key of this length; Triple-DES one of two keys, too."""
        return len(key) == self.key_size or (self.block_size == 8 and len(key) == 16)

    def cipher(self, key: bytes, iv: bytes) -> Cipher[modes.CBC]:
        """The cipher in CBC mode."""
        if self.block_size == AES.block_size // 8:
            return Cipher(AES(key), modes.CBC(iv))
        return Cipher(TripleDES((key + key[:8])[:24]), modes.CBC(iv))


SUITES = {
    Mode.CBC: (
        Suite(bytes.fromhex("0609608648016503040102"), 16, 16, Mode.CBC),
        Suite(bytes.fromhex("060960864801650304012a"), 32, 16, Mode.CBC),
        Suite(bytes.fromhex("06082a864886f70d0307"), 24, 8, Mode.CBC),
    ),
    Mode.GCM: (
        Suite(bytes.fromhex("0609608648016503040106"), 16, 16, Mode.GCM),
        Suite(bytes.fromhex("060960864801650304012e"), 32, 16, Mode.GCM),
    ),
}
_NONCE_SIZE = 12
_TAG_SIZE = 16
_RSA_ENCRYPTION = bytes.fromhex("300d06092a864886f70d0101010500")
_RSAES_OAEP = bytes.fromhex("06092a864886f70d010107")
_MGF1 = bytes.fromhex("06092a864886f70d010108")
_SHA256 = bytes.fromhex("300d06096086480165030402010500")
_EC_PUBLIC_KEY = bytes.fromhex("06072a8648ce3d0201")
_ECDH_SHA256_KDF = bytes.fromhex("06062b8104010b01")
_AES_256_WRAP = bytes.fromhex("300b060960864801650304012d")
_ENVELOPED_DATA = bytes.fromhex("06092a864886f70d010703")
_AUTH_ENVELOPED_DATA = bytes.fromhex("060b2a864886f70d0109100117")
_ID_DATA = bytes.fromhex("06092a864886f70d010701")
_OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


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


def element(tag: int, *parts: bytes) -> bytes:
    """DER of one element."""
    content = b"".join(parts)
    if len(content) < 128:
        return bytes((tag, len(content))) + content
    octets = (len(content).bit_length() + 7) // 8
    return bytes((tag, 0x80 | octets)) + len(content).to_bytes(octets, "big") + content


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
        if suite.mode is Mode.CBC:
            iv = self._random.randbytes(suite.block_size)
            pad = suite.block_size - len(content) % suite.block_size
            encrypted = (
                suite.cipher(content_key, iv).encryptor().update(content + bytes([pad]) * pad)
            )
            parameters, mac = element(0x04, iv), b""
        else:
            iv = self._random.randbytes(_NONCE_SIZE)
            sealed = AESGCM(content_key).encrypt(iv, content, None)
            encrypted, mac = sealed[:-_TAG_SIZE], element(0x04, sealed[-_TAG_SIZE:])
            parameters = element(0x30, element(0x04, iv), element(0x02, bytes([_TAG_SIZE])))
        if self._kind.trial is Trial.WRONG_CONTENT_KEY:
            content_key = self._random.randbytes(suite.key_size)
        info = element(
            0x30, _ID_DATA, element(0x30, suite.oid, parameters), element(0x80, encrypted)
        )
        recipient_infos = element(0x31, self._recipient_info(content_key))
        body = element(0x30, element(0x02, b"\0"), recipient_infos, info, mac)
        content_type = _AUTH_ENVELOPED_DATA if mac else _ENVELOPED_DATA
        raw = HEADER + encodebytes(element(0x30, content_type, element(0xA0, body)))
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
        public_key = self._public_key
        if isinstance(public_key, rsa.RSAPublicKey):
            if self._kind.key_encryption is KeyEncryption.OAEP:
                algorithm, encrypted_key = _OAEP_SHA256, public_key.encrypt(content_key, _OAEP)
            else:
                encrypted_key = public_key.encrypt(content_key, padding.PKCS1v15())
                algorithm = _RSA_ENCRYPTION
            version, octets = element(0x02, b"\0"), element(0x04, encrypted_key)
            return element(0x30, version, identifier, algorithm, octets)
        assert isinstance(public_key, ec.EllipticCurvePublicKey)
        return _key_agreement(public_key, identifier, content_key)


_OAEP_SHA256 = element(
    0x30,
    _RSAES_OAEP,
    element(0x30, element(0xA0, _SHA256), element(0xA1, element(0x30, _MGF1, _SHA256))),
)


def _key_agreement(
    public_key: ec.EllipticCurvePublicKey, identifier: bytes, content_key: bytes
) -> bytes:
    """A KeyAgreeRecipientInfo (RFC 5753 section 3.1)."""
    ephemeral = ec.generate_private_key(public_key.curve)
    # ECC-CMS-SharedInfo (RFC 5753 section 7.2): 256 bits of key are derived.
    info = element(0x30, _AES_256_WRAP, element(0xA2, element(0x04, (256).to_bytes(4, "big"))))
    secret = ephemeral.exchange(ec.ECDH(), public_key)
    wrapping_key = X963KDF(hashes.SHA256(), length=32, sharedinfo=info).derive(secret)
    point = ephemeral.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    originator = element(
        0xA0, element(0xA1, element(0x30, _EC_PUBLIC_KEY), element(0x03, b"\0", point))
    )
    algorithm = element(0x30, _ECDH_SHA256_KDF, _AES_256_WRAP)
    wrapped = element(0x04, aes_key_wrap(wrapping_key, content_key))
    keys = element(0x30, element(0x30, identifier, wrapped))
    return element(0xA1, element(0x02, b"\3"), originator, algorithm, keys)
