"""Keys on a token do what the same keys do in software, and never leave it (SoftHSM 2)."""

from __future__ import annotations

import itertools
import os
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from sectool.cms.seams import OAEP, IssuerAndSerialNumber, KeyOperations, PKCS1v15
from sectool.errors import (
    DecryptionFailed,
    PassphraseError,
    RunError,
    UnsupportedMessage,
    UsageError,
)
from sectool.keys import KeyHistory, KeySpecification, load_key_history
from sectool.keys.private_keys import SoftwareKey
from sectool.keys.problems import ProblemKind
from sectool.keys.token_access import close_sessions
from sectool.keys.token_contents import TokenKey
from tests.support import softhsm
from tests.support.peers import peer_missing
from tests.support.softhsm import PIN, Store, uri

Names = Callable[[x509.Certificate], IssuerAndSerialNumber]
CONTENT_ENCRYPTION_KEY = bytes(range(32))
HASHES = {"sha1": hashes.SHA1(), "sha256": hashes.SHA256(), "sha512": hashes.SHA512()}


@pytest.fixture(scope="session")
def certificates(key_of: dict[str, PrivateKeyTypes], certify: Any) -> dict[str, x509.Certificate]:
    """Of the keys that have one on the token."""
    return {name: certify(key_of[name], serial_number=n) for n, name in enumerate(("rsa", "ec"), 1)}


@pytest.fixture(scope="session")
def store(
    key_of: dict[str, PrivateKeyTypes],
    certificates: dict[str, x509.Certificate],
    tmp_path_factory: pytest.TempPathFactory,
) -> Store:
    if reason := softhsm.missing_peer():
        peer_missing(reason)
    # All tokens at once: SoftHSM reads its configuration when it is loaded.
    store = Store(tmp_path_factory.mktemp("softhsm"))
    os.environ["SOFTHSM2_CONF"] = str(store.configure())
    for token in ("lab", "odd", "empty", "guarded", "signing", "twins", "twins"):
        store.make(token)
    store.write("lab", 1, key_of["rsa"], certificates["rsa"], usage=["--usage-decrypt"])
    store.write("lab", 2, key_of["ec"], certificates["ec"], usage=["--usage-derive"])
    store.write("lab", 3, key_of["secp384r1"], usage=["--usage-derive"])
    store.write("lab", 4, key_of["small"], usage=["--usage-decrypt"])
    store.import_key("odd", 1, key_of["ec"])
    derive = ["--usage-derive"]
    store.write("odd", 3, key_of["secp521r1"], usage=derive, with_public_key=False)
    store.write("odd", 4, key_of["small"], usage=["--usage-decrypt"], with_public_key=False)
    return store


@pytest.fixture(autouse=True)
def _no_pin_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("SECTOOL_PIN", "SECTOOL_PKCS11_MODULE"):
        monkeypatch.delenv(name, raising=False)
    yield
    close_sessions()


@pytest.fixture
def load(store: Store, monkeypatch: pytest.MonkeyPatch) -> Callable[..., KeyHistory]:
    """Loads a history from a token, with its PIN in the environment."""

    def loaded(token: str = "lab", more: str = "", *paths: Path, **changes: Any) -> KeyHistory:
        monkeypatch.setenv("SECTOOL_PIN", PIN)
        return load_key_history(KeySpecification(paths, tokens=(uri(token, more),), **changes))

    return loaded


Load = Callable[..., KeyHistory]


def operations(history: KeyHistory, number: int) -> KeyOperations:
    """Of the key under an id of the token."""
    (found,) = (
        key.operations for key in history.keys if str(key.source).endswith(f"id=%{number:02x}")
    )
    return found


def test_a_history_on_a_token_is_listed_with_its_names(load: Load) -> None:
    history = load()
    lines = {(e.algorithm, e.subject, e.has_certificate) for e in history.entries}
    assert lines == {
        ("RSA 2048", "CN=Alice", True),
        ("EC secp256r1", "CN=Alice", True),
        ("EC secp384r1", "", False),
        ("RSA 1024", "", False),
    }
    assert {str(entry.source) for entry in history.entries} == {
        f"pkcs11:token=lab;object=key {number};id=%0{number}" for number in (1, 2, 3, 4)
    }
    assert history.problems == ()


def test_keys_on_a_token_are_found_by_the_certificates_beside_them(
    load: Load, certificates: dict[str, x509.Certificate], names: Names
) -> None:
    history = load()
    for name, number in (("rsa", 1), ("ec", 2)):
        assert history.find(names(certificates[name])) == (operations(history, number),)


def test_a_certificate_in_a_file_finds_its_key_on_the_token(
    load: Load, key_of: dict[str, PrivateKeyTypes], certify: Any, names: Names, tmp_path: Path
) -> None:
    certificate = certify(key_of["secp384r1"], serial_number=77)
    path = tmp_path / "a.crt"
    path.write_bytes(certificate.public_bytes(Encoding.DER))
    history = load("lab", "", path)
    assert history.find(names(certificate)) == (operations(history, 3),)


@pytest.mark.parametrize("more", [";id=%02", ";object=key%202"])
def test_a_uri_that_names_a_key_gives_that_key_only(more: str, load: Load) -> None:
    assert [entry.algorithm for entry in load("lab", more).entries] == ["EC secp256r1"]


def test_pkcs1_v1_5_opens_on_a_token(load: Load, rsa_key: rsa.RSAPrivateKey) -> None:
    encrypted = rsa_key.public_key().encrypt(CONTENT_ENCRYPTION_KEY, padding.PKCS1v15())
    opened = operations(load(), 1).decrypt_rsa(encrypted, PKCS1v15())
    assert opened == CONTENT_ENCRYPTION_KEY


@pytest.mark.parametrize(("hash_name", "mgf"), list(itertools.product(HASHES, repeat=2)))
@pytest.mark.parametrize("label", [b"", b"label"])
def test_oaep_opens_on_a_token_with_any_hashes_and_label(
    *, hash_name: str, mgf: str, label: bytes, load: Load, rsa_key: rsa.RSAPrivateKey
) -> None:
    oaep = padding.OAEP(padding.MGF1(HASHES[mgf]), HASHES[hash_name], label)
    encrypted = rsa_key.public_key().encrypt(CONTENT_ENCRYPTION_KEY, oaep)
    opened = operations(load(), 1).decrypt_rsa(encrypted, OAEP(hash_name, mgf, label))
    assert opened == CONTENT_ENCRYPTION_KEY


def without_raw_rsa(history: KeyHistory) -> TokenKey:
    """The RSA key of the token as one that keeps the raw operation to itself has it."""
    held = operations(history, 1)
    assert isinstance(held, TokenKey)
    return replace(held, mechanisms=held.mechanisms - {"RSA_X_509"})


@pytest.mark.parametrize(
    ("padding_there", "asked"),
    [
        (padding.PKCS1v15(), PKCS1v15()),
        (padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None), OAEP()),
    ],
    ids=["PKCS#1 v1.5", "OAEP with SHA-1"],
)
def test_a_token_takes_off_the_paddings_it_knows(
    *, padding_there: Any, asked: Any, load: Load, rsa_key: rsa.RSAPrivateKey
) -> None:
    held = without_raw_rsa(load())
    encrypted = rsa_key.public_key().encrypt(CONTENT_ENCRYPTION_KEY, padding_there)
    assert held.decrypt_rsa(encrypted, asked) == CONTENT_ENCRYPTION_KEY
    with pytest.raises(DecryptionFailed) as caught:
        held.decrypt_rsa(bytes(255) + b"\2", asked)
    assert caught.value.message == DecryptionFailed.TEXT


def test_a_hash_that_no_token_does_is_unsupported_and_costs_the_message(load: Load) -> None:
    with pytest.raises(UnsupportedMessage):
        without_raw_rsa(load()).decrypt_rsa(bytes(255) + b"\2", OAEP("md4"))


def test_a_token_without_any_rsa_is_told_by_the_name_of_what_it_lacks(load: Load) -> None:
    held = replace(without_raw_rsa(load()), mechanisms=frozenset())
    with pytest.raises(UnsupportedMessage, match="RSA_PKCS"):
        held.decrypt_rsa(bytes(255) + b"\2", PKCS1v15())


@pytest.mark.parametrize("form", [PublicFormat.UncompressedPoint, PublicFormat.CompressedPoint])
@pytest.mark.parametrize(("name", "number"), [("ec", 2), ("secp384r1", 3)])
def test_a_token_agrees_as_software_does(
    form: PublicFormat, name: str, number: int, load: Load, key_of: dict[str, PrivateKeyTypes]
) -> None:
    key = key_of[name]
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    held = operations(load(), number)
    # Often enough that a secret with a leading zero octet is among them, as a rule.
    for _ in range(40):
        peer = ec.generate_private_key(key.curve).public_key()
        point = peer.public_bytes(Encoding.X962, form)
        assert held.agree(point) == SoftwareKey(key, "").agree(point)


FAILURES: dict[str, tuple[int, Callable[[KeyOperations], object]]] = {
    "not an RSA key": (2, lambda key: key.decrypt_rsa(bytes(256), PKCS1v15())),
    "above the modulus": (1, lambda key: key.decrypt_rsa(b"\xff" * 256, PKCS1v15())),
    "garbage": (1, lambda key: key.decrypt_rsa(bytes(255) + b"\2", PKCS1v15())),
    "OAEP that does not fit": (1, lambda key: key.decrypt_rsa(bytes(255) + b"\2", OAEP())),
    "unknown hash": (1, lambda key: key.decrypt_rsa(bytes(255) + b"\2", OAEP("md4"))),
    "not an agreeing key": (1, lambda key: key.agree(b"\4" + bytes(64))),
    "off the curve": (2, lambda key: key.agree(b"\4" + bytes(63) + b"\1")),
    "of another curve": (2, lambda key: key.agree(b"\4" + bytes(96))),
    "no point": (3, lambda key: key.agree(b"")),
    "no KEM": (1, lambda key: key.decapsulate(bytes(1088))),
}


@pytest.mark.parametrize(("number", "act"), FAILURES.values(), ids=FAILURES)
def test_every_failure_is_one_error_with_one_text(
    number: int, act: Callable[[KeyOperations], object], load: Load
) -> None:
    with pytest.raises(DecryptionFailed) as caught:
        act(operations(load(), number))
    assert caught.value.message == DecryptionFailed.TEXT


def test_no_garbage_under_pkcs1_v1_5_becomes_a_key(
    load: Load, key_of: dict[str, PrivateKeyTypes]
) -> None:
    """What another key encrypted gives an error here, never bytes (G3)."""
    held = operations(load(), 1)
    other = key_of["other"]
    assert isinstance(other, rsa.RSAPrivateKey)
    for _ in range(100):
        encrypted = other.public_key().encrypt(CONTENT_ENCRYPTION_KEY, padding.PKCS1v15())
        with pytest.raises(DecryptionFailed):
            held.decrypt_rsa(encrypted, PKCS1v15())


def test_a_history_on_a_token_travels_to_a_worker_without_its_keys(
    load: Load, rsa_key: rsa.RSAPrivateKey
) -> None:
    history = load()
    pickled = pickle.dumps(history.material)
    numbers = rsa_key.private_numbers()
    assert numbers.d.to_bytes(256, "big")[:16] not in pickled
    assert numbers.p.to_bytes(128, "big")[:16] not in pickled
    copy = KeyHistory.from_material(pickle.loads(pickled))
    assert copy.entries == history.entries
    encrypted = rsa_key.public_key().encrypt(b"key", padding.PKCS1v15())
    assert operations(copy, 1).decrypt_rsa(encrypted, PKCS1v15()) == b"key"


def test_the_pin_shows_nowhere(load: Load) -> None:
    history = load()
    assert PIN not in repr((history, history.material, history.keys, history.entries))


def test_what_a_key_cannot_be_used_for_is_told_with_what_to_do(load: Load) -> None:
    history = load("odd")
    assert [entry.algorithm for entry in history.entries] == ["RSA 1024"]
    problems = {problem.path.name[-6:]: problem for problem in history.problems}
    assert {problem.kind for problem in problems.values()} == {ProblemKind.UNSUPPORTED}
    assert "--usage-derive" in problems["id=%01"].hint
    assert "public key" in problems["id=%03"].hint


def test_a_key_that_only_signs_is_told(
    load: Load, store: Store, key_of: dict[str, PrivateKeyTypes], encode: Any
) -> None:
    import pkcs11
    from pkcs11.util.rsa import decode_rsa_private_key

    der = key_of["other"].private_bytes(
        Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    )
    usage = {pkcs11.Attribute.TOKEN: True, pkcs11.Attribute.DECRYPT: False}
    token = pkcs11.lib(softhsm.MODULE).get_token(token_label="signing")
    with token.open(rw=True, user_pin=PIN) as session:
        session.create_object({**decode_rsa_private_key(der), **usage})
    with pytest.raises(UsageError, match="does not decrypt, by its usage"):
        load("signing")


# --- PINs ---------------------------------------------------------------------------


@pytest.fixture
def pin_file(tmp_path: Path) -> Path:
    path = tmp_path / "pin"
    path.write_text(f"{PIN}\nsecond line\n", encoding="utf-8")
    return path


def test_a_pin_comes_from_a_file_the_uri_names(store: Store, pin_file: Path) -> None:
    tokens = (uri("lab", query=f"&pin-source={pin_file}"),)
    wrong = pin_file.with_name("wrong")
    assert len(load_key_history(KeySpecification(tokens=tokens, pin_file=wrong))) == 4


def test_a_pin_comes_from_a_file_before_the_environment(
    store: Store, pin_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECTOOL_PIN", "wrong")
    specification = KeySpecification(tokens=(uri("lab"),), pin_file=pin_file)
    assert len(load_key_history(specification)) == 4


def test_a_person_is_asked_for_the_pin_by_the_name_of_the_token(store: Store) -> None:
    asked: list[str] = []

    def ask(name: str) -> str:
        asked.append(name)
        return PIN

    assert len(load_key_history(KeySpecification(tokens=(uri("lab"),)), ask)) == 4
    assert asked == ["pkcs11:token=lab"]


def test_a_wrong_pin_is_tried_once(store: Store) -> None:
    asked: list[str] = []

    def ask(name: str) -> str:
        asked.append(name)
        return "0000"

    with pytest.raises(PassphraseError) as caught:
        load_key_history(KeySpecification(tokens=(uri("guarded"),)), ask)
    assert (caught.value.exit_code, len(asked)) == (12, 1)
    assert "0000" not in caught.value.message
    assert "tried once" in caught.value.hint


@pytest.mark.parametrize("ask", [None, lambda _: ""], ids=["nobody there", "no answer"])
def test_no_pin_is_its_own_exit_code(ask: Callable[[str], str] | None, store: Store) -> None:
    with pytest.raises(PassphraseError, match="needs a PIN") as caught:
        load_key_history(KeySpecification(tokens=(uri("lab"),)), ask)
    assert "--pin-file" in caught.value.hint


def test_a_pin_that_was_right_and_is_wrong_now_is_not_tried_by_each_worker(
    load: Load, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write("guarded", 1, rsa.generate_private_key(65537, 1024), usage=["--usage-decrypt"])
    history = load("guarded")
    monkeypatch.setenv("SECTOOL_PIN", "0000")
    with pytest.raises(PassphraseError, match="is wrong"):
        load_key_history(KeySpecification(tokens=(uri("guarded"),)))
    with pytest.raises(PassphraseError, match="no more are tried"):
        operations(history, 1).decrypt_rsa(bytes(127) + b"\2", PKCS1v15())


# --- tokens that are not there --------------------------------------------------------


NOT_THERE: dict[str, tuple[str, str, str]] = {
    "token": (uri("nowhere"), "there is no token", "lab"),
    "serial": (uri("lab", ";serial=none"), "there is no token", "lab"),
    "two of one label": (uri("twins"), "2 tokens are", "serial"),
    "module": ("pkcs11:?module-path=/nowhere.so", "cannot be loaded", "module-path"),
    "no module": ("pkcs11:?module-path=/etc/passwd", "cannot be loaded", "module-path"),
    "module here": ("pkcs11:?module-path=here.so", "not an absolute path", "whole path"),
    "module by name": ("pkcs11:?module-name=nowhere", "there is no PKCS#11 module", "module-path"),
    "keys": (uri("empty"), "there is no private key", "add the files"),
}


@pytest.mark.parametrize(("text", "message", "hint"), NOT_THERE.values(), ids=NOT_THERE)
def test_what_is_not_there_is_told_in_one_line_with_a_hint(
    text: str, message: str, hint: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECTOOL_PIN", PIN)
    with pytest.raises(UsageError, match=message) as caught:
        load_key_history(KeySpecification(tokens=(text,)))
    assert hint in caught.value.hint


@pytest.mark.parametrize("by", ["name", "directory and name", "environment"])
def test_a_module_is_found_by(by: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECTOOL_PIN", PIN)
    directory = Path(softhsm.MODULE).parent
    queries = {
        "name": "?module-name=softhsm2",
        "directory and name": f"?module-path={directory}&module-name=softhsm2",
        "environment": "",
    }
    if by == "environment":
        monkeypatch.setenv("SECTOOL_PKCS11_MODULE", softhsm.MODULE)
    text = f"pkcs11:token=lab{queries[by]}"
    assert len(load_key_history(KeySpecification(tokens=(text,)))) == 4


def test_a_token_that_stops_working_ends_the_run_and_damns_no_mail(
    load: Load, rsa_key: rsa.RSAPrivateKey
) -> None:
    # F81
    from sectool.keys import token_access

    history = load()
    held, agreeing = operations(history, 1), operations(history, 2)
    encrypted = rsa_key.public_key().encrypt(b"key", padding.PKCS1v15())
    point = ec.generate_private_key(ec.SECP256R1()).public_key()
    raw = point.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    acts: list[Callable[[], bytes]] = [
        lambda: held.decrypt_rsa(encrypted, PKCS1v15()),
        lambda: agreeing.agree(raw),
    ]
    assert all(act() for act in acts)
    (session,) = token_access._sessions.values()
    session.close()
    for act in acts:
        with pytest.raises(RunError, match="does not work") as caught:
            act()
        assert type(caught.value) is RunError
        assert "resumes" in caught.value.hint


def test_a_key_taken_off_its_token_ends_the_run(load: Load) -> None:
    from dataclasses import replace

    held: Any = operations(load(), 1)
    with pytest.raises(RunError, match="has lost the key"):
        replace(held, id=b"\x77").decrypt_rsa(bytes(255) + b"\2", PKCS1v15())


def test_a_token_of_unlimited_sessions_bounds_no_workers(load: Load) -> None:
    assert load().maximum_workers is None
