"""Envelopes written byte by byte and not by sectool's own writer, for mail that benchmarks make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

try:
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
except ImportError:  # older releases have it among the others
    from cryptography.hazmat.primitives.ciphers.algorithms import TripleDES


class KeyEncryption(StrEnum):
    """How the content-encryption key travels."""

    PKCS1V15 = "rsa-pkcs1-v1_5"
    OAEP = "rsa-oaep"
    ECDH = "ecdh-p-256"


class Mode(StrEnum):
    """Of the content encryption: CBC proves nothing, GCM has a tag."""

    CBC = "cbc"
    GCM = "gcm"


def element(tag: int, *parts: bytes) -> bytes:
    """DER of one element."""
    content = b"".join(parts)
    if len(content) < 128:
        return bytes((tag, len(content))) + content
    octets = (len(content).bit_length() + 7) // 8
    return bytes((tag, 0x80 | octets)) + len(content).to_bytes(octets, "big") + content


NONCE_SIZE = 12
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
_OAEP_SHA256 = element(
    0x30,
    _RSAES_OAEP,
    element(0x30, element(0xA0, _SHA256), element(0xA1, element(0x30, _MGF1, _SHA256))),
)


@dataclass(frozen=True)
class Suite:
    """What an algorithm needs; sizes in bytes."""

    oid: bytes
    """Encoded."""
    key_size: int
    block_size: int
    mode: Mode

    @property
    def iv_size(self) -> int:
        """Of an initialisation vector or a nonce."""
        return self.block_size if self.mode is Mode.CBC else NONCE_SIZE

    def fits(self, key: bytes) -> bool:
        """Whether the algorithm takes a key of this length; Triple-DES one of two keys, too."""
        return len(key) == self.key_size or (self.block_size == 8 and len(key) == 16)

    def cipher(self, key: bytes, iv: bytes) -> Cipher[modes.CBC]:
        """The cipher in CBC mode."""
        if self.block_size == AES.block_size // 8:
            return Cipher(AES(key), modes.CBC(iv))
        return Cipher(TripleDES((key + key[:8])[:24]), modes.CBC(iv))

    def encrypt(self, key: bytes, iv: bytes, content: bytes) -> tuple[bytes, bytes]:
        """The encrypted content and its tag, which CBC has not."""
        if self.mode is Mode.GCM:
            sealed = AESGCM(key).encrypt(iv, content, None)
            return sealed[:-_TAG_SIZE], sealed[-_TAG_SIZE:]
        pad = self.block_size - len(content) % self.block_size
        return self.cipher(key, iv).encryptor().update(content + bytes([pad]) * pad), b""

    def envelope(
        self, iv: bytes, encrypted: bytes, tag: bytes, recipient_infos: Sequence[bytes]
    ) -> bytes:
        """A ContentInfo with EnvelopedData, or with AuthEnvelopedData where there is a tag."""
        parameters, mac = element(0x04, iv), b""
        if tag:
            parameters = element(0x30, parameters, element(0x02, bytes([len(tag)])))
            mac = element(0x04, tag)
        info = element(
            0x30, _ID_DATA, element(0x30, self.oid, parameters), element(0x80, encrypted)
        )
        recipients = element(0x31, *recipient_infos)
        body = element(0x30, element(0x02, b"\0"), recipients, info, mac)
        content_type = _AUTH_ENVELOPED_DATA if tag else _ENVELOPED_DATA
        return element(0x30, content_type, element(0xA0, body))


AES_128_CBC = Suite(bytes.fromhex("0609608648016503040102"), 16, 16, Mode.CBC)
AES_256_CBC = Suite(bytes.fromhex("060960864801650304012a"), 32, 16, Mode.CBC)
TRIPLE_DES = Suite(bytes.fromhex("06082a864886f70d0307"), 24, 8, Mode.CBC)
AES_128_GCM = Suite(bytes.fromhex("0609608648016503040106"), 16, 16, Mode.GCM)
AES_256_GCM = Suite(bytes.fromhex("060960864801650304012e"), 32, 16, Mode.GCM)


def recipient_info(
    public_key: PublicKeyTypes,
    identifier: bytes,
    content_key: bytes,
    key_encryption: KeyEncryption = KeyEncryption.PKCS1V15,
) -> bytes:
    """A KeyTransRecipientInfo to an RSA key, a KeyAgreeRecipientInfo to one on a curve.

    Args:
        public_key: whom the content-encryption key is encrypted to.
        identifier: IssuerAndSerialNumber, DER.
        content_key: the content-encryption key.
        key_encryption: of RSA keys.
    """
    if isinstance(public_key, rsa.RSAPublicKey):
        if key_encryption is KeyEncryption.OAEP:
            algorithm, encrypted_key = _OAEP_SHA256, public_key.encrypt(content_key, _OAEP)
        else:
            encrypted_key = public_key.encrypt(content_key, padding.PKCS1v15())
            algorithm = _RSA_ENCRYPTION
        version, octets = element(0x02, b"\0"), element(0x04, encrypted_key)
        return element(0x30, version, identifier, algorithm, octets)
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    return _key_agreement(public_key, identifier, content_key)


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
