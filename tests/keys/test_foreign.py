"""Key stores of other programs are named, and the command that is told converts them."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from sectool.errors import UsageError
from sectool.keys.history import KeyHistory
from sectool.keys.loading import load_key_history
from sectool.keys.problems import KeyProblem, ProblemKind
from sectool.keys.specification import KeySpecification
from tests.support.peers import peer_missing

Load = Callable[..., KeyHistory]
SECRET = "sesame"
PROVIDER = Path("/usr/share/java/bcprov.jar")
BOUNCY_CASTLE = (
    *("-providerclass", "org.bouncycastle.jce.provider.BouncyCastleProvider"),
    *("-providerpath", str(PROVIDER)),
)


@pytest.fixture
def bundle(rsa_key: Any, certify: Any, encode: Any, openssl: Any, tmp_path: Path) -> Path:
    """A PKCS#12 file to make the others of."""
    key, out = tmp_path / "made.pem", tmp_path / "made.p12"
    key.write_bytes(encode(rsa_key, pem=True) + certify(rsa_key).public_bytes(Encoding.PEM))
    openssl(
        *("pkcs12", "-export", "-in", key, "-out", out, "-name", "alice"),
        *("-passout", f"pass:{SECRET}"),
    )
    return out


def problem_of(path: Path) -> KeyProblem:
    """What is told of the one file of a directory of its own."""
    with pytest.raises(UsageError) as caught:
        load_key_history(KeySpecification((path,)))
    history_of_both = load_key_history(KeySpecification((path.parent.parent / "made.pem", path)))
    (problem,) = history_of_both.problems
    assert caught.value.message.endswith(problem.reason)
    assert caught.value.hint == problem.hint
    return problem


def run_told(problem: KeyProblem, *more: str, folder: Path) -> None:
    """Runs the command of a hint as a shell takes it apart, with answers to its questions."""
    words = shlex.split(problem.hint.partition(", where ")[0])
    words = [str(PROVIDER) if word == "bcprov.jar" else word for word in words]
    done = subprocess.run([*words, *more], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def opens(path: Path, passphrase: str = SECRET) -> bool:
    """Whether this is a key file with the certified key."""
    table = path.with_suffix(".csv")
    table.write_text(f"{path.name},{passphrase}\n")
    history = load_key_history(KeySpecification((path,), passphrases=table))
    return [entry.algorithm for entry in history.entries] == ["RSA 2048"]


@pytest.mark.parametrize(
    "kind",
    [
        "JKS",
        "BCFKS",
        *(pytest.param(k, marks=pytest.mark.all_only) for k in ("JCEKS", "BKS", "UBER")),
    ],
)
def test_the_command_for_a_java_key_store_converts_it(
    kind: str, bundle: Path, keytool: Any, tmp_path: Path
) -> None:
    if kind not in {"JKS", "JCEKS"} and not PROVIDER.exists():
        peer_missing("Bouncy Castle is not installed")
    folder = tmp_path / "a store"
    folder.mkdir()
    store = folder / "it's.store"
    keytool(
        *("-importkeystore", "-srckeystore", bundle, "-srcstorepass", SECRET),
        *("-destkeystore", store, "-deststoretype", kind, "-deststorepass", SECRET),
        *(() if kind in {"JKS", "JCEKS"} else BOUNCY_CASTLE),
    )
    problem = problem_of(store)
    assert f"({kind})" in problem.reason
    assert problem.withholds_key
    run_told(problem, "-srcstorepass", SECRET, "-deststorepass", SECRET, folder=folder)
    assert opens(folder / "it's.p12")


def test_an_empty_key_store_of_bouncy_castle_is_named(tmp_path: Path) -> None:
    store = tmp_path / "empty.bks"
    store.write_bytes(bytes.fromhex("00000002 00000014") + bytes(20) + b"\0\0\4\0" + bytes(21))
    with pytest.raises(UsageError, match=r"\(BKS\)"):
        load_key_history(KeySpecification((store,)))


@pytest.mark.parametrize("form", ["PVK", "MSBLOB"])
def test_the_command_for_a_key_of_microsoft_converts_it(
    form: str, bundle: Path, openssl: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "microsoft"
    folder.mkdir()
    key = folder / "alice.pvk"
    none = ("-pvk-none",) if form == "PVK" else ()
    openssl("rsa", "-in", bundle.with_suffix(".pem"), "-outform", form, *none, "-out", key)
    problem = problem_of(key)
    assert "Microsoft" in problem.reason
    run_told(problem, folder=folder)
    assert opens(folder / "alice.pem")


def test_the_command_for_a_sealed_pvk_converts_it(
    bundle: Path, openssl: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "microsoft"
    folder.mkdir()
    openssl(
        *("rsa", "-in", bundle.with_suffix(".pem"), "-outform", "PVK", "-pvk-strong"),
        *("-passout", f"pass:{SECRET}", "-out", folder / "alice.pvk"),
        *("-provider", "legacy", "-provider", "default"),
    )
    run_told(problem_of(folder / "alice.pvk"), "-passin", f"pass:{SECRET}", folder=folder)
    assert opens(folder / "alice.pem")


def test_the_command_for_a_profile_of_thunderbird_exports_its_key(
    bundle: Path, tmp_path: Path
) -> None:
    for program in ("certutil", "pk12util"):
        if shutil.which(program) is None:
            peer_missing(f"{program} is not installed")
    profile = tmp_path / "my profile"
    profile.mkdir()
    for command in (
        ["certutil", "-N", "-d", f"sql:{profile}", "--empty-password"],
        ["pk12util", "-i", str(bundle), "-d", f"sql:{profile}", "-W", SECRET],
    ):
        subprocess.run(command, check=True, capture_output=True)
    history = load_key_history(KeySpecification((bundle.with_suffix(".pem"), profile)))
    found = {problem.path.name: problem for problem in history.problems}
    assert {name: found[name].withholds_key for name in found} == {
        "cert9.db": False,
        "key4.db": True,
    }
    problem = found["key4.db"]
    hint = problem.hint.replace("-n NAME", "-n alice")
    command = shlex.split(hint.partition(", where ")[0])
    done = subprocess.run([*command, "-W", SECRET], cwd=profile, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert opens(profile / "key4.p12")


def test_the_command_for_an_openssh_key_makes_pem_of_it(tmp_path: Path) -> None:
    if shutil.which("ssh-keygen") is None:
        peer_missing("ssh-keygen is not installed")
    key = tmp_path / "id_rsa"
    words = ["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", str(key)]
    subprocess.run(words, check=True)
    with pytest.raises(UsageError, match="OpenSSH") as caught:
        load_key_history(KeySpecification((key,)))
    copy = tmp_path / "copy"
    shutil.copy(key, copy)
    command = caught.value.hint.partition("; ")[2].partition(" turns ")[0]
    words = [str(copy) if word == "COPY" else word for word in shlex.split(command)]
    subprocess.run([*words, "-P", "", "-N", ""], check=True, capture_output=True)
    assert opens(copy)


BLOB = bytes.fromhex("0702000000a40000") + b"RSA2" + bytes(40)
OTHERS: dict[str, tuple[bytes, str, bool]] = {
    "JCEKS": (b"\xce\xce\xce\xce" + bytes(40), "JCEKS", True),
    "CNG, RSA": (b"RSA2" + bytes.fromhex("00080000 03000000 00010000"), "CNG", True),
    "CNG, full RSA": (b"RSA3" + bytes(24), "CNG", True),
    "CNG, elliptic": (b"ECK2" + bytes(100), "CNG", True),
    "DPAPI": (
        bytes(40) + bytes.fromhex("d08c9ddf0115d1118c7a00c04fc297eb") + bytes(99),
        "DPAPI",
        True,
    ),
    "SST": (bytes(4) + b"CERT" + bytes(30), "SST", False),
    "keychain": (b"kych\0\1\0\0" + bytes(30), "macOS", True),
    "GnuPG's agent": (b"(21:protected-private-key(3:rsa(1:n1:a", "GnuPG", True),
    "GnuPG's agent, extended": (
        b"Created: 20240101T000000\nKey: (protected-private-key (rsa (n #00#",
        "GnuPG",
        True,
    ),
    "keybox": (b"\0\0\0\x20\1\1\0\2KBXf" + bytes(20), "keybox", False),
    "PuTTY": (b"PuTTY-User-Key-File-3: ssh-rsa\r\nEncryption: none\r\n", "PuTTY", False),
    "OpenPGP": (b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQ==\n", "OpenPGP", False),
    "Entrust": (b"[Password Token]\r\nProtection=x\r\n[Digital Signature]\r\n", "Entrust", True),
    "JSON": (b'{"kty":"RSA","n":"AQ","d":"AQ"}', "JSON Web Key", True),
    "XML": (b"<RSAKeyValue><Modulus>AQ</Modulus><D>AQ</D></RSAKeyValue>", "XML", True),
    "key3.db": (b"\0\6\x15\x61" + bytes(90) + b"global-salt", "key3.db", True),
}


@pytest.mark.parametrize(("content", "name", "withholds"), OTHERS.values(), ids=OTHERS)
def test_a_key_file_of_another_program_is_named_in_a_directory(
    *, content: bytes, name: str, withholds: bool, small_rsa_key: Any, encode: Any, tmp_path: Path
) -> None:
    (tmp_path / "good").write_bytes(encode(small_rsa_key))
    (tmp_path / "odd file").write_bytes(content)
    (problem,) = load_key_history(KeySpecification((tmp_path,))).problems
    assert name in problem.reason
    assert problem.withholds_key is withholds
    assert problem.kind is ProblemKind.UNSUPPORTED
    assert problem.hint
    assert "{" not in problem.hint


NO_KEY_STORES: dict[str, bytes] = {
    "another database": b"SQLite format 3\0" + bytes(4000),
    "another hash table": b"\0\6\x15\x61" + bytes(90),
    "words that begin so": b"RSA2 is a heading\n",
    "JSON": b'{"key": 1, "d": 2}',
    "two sequences": bytes.fromhex("300a 3003020101 3003020101"),
    "numbers": b"\0\0\0\1\0\0\0\x14" + b"\x99" * 25,
    "a jar": b"PK\3\4" + bytes(60),
    "nothing": b"",
}


@pytest.mark.parametrize("content", NO_KEY_STORES.values(), ids=NO_KEY_STORES)
def test_other_files_of_a_directory_are_passed_over(
    *, content: bytes, small_rsa_key: Any, encode: Any, tmp_path: Path
) -> None:
    (tmp_path / "good").write_bytes(encode(small_rsa_key))
    (tmp_path / "other").write_bytes(content)
    assert load_key_history(KeySpecification((tmp_path,))).problems == ()


def test_an_archive_that_is_named_is_to_be_unpacked(tmp_path: Path) -> None:
    (tmp_path / "keys.zip").write_bytes(b"PK\3\4" + bytes(60))
    with pytest.raises(UsageError, match="archive") as caught:
        load_key_history(KeySpecification((tmp_path / "keys.zip",)))
    assert caught.value.hint == "unpack it"
