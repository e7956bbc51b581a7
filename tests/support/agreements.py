"""Makes key agreements by derivations and wraps of its own, apart from those under test."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.asymmetric import ec, x448, x25519
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sectool.asn1 import der
from sectool.cms import oids
from tests.support.forge import CONTENT_ENCRYPTION_KEY as KEY, Holder

SCHEMES = {
    "ecdh-sha1kdf": ("1.3.133.16.840.63.0.2", "x963", "sha1"),
    "ecdh-sha224kdf": ("1.3.132.1.11.0", "x963", "sha224"),
    "ecdh-sha256kdf": ("1.3.132.1.11.1", "x963", "sha256"),
    "ecdh-sha384kdf": ("1.3.132.1.11.2", "x963", "sha384"),
    "ecdh-sha512kdf": ("1.3.132.1.11.3", "x963", "sha512"),
    "ecdh-cofactor-sha1kdf": ("1.3.133.16.840.63.0.3", "x963", "sha1"),
    "ecdh-cofactor-sha224kdf": ("1.3.132.1.14.0", "x963", "sha224"),
    "ecdh-cofactor-sha256kdf": ("1.3.132.1.14.1", "x963", "sha256"),
    "ecdh-cofactor-sha384kdf": ("1.3.132.1.14.2", "x963", "sha384"),
    "ecdh-cofactor-sha512kdf": ("1.3.132.1.14.3", "x963", "sha512"),
    "ecdh-hkdf-sha256": ("1.2.840.113549.1.9.16.3.19", "hkdf", "sha256"),
    "ecdh-hkdf-sha384": ("1.2.840.113549.1.9.16.3.20", "hkdf", "sha384"),
    "ecdh-hkdf-sha512": ("1.2.840.113549.1.9.16.3.21", "hkdf", "sha512"),
}
WRAPS = {
    "aes-128-wrap": ("2.16.840.1.101.3.4.1.5", 16, b""),
    "aes-192-wrap": ("2.16.840.1.101.3.4.1.25", 24, b""),
    "aes-256-wrap": ("2.16.840.1.101.3.4.1.45", 32, b""),
    "aes-256-wrap null": ("2.16.840.1.101.3.4.1.45", 32, der.NULL),
    "3des-wrap": ("1.2.840.113549.1.9.16.3.6", 24, der.NULL),
}


def derive(kind: str, hash_name: str, secret: bytes, info: bytes, size: int) -> bytes:
    output = b""
    if kind == "x963":
        for counter in range(1, 10):
            block = secret + counter.to_bytes(4, "big") + info
            output += hashlib.new(hash_name, block).digest()
        return output[:size]
    key = hmac.digest(bytes(hashlib.new(hash_name).digest_size), secret, hash_name)
    block = b""
    for counter in range(1, 10):
        block = hmac.digest(key, block + info + bytes((counter,)), hash_name)
        output += block
    return output[:size]


def triple_des_wrap(key_encryption_key: bytes, key: bytes, vector: bytes | None = None) -> bytes:
    def encrypt(iv: bytes, data: bytes) -> bytes:
        return Cipher(TripleDES(key_encryption_key), modes.CBC(iv)).encryptor().update(data)

    vector = vector or os.urandom(8)
    inner = encrypt(vector, key + hashlib.sha1(key).digest()[:8])
    return encrypt(bytes.fromhex("4adda22c79e82105"), (vector + inner)[::-1])


@dataclass(frozen=True)
class Agreement:
    """How one KeyAgreeRecipientInfo is made."""

    scheme: str = "ecdh-sha256kdf"
    wrap: str = "aes-256-wrap"
    ukm: bytes | None = None
    by_key_identifier: bool = False
    compressed: bool = False
    originator_parameters: bytes = b""
    alter_key: Callable[[bytes], bytes] = lambda key: key
    alter_point: Callable[[bytes], bytes] = lambda point: point

    def make(self, *holders: Holder) -> bytes:
        """With one ephemeral key, on the curve of the first holder's key."""
        scheme, _, _ = SCHEMES[self.scheme]
        oid, octets, agree = self._ephemeral(holders[0])
        point = der.element(3, b"\0" + self.alter_point(octets))
        algorithm = der.sequence(der.oid(oid), self.originator_parameters)
        originator = der.explicit(0, der.element(0xA1, algorithm + point))
        ukm = b"" if self.ukm is None else der.explicit(1, der.octet_string(self.ukm))
        return der.element(
            0xA1,
            der.integer(3)
            + originator
            + ukm
            + der.sequence(der.oid(scheme), self.wrap_algorithm())
            + der.sequence(*(self.encrypted_key(holder, agree(holder)) for holder in holders)),
        )

    def _ephemeral(self, holder: Holder) -> tuple[str, bytes, Callable[[Holder], bytes]]:
        key = holder.key
        if isinstance(key, ec.EllipticCurvePrivateKey):
            ephemeral = ec.generate_private_key(key.curve)
            form = (
                PublicFormat.CompressedPoint if self.compressed else PublicFormat.UncompressedPoint
            )
            octets = ephemeral.public_key().public_bytes(Encoding.X962, form)
            return (
                oids.EC_PUBLIC_KEY,
                octets,
                lambda other: ephemeral.exchange(ec.ECDH(), other.key.public_key()),
            )
        montgomery: x25519.X25519PrivateKey | x448.X448PrivateKey
        if isinstance(key, x25519.X25519PrivateKey):
            oid, montgomery = oids.X25519, x25519.X25519PrivateKey.generate()
        else:
            oid, montgomery = oids.X448, x448.X448PrivateKey.generate()
        octets = montgomery.public_key().public_bytes_raw()
        return oid, octets, lambda other: montgomery.exchange(other.key.public_key())

    def wrap_algorithm(self) -> bytes:
        oid, _, parameters = WRAPS[self.wrap]
        return der.sequence(der.oid(oid), parameters)

    def encrypted_key(self, holder: Holder, secret: bytes) -> bytes:
        _, kind, hash_name = SCHEMES[self.scheme]
        _, size, _ = WRAPS[self.wrap]
        ukm = b"" if self.ukm is None else der.explicit(0, der.octet_string(self.ukm))
        bits = der.explicit(2, der.octet_string((size * 8).to_bytes(4, "big")))
        info = der.sequence(self.wrap_algorithm(), ukm, bits)
        key_encryption_key = derive(kind, hash_name, secret, info, size)
        wrap = triple_des_wrap if self.wrap == "3des-wrap" else aes_key_wrap
        identifier = holder.recipient.identifier
        name = der.sequence(identifier.issuer, der.integer(identifier.serial_number))
        if self.by_key_identifier:
            date = der.element(0x18, b"20200101000000Z")
            name = der.element(0xA0, der.octet_string(holder.subject_key_identifier.value) + date)
        return der.sequence(name, der.octet_string(self.alter_key(wrap(key_encryption_key, KEY))))


@dataclass(frozen=True)
class Static:
    """A key agreement with the key of a sender's certificate."""

    sender: Holder

    def make(self, holder: Holder, name: bytes) -> bytes:
        key = self.sender.key
        public_key = holder.key.public_key()
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        assert isinstance(public_key, ec.EllipticCurvePublicKey)
        secret = key.exchange(ec.ECDH(), public_key)
        agreement = Agreement(ukm=b"fresh")
        return der.element(
            0xA1,
            der.integer(3)
            + der.explicit(0, name)
            + der.explicit(1, der.octet_string(b"fresh"))
            + der.sequence(der.oid("1.3.132.1.11.1"), agreement.wrap_algorithm())
            + der.sequence(agreement.encrypted_key(holder, secret)),
        )

    @property
    def by_issuer(self) -> bytes:
        identifier = self.sender.recipient.identifier
        return der.sequence(identifier.issuer, der.integer(identifier.serial_number))

    @property
    def by_key_identifier(self) -> bytes:
        return der.element(0x80, self.sender.subject_key_identifier.value)

    @property
    def certificate(self) -> bytes:
        return self.sender.certificate.public_bytes(Encoding.DER)


def originator_info(*certificates: bytes) -> bytes:
    return der.element(0xA0, der.element(0xA0, b"".join(certificates)))
