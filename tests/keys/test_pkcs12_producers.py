"""PKCS#12 as each program writes it: producer by form."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding

from sectool.cms.seams import IssuerAndSerialNumber
from sectool.errors import PassphraseError
from sectool.keys.history import KeyHistory
from tests.keys.conftest import PASSPHRASE
from tests.support.peers import GPGSM, THUNDERBIRD, peer_missing

Load = Callable[..., KeyHistory]
Names = Callable[[x509.Certificate], IssuerAndSerialNumber]

BOUNCY_CASTLE = [Path(f"/usr/share/java/{name}.jar") for name in ("bcprov", "bcutil")]
NICKNAME = "alice"
OTHER = "bob"


def run(
    *command: object,
    environment: dict[str, str] | None = None,
    cwd: Path | None = None,
) -> None:
    if shutil.which(str(command[0])) is None:
        peer_missing(f"{command[0]} is not installed")
    done = subprocess.run(
        list(map(str, command)),
        env={**os.environ, **(environment or {})},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr + done.stdout


@dataclass(frozen=True)
class Sources:
    """Two keys with their certificates, as OpenSSL writes them for the others to read."""

    directory: Path
    certificates: tuple[x509.Certificate, x509.Certificate]

    @property
    def one(self) -> Path:
        """PKCS#12 with the first key, in the oldest form: gpgsm reads no other."""
        return self.directory / "one.p12"

    @property
    def other(self) -> Path:
        return self.directory / "other.p12"

    @property
    def certificate(self) -> Path:
        return self.directory / "one.crt"

    @property
    def key(self) -> Path:
        return self.directory / "one.key"


@pytest.fixture(scope="session")
def sources(
    key_of: dict[str, PrivateKeyTypes],
    certify: Any,
    encode: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Sources:
    directory = tmp_path_factory.mktemp("sources")
    certificates: list[x509.Certificate] = []
    for name, kind, nickname in (("one", "rsa", NICKNAME), ("other", "other", OTHER)):
        certificate = certify(key_of[kind], serial_number=len(certificates) + 1)
        certificates.append(certificate)
        (directory / f"{name}.key").write_bytes(encode(key_of[kind], pem=True))
        (directory / f"{name}.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
        export_old(directory, name, nickname)
    return Sources(directory, (certificates[0], certificates[1]))


def export_old(directory: Path, name: str, nickname: str) -> Path:
    """PKCS#12 of a key with its certificate, in the oldest form, by the openssl command."""
    old = ("-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "sha1")
    run(
        *("openssl", "pkcs12", "-export", "-name", nickname, *old),
        *("-inkey", f"{name}.key", "-in", f"{name}.crt", "-out", f"{name}.p12"),
        *("-passout", f"pass:{PASSPHRASE}"),
        cwd=directory,
    )
    return directory / f"{name}.p12"


# --- NSS -----------------------------------------------------------------------------

TRIPLE_DES, RC2_40 = "3KEY Triple DES-CBC", "40 Bit RC2 CBC"
PBE = "PKCS #12 V2 PBE With SHA-1 And "
NSS_FORMS: dict[str, tuple[str, ...]] = {
    "defaults": (),
    "PBES1, RC2-40 and 3DES": ("-c", PBE + TRIPLE_DES, "-C", PBE + RC2_40),
    "PBES2, AES-256 and SHA-512": ("-c", "AES-256-CBC", "-C", "AES-256-CBC", "-M", "SHA-512"),
    "PBES2, Camellia": ("-c", "CAMELLIA-256-CBC", "-C", "CAMELLIA-128-CBC"),
    "certificates in clear": ("-C", "NONE"),
}


@dataclass(frozen=True)
class NSS:
    """A certificate database with both keys."""

    directory: Path
    environment: dict[str, str]

    def run(self, program: str, *arguments: object) -> None:
        run(program, "-d", f"sql:{self.directory}", *arguments, environment=self.environment)

    def export(self, path: Path, *options: str, passphrase: str = PASSPHRASE) -> None:
        self.run("pk12util", "-o", path, "-n", NICKNAME, "-W", passphrase, *options)


@pytest.fixture(scope="session")
def nss(sources: Sources, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], NSS]:
    """By whose libraries: of Debian, or of Thunderbird."""
    made: dict[str, NSS] = {}

    def database(whose: str) -> NSS:
        if whose not in made:
            if whose == "thunderbird" and not THUNDERBIRD.is_dir():
                peer_missing("thunderbird is not installed")
            libraries = {"LD_LIBRARY_PATH": str(THUNDERBIRD)} if whose == "thunderbird" else {}
            peer = NSS(tmp_path_factory.mktemp(whose), libraries)
            peer.run("certutil", "-N", "--empty-password")
            peer.run("pk12util", "-i", sources.one, "-W", PASSPHRASE)
            made[whose] = peer
        return made[whose]

    return database


@pytest.mark.parametrize(
    ("whose", "form"),
    [
        ("thunderbird", "defaults"),
        *(pytest.param("debian", form, marks=pytest.mark.all_only) for form in NSS_FORMS),
        pytest.param("thunderbird", "PBES1, RC2-40 and 3DES", marks=pytest.mark.all_only),
    ],
)
def test_a_file_of_nss_opens(
    *,
    whose: str,
    form: str,
    nss: Callable[[str], NSS],
    sources: Sources,
    load: Load,
    names: Names,
    tmp_path: Path,
) -> None:
    """B84."""
    nss(whose).export(tmp_path / "nss.p12", *NSS_FORMS[form])
    assert len(load(tmp_path / "nss.p12").find(names(sources.certificates[0]))) == 1


@pytest.mark.parametrize(
    "passphrase",
    [
        pytest.param("", id="empty", marks=pytest.mark.all_only),
        pytest.param("Grüße", id="umlauts", marks=pytest.mark.all_only),
        pytest.param("пароль", id="BMP"),
    ],
)
def test_a_file_of_nss_opens_with_any_passphrase(
    passphrase: str, nss: Callable[[str], NSS], load: Load, tmp_path: Path
) -> None:
    nss("debian").export(tmp_path / "nss.p12", passphrase=passphrase)
    assert len(load(tmp_path / "nss.p12", passphrase=passphrase)) == 1


# --- Java and Bouncy Castle ----------------------------------------------------------

LEGACY = "-J-Dkeystore.pkcs12.legacy"
NO_MAC = (
    "-J-Dkeystore.pkcs12.macAlgorithm=NONE",
    "-J-Dkeystore.pkcs12.certProtectionAlgorithm=NONE",
    "-J-Dkeystore.pkcs12.keyProtectionAlgorithm=PBEWithHmacSHA512AndAES_128",
)
PROVIDER = (
    *("-destprovidername", "BC", "-providerpath", ":".join(map(str, BOUNCY_CASTLE))),
    *("-provider", "org.bouncycastle.jce.provider.BouncyCastleProvider"),
    *("-srcprovidername", "SUN"),
)
JAVA_FORMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "Java, defaults": ("PKCS12", ()),
    "Java, PBES1 RC2-40 and 3DES": ("PKCS12", (LEGACY,)),
    "Java, PBES2 with SHA-512, without MAC": ("PKCS12", NO_MAC),
    "Bouncy Castle, RC2-40 and 3DES": ("PKCS12", PROVIDER),
    "Bouncy Castle, 3DES throughout": ("PKCS12-3DES-3DES", PROVIDER),
}


def import_store(source: Path, path: Path, kind: str, options: tuple[str, ...]) -> None:
    if options == PROVIDER and not all(jar.exists() for jar in BOUNCY_CASTLE):
        peer_missing("the Bouncy Castle jars of Debian are not installed")
    run(
        *("keytool", "-importkeystore", "-noprompt", *options),
        *("-srckeystore", source, "-srcstoretype", "PKCS12", "-srcstorepass", PASSPHRASE),
        *("-destkeystore", path, "-deststoretype", kind, "-deststorepass", PASSPHRASE),
    )


@pytest.mark.parametrize("form", JAVA_FORMS)
def test_a_file_of_java_opens(
    form: str, sources: Sources, load: Load, names: Names, tmp_path: Path
) -> None:
    """B84."""
    path = tmp_path / "store.p12"
    import_store(sources.one, path, *JAVA_FORMS[form])
    history = load(path)
    assert len(history.find(names(sources.certificates[0]))) == 1
    assert history.problems == ()


def test_certificates_of_a_java_store_without_keys_go_with_a_key_from_elsewhere(
    sources: Sources, load: Load, names: Names, tmp_path: Path
) -> None:
    path, (certificate, _) = tmp_path / "certificates.p12", sources.certificates
    run(
        *("keytool", "-importcert", "-noprompt", "-alias", "a", "-file", sources.certificate),
        *("-keystore", path, "-storetype", "PKCS12", "-storepass", PASSPHRASE),
    )
    assert len(load(path, sources.key).find(names(certificate))) == 1


# --- gpgsm ---------------------------------------------------------------------------


@pytest.fixture(scope="session")
def gpgsm(
    sources: Sources, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., None]]:
    """Writes the first key to a path."""
    peer = GPGSM.start(tmp_path_factory.mktemp("gpgsm"), PASSPHRASE)
    peer.import_pkcs12(lambda: export_old(sources.directory, "one", NICKNAME).read_bytes())

    def export(path: Path, *options: str, passphrase: str = PASSPHRASE) -> None:
        which = ("--export-secret-key-p12", "Alice")
        peer.run(*options, "--output", str(path), *which, passphrase=passphrase)

    yield export
    peer.stop()


@pytest.mark.parametrize("options", [(), ("--armor",)], ids=["DER", "PEM"])
def test_a_file_of_gpgsm_opens(
    options: tuple[str, ...],
    gpgsm: Callable[..., None],
    sources: Sources,
    load: Load,
    names: Names,
    tmp_path: Path,
) -> None:
    """B84."""
    gpgsm(tmp_path / "gpgsm.p12", *options)
    assert len(load(tmp_path / "gpgsm.p12").find(names(sources.certificates[0]))) == 1


# --- in PEM --------------------------------------------------------------------------


@pytest.fixture
def armoured(sources: Sources, tmp_path: Path) -> Path:
    """Two files of PKCS#12 in one of PEM, as GnuTLS and gpgsm frame them."""
    path = tmp_path / "history.pem"
    for source in (sources.one, sources.other):
        run("openssl", "base64", "-in", source, "-out", tmp_path / "text")
        text = (tmp_path / "text").read_text()
        with path.open("a") as stream:
            stream.write(f"Issuer: x\n\n-----BEGIN PKCS12-----\n{text}-----END PKCS12-----\n\n")
    return path


def test_every_pkcs12_of_a_pem_file_opens(
    armoured: Path, sources: Sources, load: Load, names: Names
) -> None:
    history = load(armoured)
    assert [len(history.find(names(each))) for each in sources.certificates] == [1, 1]


def test_a_wrong_passphrase_of_a_pkcs12_in_pem_is_its_own_exit_code(
    armoured: Path, load: Load
) -> None:
    with pytest.raises(PassphraseError):
        load(armoured, passphrase="wrong")
