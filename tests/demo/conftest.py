"""The sample, the openssl command, and the keys of the sample as that command takes them."""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

import sectool
from sectool.demo.sample import SampleManifest, load_manifest, sample_directory, unpack_maildir

OpenSSL = Callable[..., "subprocess.CompletedProcess[bytes]"]

# The object identifiers of EnvelopedData and AuthEnvelopedData, as CMS begins with them.
ENVELOPED = (
    bytes.fromhex("06092a864886f70d010703"),
    bytes.fromhex("060b2a864886f70d0109100117"),
)


@pytest.fixture(scope="session")
def sample() -> Path:
    return sample_directory()


@pytest.fixture(scope="session")
def manifest(sample: Path) -> SampleManifest:
    return load_manifest(sample)


@pytest.fixture(scope="session")
def maildir(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("sample") / "Maildir"
    unpack_maildir(sample, target)
    return target


@pytest.fixture(scope="session")
def openssl() -> OpenSSL:
    """Runs the openssl command; a test that needs it is skipped where it is absent."""
    program = shutil.which("openssl")
    if program is None:
        if os.environ.get("SECTOOL_REQUIRE_PEERS") == "1":
            pytest.fail("the openssl command is absent")
        pytest.skip("the openssl command is absent")

    def run(*arguments: str | Path, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([program, *arguments], input=data, capture_output=True, check=False)

    return run


@dataclass(frozen=True)
class OwnerKey:
    """A private key of the owner and its certificate."""

    certificate: x509.Certificate
    private_key: RSAPrivateKey
    certificate_file: Path
    private_key_file: Path


@pytest.fixture(scope="session")
def owner_keys(
    sample: Path,
    manifest: SampleManifest,
    openssl: OpenSSL,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, OwnerKey]:
    """Every private key that was kept, found in its file by the openssl command."""
    directory = tmp_path_factory.mktemp("keys")
    found = {}
    for key in manifest.keys:
        if not key.private_key_file:
            continue
        path, passphrase = sample / key.private_key_file, f"pass:{key.passphrase}"
        if path.suffix == ".p12":
            done = openssl("pkcs12", "-in", path, "-passin", passphrase, "-nodes")
            certificates = done.stdout
        else:
            done = openssl("pkey", "-in", path, "-passin", passphrase)
            certificates = (sample / key.file).read_bytes()
        assert done.returncode == 0, done.stderr
        certificate = next(
            candidate
            for candidate in x509.load_pem_x509_certificates(certificates)
            if candidate.fingerprint(hashes.SHA256()).hex() == key.fingerprint
        )
        private_key = _matching(done.stdout, certificate)
        names = directory / f"{key.name}.pem", directory / f"{key.name}.key"
        names[0].write_bytes(certificate.public_bytes(Encoding.PEM))
        names[1].write_bytes(
            private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        found[key.name] = OwnerKey(certificate, private_key, *names)
    return found


def _matching(pem: bytes, certificate: x509.Certificate) -> RSAPrivateKey:
    pattern = rb"-----BEGIN PRIVATE KEY-----.*?-----END PRIVATE KEY-----\n"
    for block in re.findall(pattern, pem, re.DOTALL):
        key = load_pem_private_key(block, None)
        if key.public_key() == certificate.public_key():
            assert isinstance(key, RSAPrivateKey)
            return key
    raise AssertionError("the private key is not in its file")


@pytest.fixture(scope="session")
def encrypted_parts() -> Callable[[bytes], list[bytes]]:
    """Finds the CMS of all encrypted parts of a message with the standard library."""

    def find(raw: bytes) -> list[bytes]:
        contents = (
            part.get_payload(decode=True)
            for part in email.message_from_bytes(raw).walk()
            if not part.is_multipart()
        )
        return [
            content
            for content in contents
            if isinstance(content, bytes)
            and content[:1] == b"\x30"
            and any(identifier in content[:24] for identifier in ENVELOPED)
        ]

    return find


@pytest.fixture(scope="session")
def open_gcm(openssl: OpenSSL) -> Callable[[bytes, RSAPrivateKey], bytes]:
    """Opens AuthEnvelopedData without ``aes-ICVlen``, which the openssl command refuses.

    The places of the values come from ``openssl asn1parse``; one recipient,
    PKCS#1 v1.5, DER.
    """

    def value(cms: bytes, line: str) -> bytes:
        places = re.match(r"\s*(\d+):d=\s*\d+\s+hl=\s*(\d+)\s+l=\s*(\d+)", line)
        assert places is not None
        offset, header, length = (int(place) for place in places.groups())
        return cms[offset + header : offset + header + length]

    def decrypt(cms: bytes, private_key: RSAPrivateKey) -> bytes:
        lines = openssl("asn1parse", "-inform", "DER", data=cms).stdout.decode().splitlines()
        octets = [value(cms, line) for line in lines if "prim: OCTET STRING" in line]
        encrypted_key, nonce, tag = octets
        content = next(value(cms, line) for line in lines if "prim: cont [ 0 ]" in line)
        key = private_key.decrypt(encrypted_key, padding.PKCS1v15())
        mode = GCM(nonce, tag, min_tag_length=len(tag))
        decryptor = Cipher(AES(key), mode).decryptor()
        return decryptor.update(content) + decryptor.finalize()

    return decrypt


FIND = """
import site, sys
site.addsitedir(sys.argv[1])
from sectool.demo.sample import sample_directory
from sectool.errors import RunError
try:
    print(sample_directory())
except RunError as error:
    print(error.message, "|", error.hint)
"""


@pytest.fixture(scope="session")
def find_from() -> Callable[[Path], str]:
    """What a fresh interpreter that knows only this site directory finds."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def find(directory: Path) -> str:
        command = [sys.executable, "-P", "-S", "-c", FIND, str(directory)]
        done = subprocess.run(
            command, cwd=directory, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    return find


@pytest.fixture
def package_copy(tmp_path: Path) -> Path:
    """A site directory with the package in it, and no sample."""
    package = Path(sectool.__file__).parent
    ignore = shutil.ignore_patterns("__pycache__", "sample_mailbox")
    shutil.copytree(package, tmp_path / "sectool", ignore=ignore)
    return tmp_path
