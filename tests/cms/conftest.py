"""People with keys, a maker of envelopes good and bad, and the peers they are held against."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    PrivateFormat,
    pkcs12,
)

from sectool import cms
from sectool.message import BytesContent
from tests.support.forge import (
    CONTENT,
    CONTENT_ENCRYPTION_KEY,
    Forge,
    Holder,
    KeyRing,
    Person,
    key_ring,
    make_holder,
    make_person,
)

__all__ = [
    "CONTENT",
    "CONTENT_ENCRYPTION_KEY",
    "GPGSM",
    "Forge",
    "Holder",
    "KeyRing",
    "OpenSSL",
    "Person",
]


@dataclass(frozen=True)
class OpenSSL:
    """The ``openssl`` command in a directory of its own."""

    directory: Path
    bob: Person

    def encrypt(
        self, content: bytes, *options: str, people: Sequence[Person | Holder] | None = None
    ) -> bytes:
        """CMS as ``openssl cms -encrypt -binary`` writes it, to Bob unless told otherwise."""
        people = [self.bob] if people is None else people
        self._write("content", content)
        names = [self._write(f"{index}.pem", person.pem()) for index, person in enumerate(people)]
        recipients = [word for name in names for word in ("-recip", name)]
        return self.run(
            "cms", "-encrypt", "-binary", "-in", "content", "-outform", "DER", *recipients, *options
        )

    def decrypt(self, envelope: bytes, person: Person | Holder) -> bytes:
        """The content, by the key and certificate of a person."""
        self._write("envelope", envelope)
        pem = self._write("key.pem", person.pem())
        return self.run(
            *("cms", "-decrypt", "-binary", "-inform", "DER", "-in", "envelope"),
            *("-inkey", pem, "-recip", pem),
        )

    def run(self, *arguments: str) -> bytes:
        done = subprocess.run(
            ["openssl", *arguments], cwd=self.directory, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def _write(self, name: str, content: bytes) -> str:
        (self.directory / name).write_bytes(content)
        return name


@dataclass(frozen=True)
class GPGSM:
    """The ``gpgsm`` command with Bob's key in a home of its own."""

    home: Path
    bob: Person

    def start(self) -> None:
        """Imports the key; gpgsm 2.2 reads PKCS#12 of the old kind only."""
        old = pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC
        encryption = (
            PrivateFormat.PKCS12.encryption_builder()
            .key_cert_algorithm(old)
            .hmac_hash(hashes.SHA1())
            .build(b"x")
        )
        person = self.bob
        p12 = pkcs12.serialize_key_and_certificates(
            b"bob", person.key, person.certificate, None, encryption
        )
        fingerprint = person.certificate.fingerprint(hashes.SHA1()).hex().upper()
        for name, content in {
            "gpgsm.conf": b"disable-crl-checks\nno-tty\nbatch\n",
            "gpg-agent.conf": b"allow-loopback-pinentry\n",
            "trustlist.txt": f"{fingerprint} S relax\n".encode(),
            "bob.p12": p12,
        }.items():
            (self.home / name).write_bytes(content)
        self._run("--import", "bob.p12")

    def stop(self) -> None:
        """Ends the agent of this home."""
        subprocess.run(
            ["gpgconf", "--homedir", str(self.home), "--kill", "all"], check=False, timeout=30
        )

    def decrypt(self, envelope: bytes) -> bytes:
        (self.home / "envelope").write_bytes(envelope)
        return self._run("-d", "envelope")

    def _run(self, *arguments: str) -> bytes:
        done = subprocess.run(
            [
                *("gpgsm", "--homedir", str(self.home), "--pinentry-mode", "loopback"),
                *("--passphrase-fd", "0", *arguments),
            ],
            cwd=self.home,
            input=b"x\n",
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout


def peer_missing(reason: str) -> None:
    """Skips, or fails where continuous integration promised the peer."""
    if os.environ.get("SECTOOL_REQUIRE_PEERS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session", name="peer_missing")
def peer_missing_fixture() -> Callable[[str], None]:
    return peer_missing


@pytest.fixture(scope="session")
def bob() -> Person:
    return make_person("bob")


@pytest.fixture(scope="session")
def alice() -> Person:
    return make_person("alice")


@pytest.fixture(scope="session")
def both(bob: Person, alice: Person) -> tuple[Person, Person]:
    return bob, alice


@pytest.fixture(scope="session")
def person_maker() -> Callable[..., Person]:
    return make_person


@pytest.fixture(scope="session")
def holder() -> Callable[..., Holder]:
    return make_holder


@pytest.fixture(scope="session")
def forge(bob: Person) -> Forge:
    return Forge(bob)


@pytest.fixture(scope="session")
def ring() -> Callable[..., KeyRing]:
    return key_ring


@pytest.fixture
def openssl(tmp_path: Path, bob: Person) -> OpenSSL:
    if shutil.which("openssl") is None:
        peer_missing("the openssl command is not installed")
    return OpenSSL(tmp_path, bob)


@pytest.fixture(scope="session")
def gpgsm(tmp_path_factory: pytest.TempPathFactory, bob: Person) -> Iterator[GPGSM]:
    if shutil.which("gpgsm") is None:
        peer_missing("the gpgsm command is not installed")
    peer = GPGSM(tmp_path_factory.mktemp("gpgsm"), bob)
    peer.home.chmod(0o700)
    try:
        peer.start()
        yield peer
    finally:
        peer.stop()


@pytest.fixture(scope="session")
def corpus() -> Path:
    path = Path(__file__).parents[3] / "shared" / "corpus"
    if not path.is_dir():
        peer_missing("../shared/corpus is not here")
    return path


@pytest.fixture(scope="session")
def open_bytes() -> Callable[..., tuple[cms.Authenticated | cms.Unproven, bytes]]:
    """Opens bytes and answers the result with the content."""

    def open_bytes(
        raw: bytes, keys: cms.KeySource, limits: cms.Limits = cms.DEFAULT_LIMITS
    ) -> tuple[cms.Authenticated | cms.Unproven, bytes]:
        received: list[bytes] = []
        sink = _ListSink(received)
        result = cms.open_envelope(BytesContent(raw), sink, keys, limits)
        return result, b"".join(received)

    return open_bytes


@pytest.fixture(scope="session")
def open_as_bob(
    bob: Person, open_bytes: Callable[..., tuple[cms.Authenticated | cms.Unproven, bytes]]
) -> Callable[..., tuple[cms.Authenticated | cms.Unproven, bytes]]:
    """As ``open_bytes``, with Bob's key."""

    def open_as_bob(
        raw: bytes, limits: cms.Limits = cms.DEFAULT_LIMITS
    ) -> tuple[cms.Authenticated | cms.Unproven, bytes]:
        return open_bytes(raw, key_ring(bob), limits)

    return open_as_bob


@dataclass(frozen=True)
class _ListSink:
    received: list[bytes]

    def write(self, data: bytes, /) -> None:
        self.received.append(data)


@pytest.fixture(scope="session")
def seal_bytes(bob: Person) -> Callable[..., tuple[bytes, cms.Sealed]]:
    """Seals bytes, to Bob unless told otherwise, and answers the CMS with its record."""

    def seal_bytes(
        raw: bytes, *people: Person | Holder, profile: cms.Profile = cms.Profile.COMPATIBLE
    ) -> tuple[bytes, cms.Sealed]:
        received: list[bytes] = []
        recipients = [person.recipient for person in people or (bob,)]
        seal = partial(cms.seal_envelope, BytesContent(raw), _ListSink(received))
        sealed = seal(recipients, profile=profile)
        return b"".join(received), sealed

    return seal_bytes
