"""Keys, certificates and files for the tests of key histories."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mlkem, rsa, x448, x25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from sectool.cms.seams import IssuerAndSerialNumber
from sectool.keys.history import KeyHistory
from sectool.keys.loading import load_key_history
from sectool.keys.specification import KeySpecification
from tests.support.peers import peer_missing

PASSPHRASE = "correct horse"
START = datetime(2020, 1, 1, tzinfo=UTC)
END = datetime(3020, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _no_passphrase_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SECTOOL_PASSPHRASE", raising=False)


@pytest.fixture(scope="session")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="session")
def other_rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="session")
def small_rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 1024)


@pytest.fixture(scope="session")
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="session")
def key_of(
    rsa_key: rsa.RSAPrivateKey,
    other_rsa_key: rsa.RSAPrivateKey,
    small_rsa_key: rsa.RSAPrivateKey,
    ec_key: ec.EllipticCurvePrivateKey,
) -> dict[str, PrivateKeyTypes]:
    """Session keys by a short name."""
    return {
        "rsa": rsa_key,
        "other": other_rsa_key,
        "small": small_rsa_key,
        "ec": ec_key,
        "secp384r1": ec.generate_private_key(ec.SECP384R1()),
        "secp521r1": ec.generate_private_key(ec.SECP521R1()),
        "secp256k1": ec.generate_private_key(ec.SECP256K1()),
        "brainpool": ec.generate_private_key(ec.BrainpoolP256R1()),
        "x25519": x25519.X25519PrivateKey.generate(),
        "x448": x448.X448PrivateKey.generate(),
        "ml-kem-768": mlkem.MLKEM768PrivateKey.generate(),
        "ml-kem-1024": mlkem.MLKEM1024PrivateKey.generate(),
        "ed25519": ed25519.Ed25519PrivateKey.generate(),
    }


@dataclass
class Certify:
    """Issues certificates for keys; the issuer's key never matters here."""

    signer: rsa.RSAPrivateKey

    def __call__(
        self,
        key: PrivateKeyTypes,
        *,
        serial_number: int = 0x0A1B2C,
        issuer: x509.Name | None = None,
        subject: x509.Name | None = None,
        not_before: datetime = START,
        not_after: datetime = END,
        extensions: Sequence[x509.ExtensionType] = (),
        subject_key_identifier: bytes | None = None,
    ) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test Authority")])
        user = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Alice")])
        builder = x509.CertificateBuilder(
            issuer_name=issuer or name,
            subject_name=subject or user,
            public_key=key.public_key(),  # type: ignore[arg-type]
            serial_number=serial_number,
            not_valid_before=not_before,
            not_valid_after=not_after,
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        if subject_key_identifier is not None:
            extension = x509.SubjectKeyIdentifier(subject_key_identifier)
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self.signer, hashes.SHA256())


@pytest.fixture(scope="session")
def certify(other_rsa_key: rsa.RSAPrivateKey) -> Certify:
    return Certify(other_rsa_key)


def pkcs8(key: PrivateKeyTypes, passphrase: str | None = None, *, pem: bool = False) -> bytes:
    protection: KeySerializationEncryption = NoEncryption()
    if passphrase is not None:
        protection = BestAvailableEncryption(passphrase.encode())
    encoding = Encoding.PEM if pem else Encoding.DER
    return key.private_bytes(encoding, PrivateFormat.PKCS8, protection)


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """PKCS#8 of a key: ``encode(key, passphrase=None, pem=False)``."""
    return pkcs8


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., KeyHistory]:
    """Loads a history from paths, with the usual passphrase in a file unless told otherwise."""

    def loaded(*paths: Path, passphrase: str | None = PASSPHRASE) -> KeyHistory:
        passphrase_file = None
        if passphrase is not None:
            passphrase_file = tmp_path.parent / f"{tmp_path.name}.passphrase"
            passphrase_file.touch(mode=0o600)
            passphrase_file.write_text(passphrase + "\n", encoding="utf-8")
        return load_key_history(KeySpecification(paths, passphrase_file))

    return loaded


@pytest.fixture(scope="session")
def names() -> Callable[[x509.Certificate], IssuerAndSerialNumber]:
    """The recipient identifier of a certificate."""

    def identifier(certificate: x509.Certificate) -> IssuerAndSerialNumber:
        return IssuerAndSerialNumber(certificate.issuer.public_bytes(), certificate.serial_number)

    return identifier


Run = Callable[..., None]


@pytest.fixture(scope="session")
def openssl() -> Run:
    """Runs the ``openssl`` command with the legacy provider at hand."""
    return _runner("openssl")


@pytest.fixture(scope="session")
def keytool() -> Run:
    return _runner("keytool")


def _runner(name: str) -> Run:
    program = shutil.which(name)
    if program is None:
        peer_missing(f"{name} is not installed")

    def run(*arguments: object) -> None:
        command = [str(program), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr + done.stdout

    return run


@pytest.fixture(scope="session")
def corpus() -> Path:
    path = Path(__file__).parents[3] / "shared" / "corpus"
    if not path.is_dir():
        peer_missing("../shared/corpus is not here")
    return path
