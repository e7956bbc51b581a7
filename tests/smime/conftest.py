"""Messages built by hand as bytes, and envelopes for Bob to put into them."""

from __future__ import annotations

import base64
import io
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from sectool import cms, smime
from sectool.errors import DecryptionFailed
from sectool.message import BytesContent

INNER = b"Content-Type: text/plain; charset=utf-8\r\n\r\nThe plans are in the blue folder.\r\n"


@dataclass(frozen=True)
class Person:
    """An RSA key with its certificate; PKCS#1 v1.5 only."""

    label: str
    key: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @property
    def recipient(self) -> cms.Recipient:
        return cms.Recipient(self.certificate)

    def decrypt_rsa(self, encrypted_key: bytes, rsa_padding: cms.RSAPadding) -> bytes:
        try:
            if isinstance(rsa_padding, cms.PKCS1v15):
                return self.key.decrypt(encrypted_key, padding.PKCS1v15())
            return self.key.decrypt(
                encrypted_key,
                padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None),
            )
        except ValueError:
            raise DecryptionFailed from None


@dataclass(frozen=True)
class FixedKey:
    """A key whose RSA decryption is made up, as a wrong key's is."""

    label: str
    content_encryption_key: bytes

    def decrypt_rsa(self, encrypted_key: bytes, rsa_padding: cms.RSAPadding) -> bytes:
        return self.content_encryption_key


@dataclass
class KeyRing:
    keys: dict[cms.RecipientIdentifier, list[cms.KeyOperations]] = field(default_factory=dict)

    def find(self, identifier: cms.RecipientIdentifier) -> Sequence[cms.KeyOperations]:
        return self.keys.get(identifier, ())


def _make_person(label: str) -> Person:
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, label)])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(3020, 1, 1, tzinfo=UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Person(label, key, certificate)


@pytest.fixture(scope="session")
def bob() -> Person:
    return _make_person("bob")


@pytest.fixture(scope="session")
def alice() -> Person:
    return _make_person("alice")


def _ring(*people: Person) -> KeyRing:
    return KeyRing({person.recipient.identifier: [person] for person in people})


@pytest.fixture(scope="session")
def ring() -> Callable[..., KeyRing]:
    return _ring


@pytest.fixture(scope="session")
def bobs_keys(bob: Person) -> KeyRing:
    return _ring(bob)


@pytest.fixture(scope="session")
def wrong_key() -> Callable[..., KeyRing]:
    """Keys found by a person's identifier that give these content-encryption keys."""

    def wrong_key(person: Person, *content_encryption_keys: bytes) -> KeyRing:
        keys = [
            FixedKey(f"key {number}", key) for number, key in enumerate(content_encryption_keys)
        ]
        return KeyRing({person.recipient.identifier: list(keys)})

    return wrong_key


Seal = Callable[..., bytes]


@pytest.fixture(scope="session")
def seal(bob: Person) -> Seal:
    """CMS for Bob as DER."""

    def seal(
        inner: bytes = INNER,
        *people: Person,
        profile: cms.Profile = cms.Profile.COMPATIBLE,
        content_type: str = cms.ID_DATA,
    ) -> bytes:
        sink = io.BytesIO()
        cms.seal_envelope(
            BytesContent(inner),
            sink,
            [person.recipient for person in people or (bob,)],
            profile=profile,
            content_type=content_type,
        )
        return sink.getvalue()

    return seal


@pytest.fixture(scope="session")
def envelope(seal: Seal) -> bytes:
    """One CMS for Bob that holds ``INNER``."""
    return seal()


@pytest.fixture(scope="session")
def base64_lines() -> Callable[..., bytes]:
    def base64_lines(raw: bytes, line_end: bytes = b"\r\n") -> bytes:
        return base64.encodebytes(raw).replace(b"\n", line_end)

    return base64_lines


@pytest.fixture(scope="session")
def mail() -> Callable[..., bytes]:
    """A stored message with that CMS as its body."""

    def mail(
        cms_bytes: bytes,
        *,
        fields: Sequence[bytes] = (
            b'Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name="smime.p7m"',
            b"Content-Transfer-Encoding: base64",
        ),
        line_end: bytes = b"\r\n",
        body: bytes | None = None,
    ) -> bytes:
        header = [b"From: Alice <alice@example.org>", b"Subject: plans", *fields]
        if body is None:
            body = base64.encodebytes(cms_bytes).replace(b"\n", line_end)
        return b"".join(line + line_end for line in (*header, b"")) + body

    return mail


@pytest.fixture(scope="session")
def inventory_of() -> Callable[[bytes], smime.Inventory]:
    def inventory_of(raw: bytes) -> smime.Inventory:
        return smime.take_inventory(BytesContent(raw))

    return inventory_of


@dataclass(frozen=True)
class OpenSSL:
    """The ``openssl`` command in a directory of its own."""

    directory: Path
    bob: Person

    def __call__(self, content: bytes, *arguments: str) -> bytes:
        """What it writes for that content, to or from Bob."""
        (self.directory / "content").write_bytes(content)
        private = self.bob.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        certificate = self.bob.certificate.public_bytes(Encoding.PEM)
        (self.directory / "bob.pem").write_bytes(private + certificate)
        done = subprocess.run(
            ["openssl", *arguments, "-in", "content", *self._person(arguments)],
            cwd=self.directory,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    @staticmethod
    def _person(arguments: Sequence[str]) -> Sequence[str]:
        if "-sign" in arguments:
            return ("-signer", "bob.pem")
        if "-decrypt" in arguments:
            return ("-inkey", "bob.pem", "-recip", "bob.pem")
        return ("bob.pem",)


@pytest.fixture
def openssl(tmp_path: Path, bob: Person) -> OpenSSL:
    return OpenSSL(tmp_path, bob)


@pytest.fixture(scope="session")
def inner() -> bytes:
    return INNER
