"""People with keys, and a maker of envelopes good and bad."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, padding, rsa, x448, x25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID

from sectool import cms
from sectool.asn1 import der
from sectool.cms import oids
from sectool.cms.key_transport import encode_key_transport
from sectool.errors import DecryptionFailed
from sectool.keys.private_keys import SoftwareKey, count_operation

HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "sha1": hashes.SHA1,
    "sha224": hashes.SHA224,
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}
ADDRESS = "alice@example.org"
"""Named by every certificate that is made here, as by those of ``mailboxes.make_key``."""
CONTENT_ENCRYPTION_KEY = bytes(range(32))
IV = bytes(range(100, 116))
NONCE = bytes(range(12))
CONTENT = b"Content-Type: text/plain\r\n\r\nThe plans are in the blue folder.\r\n"


def asymmetric_padding(rsa_padding: cms.RSAPadding) -> padding.AsymmetricPadding:
    if isinstance(rsa_padding, cms.PKCS1v15):
        return padding.PKCS1v15()
    return padding.OAEP(
        padding.MGF1(HASHES[rsa_padding.mgf_hash_name]()),
        HASHES[rsa_padding.hash_name](),
        rsa_padding.label or None,
    )


@dataclass(frozen=True)
class Person:
    """An RSA key with its certificate; a private key by what it can do."""

    label: str
    key: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @property
    def recipient(self) -> cms.Recipient:
        return cms.Recipient(self.certificate)

    @property
    def subject_key_identifier(self) -> cms.SubjectKeyIdentifier:
        extension = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        return cms.SubjectKeyIdentifier(extension.value.digest)

    def decrypt_rsa(self, encrypted_key: bytes, rsa_padding: cms.RSAPadding) -> bytes:
        count_operation(self.key)
        try:
            return self.key.decrypt(encrypted_key, asymmetric_padding(rsa_padding))
        except ValueError:
            raise DecryptionFailed from None

    def agree(self, public_key: bytes) -> bytes:
        raise DecryptionFailed

    def decapsulate(self, ciphertext: bytes) -> bytes:
        raise DecryptionFailed

    def pem(self) -> bytes:
        private = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return private + self.certificate.public_bytes(Encoding.PEM)


@dataclass(frozen=True)
class Holder:
    """A key of any kind with a certificate of somebody else's, as the software keys offer it."""

    label: str
    key: PrivateKeyTypes
    certificate: x509.Certificate

    @property
    def recipient(self) -> cms.Recipient:
        return cms.Recipient(self.certificate)

    @property
    def operations(self) -> SoftwareKey:
        return SoftwareKey(self.key, self.label)

    @property
    def subject_key_identifier(self) -> cms.SubjectKeyIdentifier:
        extension = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        return cms.SubjectKeyIdentifier(extension.value.digest)

    def pem(self) -> bytes:
        private = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return private + self.certificate.public_bytes(Encoding.PEM)


KEYS: dict[str, Callable[[], PrivateKeyTypes]] = {
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "p-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "p-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "brainpool-256": lambda: ec.generate_private_key(ec.BrainpoolP256R1()),
    "brainpool-384": lambda: ec.generate_private_key(ec.BrainpoolP384R1()),
    "brainpool-512": lambda: ec.generate_private_key(ec.BrainpoolP512R1()),
    "x25519": x25519.X25519PrivateKey.generate,
    "x448": x448.X448PrivateKey.generate,
    "ml-kem-768": mlkem.MLKEM768PrivateKey.generate,
    "ml-kem-1024": mlkem.MLKEM1024PrivateKey.generate,
}


@cache
def make_holder(kind: str, label: str = "") -> Holder:
    """A holder of a key of ``KEYS``; another label makes another key."""
    key = KEYS[kind]()
    label = label or kind
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Authority of {label}")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, label)])
    public_key = key.public_key()
    encoded = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    identifier = x509.SubjectKeyIdentifier(hashlib.sha1(encoded).digest())
    certificate = (
        x509.CertificateBuilder(authority, subject, public_key)  # type: ignore[arg-type]
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(3020, 1, 1, tzinfo=UTC))
        .add_extension(identifier, critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.RFC822Name(ADDRESS)]), critical=False)
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    )
    return Holder(label, key, certificate)


@dataclass
class KeyRing:
    """Finds keys by issuer and serial number, or by subject key identifier."""

    keys: dict[cms.RecipientIdentifier, list[cms.KeyOperations]] = field(default_factory=dict)
    asked: int = 0

    def add(self, identifier: cms.RecipientIdentifier, *keys: cms.KeyOperations) -> KeyRing:
        self.keys.setdefault(identifier, []).extend(keys)
        return self

    def find(self, identifier: cms.RecipientIdentifier) -> Sequence[cms.KeyOperations]:
        self.asked += 1
        return self.keys.get(identifier, ())


def key_ring(*people: Person | Holder) -> KeyRing:
    ring = KeyRing()
    for person in people:
        operations = person.operations if isinstance(person, Holder) else person
        ring.add(person.recipient.identifier, operations)
        ring.add(person.subject_key_identifier, operations)
    return ring


def make_person(label: str, *, key_bits: int = 2048, serial_number: int = 0) -> Person:
    key = rsa.generate_private_key(65537, key_bits)
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example, Inc."),
            x509.NameAttribute(NameOID.COMMON_NAME, label),
        ]
    )
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key())
        .serial_number(serial_number or x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(3020, 1, 1, tzinfo=UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Person(label, key, certificate)


@dataclass(frozen=True)
class Forge:
    """Makes envelopes to one person, right by default and wrong where asked."""

    person: Person

    def recipient(
        self,
        *,
        key: bytes = CONTENT_ENCRYPTION_KEY,
        rsa_padding: cms.RSAPadding | None = None,
        identifier: cms.RecipientIdentifier | None = None,
        encrypted_key: bytes | None = None,
        algorithm: bytes | None = None,
    ) -> bytes:
        """A KeyTransRecipientInfo; ``algorithm`` replaces the keyEncryptionAlgorithm."""
        rsa_padding = rsa_padding or cms.PKCS1v15()
        identifier = identifier or self.person.recipient.identifier
        if encrypted_key is None:
            public_key = self.person.key.public_key()
            encrypted_key = public_key.encrypt(key, asymmetric_padding(rsa_padding))
        if algorithm is None:
            return encode_key_transport(identifier, rsa_padding, encrypted_key)
        sample = encode_key_transport(identifier, cms.PKCS1v15(), encrypted_key)
        right = der.sequence(der.oid(oids.RSA_ENCRYPTION), der.NULL)
        replaced = sample.replace(right, algorithm)
        return der.sequence(replaced[len(sample) - len(_content(sample)) :])

    def envelope(
        self,
        content_type: str,
        recipients: Sequence[bytes],
        content_info: bytes,
        *,
        before: bytes = b"",
        after: bytes = b"",
        version: int = 0,
    ) -> bytes:
        """A ContentInfo; ``before`` stands ahead of the recipients, ``after`` at the end."""
        recipient_infos = der.element(0x31, b"".join(recipients))  # in the order given
        body = der.sequence(der.integer(version), before, recipient_infos, content_info, after)
        return der.sequence(der.oid(content_type), der.explicit(0, body))

    def cbc(
        self,
        content: bytes = CONTENT,
        *,
        recipients: Sequence[bytes] | None = None,
        padded: bytes | None = None,
        encrypted: bytes | None = None,
        field: bytes | None = None,
        algorithm: bytes | None = None,
        iv: bytes = IV,
        content_type: str = oids.ENVELOPED_DATA,
        before: bytes = b"",
        after: bytes = b"",
        version: int = 0,
    ) -> bytes:
        """EnvelopedData with AES-256-CBC; ``field`` replaces encryptedContent as encoded."""
        if padded is None:
            pad = 16 - len(content) % 16
            padded = content + bytes((pad,)) * pad
        if encrypted is None:
            cipher = Cipher(algorithms.AES(CONTENT_ENCRYPTION_KEY), modes.CBC(IV)).encryptor()
            encrypted = cipher.update(padded)
        if field is None:
            field = der.element(0x80, encrypted)
        if algorithm is None:
            algorithm = der.sequence(der.oid(oids.AES_256_CBC), der.octet_string(iv))
        content_info = der.sequence(der.oid(oids.ID_DATA), algorithm, field)
        infos = [self.recipient()] if recipients is None else recipients
        return self.envelope(
            content_type, infos, content_info, before=before, after=after, version=version
        )

    def gcm(
        self,
        content: bytes = CONTENT,
        *,
        recipients: Sequence[bytes] | None = None,
        nonce: bytes = NONCE,
        tag_size: int | None = 16,
        tag: Callable[[bytes], bytes] = lambda tag: tag,
        attributes: bytes = b"",
        signed_attributes: bytes | None = None,
        content_type: str = oids.AUTH_ENVELOPED_DATA,
        oid: str = oids.AES_256_GCM,
        after: bytes = b"",
    ) -> bytes:
        """AuthEnvelopedData with AES-256-GCM; ``tag`` alters the right one of 16 bytes."""
        working_nonce = nonce if 8 <= len(nonce) <= 128 else NONCE
        cipher = Cipher(
            algorithms.AES(CONTENT_ENCRYPTION_KEY), modes.GCM(working_nonce)
        ).encryptor()
        additional_data = attributes if signed_attributes is None else signed_attributes
        if additional_data:
            cipher.authenticate_additional_data(b"\x31" + additional_data[1:])
        encrypted = cipher.update(content) + cipher.finalize()
        parameters = der.sequence(
            der.octet_string(nonce), b"" if tag_size is None else der.integer(tag_size)
        )
        content_info = der.sequence(
            der.oid(oids.ID_DATA),
            der.sequence(der.oid(oid), parameters),
            der.element(0x80, encrypted),
        )
        infos = [self.recipient()] if recipients is None else recipients
        mac = der.octet_string(tag(cipher.tag))
        return self.envelope(content_type, infos, content_info, after=attributes + mac + after)


def _content(encoded: bytes) -> bytes:
    """What a definite element holds."""
    octets = encoded[1] & 0x7F if encoded[1] & 0x80 else 0
    return encoded[2 + octets :]
