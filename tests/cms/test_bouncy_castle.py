"""Held against Bouncy Castle, both ways; one Java program seals and opens all cases at once."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sectool import cms
from sectool.message import BytesContent

if TYPE_CHECKING:
    from tests.cms.conftest import Holder, KeyRing

Ring = Callable[..., "KeyRing"]
Seal = Callable[..., tuple[bytes, cms.Sealed]]

CONTENT = b"Content-Type: text/plain\r\n\r\n" + bytes(range(256)) * 100
PROGRAM = Path(__file__).parents[1] / "interop" / "BouncyCastle.java"
CLASS_PATH = ":".join(
    f"/usr/share/java/{name}.jar" for name in ("bcmail", "bcpkix", "bcprov", "bcutil")
)
KINDS = ["rsa", "p-256", "p-384", "p-521", "brainpool-256", "brainpool-512"]
CONTENT_ENCRYPTION = {
    "aes-128-cbc": "AES128_CBC",
    "aes-192-cbc": "AES192_CBC",
    "aes-256-cbc": "AES256_CBC",
    "aes-128-gcm": "AES128_GCM",
    "aes-192-gcm": "AES192_GCM",
    "aes-256-gcm": "AES256_GCM",
    "aes-128-ccm": "AES128_CCM",
    "aes-192-ccm": "AES192_CCM",
    "aes-256-ccm": "AES256_CCM",
    "camellia-128-cbc": "CAMELLIA128_CBC",
    "camellia-192-cbc": "CAMELLIA192_CBC",
    "camellia-256-cbc": "CAMELLIA256_CBC",
    "seed-cbc": "SEED_CBC",
    "des-ede3-cbc": "DES_EDE3_CBC",
    "des-cbc": "DES_CBC",
    "rc2-cbc 128": "RC2_CBC",
    "idea-cbc": "IDEA_CBC",
    "cast5-cbc 128": "CAST5_CBC",
}
SCHEMES = [
    f"{family}_SHA{size}KDF" for family in ("ECDH", "ECCDH") for size in (1, 224, 256, 384, 512)
]
CASES: dict[str, str] = {
    **{f"rsa {name}": f"rsa {cipher}" for name, cipher in CONTENT_ENCRYPTION.items()},
    **{
        f"rsa {name} with attributes": f"rsa attributes {CONTENT_ENCRYPTION[name]}"
        for name in ("aes-128-gcm", "aes-256-gcm", "aes-128-ccm", "aes-256-ccm")
    },
    **{
        f"oaep {hash_name} mgf {mask} label {label}": f"oaep {hash_name} {mask} {label} AES256_CBC"
        for hash_name in ("SHA-1", "SHA-224", "SHA-256", "SHA-384", "SHA-512")
        for mask in ("SHA-1", "SHA-256", "SHA-512")
        for label in ("-", "label")
    },
    **{
        f"{kind} {scheme} {wrap} {ukm}": f"{kind} {scheme} {wrap} {ukm} AES256_CBC"
        for kind in KINDS[1:]
        for scheme in SCHEMES
        for wrap, ukm in (
            ("AES128_WRAP", "-"),
            ("AES192_WRAP", "ukm"),
            ("AES256_WRAP", "ukm"),
            ("DES_EDE3_WRAP", "-"),
        )
    },
    "p-256 aes-256-gcm": "p-256 ECDH_SHA256KDF AES256_WRAP - AES256_GCM",
    "p-256 aes-256-ccm": "p-256 ECDH_SHA256KDF AES256_WRAP - AES256_CCM",
    "shared key": "shared list AES256_CBC",
    "password aes-256-cbc": "password horse AES256_CBC AES256_CBC",
    "password des-ede3-cbc": "password horse DES_EDE3_CBC AES256_CBC",
}
SECRETS = cms.SharedSecrets({b"list": bytes(32)}, (b"horse",))


def run(*command: str | Path) -> None:
    done = subprocess.run([*command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def bouncy_castle(
    tmp_path_factory: pytest.TempPathFactory, peer_missing: Callable[[str], None]
) -> Callable[[str, Path], None]:
    """Runs the program on a directory: ``bouncy_castle("seal", directory)``."""
    if shutil.which("javac") is None or not Path("/usr/share/java/bcmail.jar").exists():
        peer_missing("javac and the Bouncy Castle jars of Debian are not installed")
    classes = tmp_path_factory.mktemp("classes")
    run("javac", "-d", classes, "-cp", CLASS_PATH, PROGRAM)

    def program(command: str, directory: Path) -> None:
        run("java", "-cp", f"{CLASS_PATH}:{classes}", "BouncyCastle", command, directory)

    return program


@pytest.fixture(scope="session")
def people(holder: Callable[..., Holder]) -> dict[str, Holder]:
    return {kind: holder(kind) for kind in KINDS}


@pytest.fixture(scope="session")
def sealed(
    bouncy_castle: Callable[[str, Path], None],
    people: dict[str, Holder],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, bytes]:
    """What Bouncy Castle makes of each case."""
    directory = tmp_path_factory.mktemp("sealed")
    (directory / "content").write_bytes(CONTENT)
    for kind, person in people.items():
        encoded = person.certificate.public_bytes(Encoding.DER)
        (directory / f"{kind}.crt").write_bytes(encoded)
    lines = [f"{index}.cms {case}" for index, case in enumerate(CASES.values())]
    (directory / "cases").write_text("\n".join(lines))
    bouncy_castle("seal", directory)
    return {name: (directory / f"{index}.cms").read_bytes() for index, name in enumerate(CASES)}


@pytest.mark.parametrize("name", CASES)
def test_what_bouncy_castle_seals_opens(
    name: str, sealed: dict[str, bytes], people: dict[str, Holder], ring: Ring
) -> None:
    sink = io.BytesIO()
    source = BytesContent(sealed[name])
    result = cms.open_envelope(source, sink, ring(*people.values()), secrets=SECRETS)
    assert sink.getvalue() == CONTENT
    unproven = name.startswith(("rsa", "password")) and not result.aead
    assert type(result) is (cms.Unproven if unproven else cms.Authenticated)
    if name.startswith("rsa"):
        assert result.content_encryption_algorithm == name.split()[1]


OPENED = {
    f"{profile.value} {kind}": (profile, kind)
    for profile, kinds in (
        (cms.Profile.COMPATIBLE, ["rsa", "p-256", "p-384"]),
        (cms.Profile.MODERN, ["rsa"]),
    )
    for kind in kinds
}


@pytest.fixture(scope="session")
def opened(
    bouncy_castle: Callable[[str, Path], None],
    people: dict[str, Holder],
    seal_bytes: Seal,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, bytes]:
    """What Bouncy Castle finds in each envelope sealed here."""
    directory = tmp_path_factory.mktemp("opened")
    for kind, person in people.items():
        encoded = person.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        (directory / f"{kind}.key").write_bytes(encoded)
    for profile, kind in OPENED.values():
        raw, _ = seal_bytes(CONTENT, people[kind], profile=profile)
        (directory / f"{kind}.{profile.value}.cms").write_bytes(raw)
    bouncy_castle("open", directory)
    return {
        name: (directory / f"{kind}.{profile.value}.out").read_bytes()
        for name, (profile, kind) in OPENED.items()
    }


@pytest.mark.parametrize("name", OPENED)
def test_bouncy_castle_opens_what_is_sealed(name: str, opened: dict[str, bytes]) -> None:
    assert opened[name] == CONTENT
