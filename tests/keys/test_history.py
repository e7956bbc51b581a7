"""A key history finds keys by every identifier that mail may carry, and travels to workers."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from sectool.cms.seams import (
    IssuerAndSerialNumber,
    KeyOperations,
    KeySource,
    PKCS1v15,
    SubjectKeyIdentifier,
)
from sectool.errors import PassphraseError, UsageError
from sectool.keys import limits
from sectool.keys.history import KeyHistory
from sectool.keys.loading import load_key_history
from sectool.keys.problems import ProblemKind
from sectool.keys.specification import KeySpecification
from tests.support.effort import effort

Load = Callable[..., KeyHistory]
Encode = Callable[..., bytes]
Names = Callable[[x509.Certificate], IssuerAndSerialNumber]
Write = Callable[..., Path]


@pytest.fixture
def write(encode: Encode, tmp_path: Path) -> Write:
    """Writes keys and certificates into one PEM file."""

    def written(name: str, *objects: Any) -> Path:
        path = tmp_path / "history" / name
        path.parent.mkdir(exist_ok=True)
        parts = [
            each.public_bytes(Encoding.PEM)
            if isinstance(each, x509.Certificate)
            else encode(each, pem=True)
            for each in objects
        ]
        path.write_bytes(b"".join(parts))
        return path

    return written


def identifiers(key: rsa.RSAPrivateKey) -> dict[str, bytes]:
    bits = key.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    info = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    sha1 = hashlib.sha1(bits).digest()
    return {
        "RFC 5280 method 1": sha1,
        "RFC 5280 method 2": bytes([0x40 | sha1[-8] & 0x0F]) + sha1[-7:],
        "RFC 7093 method 1": hashlib.sha256(bits).digest()[:20],
        "RFC 7093 method 2": hashlib.sha384(bits).digest()[:20],
        "RFC 7093 method 3": hashlib.sha512(bits).digest()[:20],
        "RFC 7093 method 4": hashlib.sha256(info).digest(),
    }


FORMS = [
    "RFC 5280 method 1",
    "RFC 5280 method 2",
    "RFC 7093 method 1",
    "RFC 7093 method 2",
    "RFC 7093 method 3",
    "RFC 7093 method 4",
]


@pytest.mark.parametrize("form", FORMS)
def test_a_bare_key_is_found_by_computed_identifiers(
    form: str, small_rsa_key: rsa.RSAPrivateKey, write: Write, load: Load
) -> None:
    history = load(write("bare.pem", small_rsa_key))
    assert len(history.find(SubjectKeyIdentifier(identifiers(small_rsa_key)[form]))) == 1


def test_a_key_is_found_by_the_extension_of_its_certificate(
    small_rsa_key: rsa.RSAPrivateKey, certify: Any, write: Write, load: Load
) -> None:
    certificate = certify(small_rsa_key, subject_key_identifier=b"any bytes at all")
    history = load(write("a.pem", small_rsa_key, certificate))
    assert len(history.find(SubjectKeyIdentifier(b"any bytes at all"))) == 1
    assert history.entries[0].subject_key_identifier == b"any bytes at all".hex()


def test_an_identifier_of_nobody_finds_nothing(
    small_rsa_key: rsa.RSAPrivateKey, certify: Any, write: Write, load: Load, names: Names
) -> None:
    certificate = certify(small_rsa_key)
    history = load(write("a.pem", small_rsa_key, certificate))
    other = replace(names(certificate), serial_number=certificate.serial_number + 1)
    assert [*history.find(other), *history.find(SubjectKeyIdentifier(b""))] == []


def test_renewed_certificates_all_lead_to_their_one_key(
    small_rsa_key: rsa.RSAPrivateKey, certify: Any, write: Write, load: Load, names: Names
) -> None:
    certificates = [certify(small_rsa_key, serial_number=number) for number in (1, 2, 3)]
    history = load(write("a.pem", small_rsa_key, *certificates))
    found = {history.find(names(each)) for each in certificates}
    assert len(history) == len(found) == 1
    assert len(history.entries) == 3


def test_two_certificates_with_one_issuer_and_serial_lead_to_both_keys(
    *,
    rsa_key: rsa.RSAPrivateKey,
    small_rsa_key: rsa.RSAPrivateKey,
    certify: Any,
    write: Write,
    load: Load,
    names: Names,
) -> None:
    certificates = [certify(key, serial_number=7) for key in (rsa_key, small_rsa_key)]
    history = load(write("a.pem", rsa_key, small_rsa_key, *certificates))
    assert len(history.find(names(certificates[0]))) == 2


def test_a_key_in_several_files_is_one_key(
    small_rsa_key: rsa.RSAPrivateKey, certify: Any, write: Write, load: Load, names: Names
) -> None:
    certificate = certify(small_rsa_key)
    paths = [write(name, small_rsa_key, certificate) for name in ("a.pem", "b.pem")]
    assert len(load(*paths).find(names(certificate))) == len(load(*paths).entries) == 1


def test_an_issuer_in_another_string_type_finds_the_key(
    small_rsa_key: rsa.RSAPrivateKey, certify: Any, write: Write, load: Load
) -> None:
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Old  Authority")])
    history = load(write("a.pem", small_rsa_key, certify(small_rsa_key, issuer=issuer)))
    printable = bytes.fromhex("30183116301406035504 03130d") + b"OLD AUTHORITY"
    assert len(history.find(IssuerAndSerialNumber(printable, 0x0A1B2C))) == 1


def test_entries_say_what_a_person_wants_to_know(
    small_rsa_key: rsa.RSAPrivateKey, certify: Any, write: Write, load: Load
) -> None:
    early, late = datetime(2010, 1, 1, tzinfo=UTC), datetime(2012, 1, 1, tzinfo=UTC)
    old = certify(small_rsa_key, serial_number=0xABC, not_before=early, not_after=late)
    new = certify(small_rsa_key, serial_number=2)
    entry = load(write("a.pem", small_rsa_key, new, old)).entries[0]
    assert (entry.algorithm, entry.subject, entry.issuer) == (
        "RSA 1024",
        "CN=Alice",
        "CN=Test Authority",
    )
    assert (entry.serial_number, entry.not_before, entry.not_after) == ("0abc", early, late)
    assert entry.source.name == "a.pem"
    assert entry.fingerprint == hashlib.sha256(old.public_bytes(Encoding.DER)).hexdigest()


def test_keys_without_certificate_are_kept_apart(
    rsa_key: rsa.RSAPrivateKey,
    small_rsa_key: rsa.RSAPrivateKey,
    certify: Any,
    write: Write,
    load: Load,
) -> None:
    history = load(write("a.pem", rsa_key, small_rsa_key, certify(rsa_key)))
    assert [key.algorithm for key in history.keys_without_certificate] == ["RSA 1024"]


def test_a_directory_is_searched_and_rubbish_is_passed_over(
    small_rsa_key: rsa.RSAPrivateKey, certify: Any, write: Write, load: Load, tmp_path: Path
) -> None:
    folder = write("a.pem", small_rsa_key, certify(small_rsa_key)).parent
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "a.pem").rename(folder / "deep" / "er" / "a")
    (folder / "README").write_text("words")
    (folder / "notes.txt").write_bytes(b"")
    (folder / "photo.jpg").write_bytes(b"\xff\xd8\xff" + bytes(1000))
    (folder / "link.pem").symlink_to("/etc/passwd")
    (folder / "loop").symlink_to(folder)
    history = load(folder)
    assert (len(history), history.problems) == (1, ())


def test_a_damaged_container_in_a_directory_is_a_problem_and_the_rest_is_used(
    small_rsa_key: rsa.RSAPrivateKey, write: Write, load: Load
) -> None:
    folder = write("a.pem", small_rsa_key).parent
    (folder / "broken.p12").write_bytes(b"\x30\x82\x04\x00\x02\x01\x03\x30")
    (folder / "empty.pfx").write_bytes(b"")
    history = load(folder)
    assert [problem.path.name for problem in history.problems] == ["broken.p12", "empty.pfx"]
    assert {problem.kind for problem in history.problems} == {ProblemKind.DAMAGED}
    assert len(history) == 1


def test_a_directory_of_very_many_files_is_bounded(
    small_rsa_key: rsa.RSAPrivateKey,
    write: Write,
    load: Load,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = write("a.pem", small_rsa_key).parent
    for number in range(5):
        (folder / f"z{number}").write_bytes(b"x")
    monkeypatch.setattr(limits, "MAXIMUM_FILES", 3)
    assert [problem.kind for problem in load(folder).problems] == [ProblemKind.LIMIT]


def test_a_path_that_does_not_exist_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no key file"):
        load_key_history(KeySpecification((tmp_path / "missing",)))


def test_certificates_alone_are_no_key_history(
    small_rsa_key: rsa.RSAPrivateKey, certify: Any, write: Write, load: Load
) -> None:
    with pytest.raises(UsageError, match="no private key"):
        load(write("a.pem", certify(small_rsa_key)))


def test_one_open_key_is_enough_beside_a_shut_one(
    small_rsa_key: rsa.RSAPrivateKey,
    rsa_key: rsa.RSAPrivateKey,
    encode: Encode,
    write: Write,
    load: Load,
) -> None:
    folder = write("a.pem", small_rsa_key).parent
    (folder / "shut.pem").write_bytes(encode(rsa_key, "secret", pem=True))
    history = load(folder, passphrase=None)
    assert [problem.kind for problem in history.problems] == [ProblemKind.PASSPHRASE]
    with pytest.raises(PassphraseError):
        load(folder / "shut.pem", passphrase=None)


def test_material_carries_the_history_to_a_worker(
    key_of: dict[str, PrivateKeyTypes],
    certify: Any,
    write: Write,
    load: Load,
    names: Names,
) -> None:
    certificate = certify(key_of["rsa"])
    path = write("a.pem", *key_of.values(), certificate)
    history = load(path)
    material = pickle.loads(pickle.dumps(history.material))
    path.unlink()
    copy = KeyHistory.from_material(material)
    assert copy.entries == history.entries
    encrypted = key_of["rsa"].public_key().encrypt(b"key", padding.PKCS1v15())  # type: ignore[union-attr]
    assert copy.find(names(certificate))[0].decrypt_rsa(encrypted, PKCS1v15()) == b"key"


def test_certificates_of_senders_are_found_by_name_and_travel_along(
    *, key_of: dict[str, PrivateKeyTypes], certify: Any, write: Write, load: Load, names: Names
) -> None:
    own = certify(key_of["rsa"], serial_number=1)
    sender = certify(key_of["ec"], serial_number=2, subject_key_identifier=b"sender")
    signer = certify(key_of["other"], serial_number=3)
    history = load(write("a.pem", key_of["rsa"], own, sender, signer))
    point = key_of["ec"].public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    for each in (history, KeyHistory.from_material(pickle.loads(pickle.dumps(history.material)))):
        assert each.find_public_keys(names(sender)) == (point,)
        assert each.find_public_keys(SubjectKeyIdentifier(b"sender")) == (point,)
        assert each.find_public_keys(names(signer)) == ()
        assert len(each.find_public_keys(names(own))) == 1
        assert each.find(names(sender)) == ()


def test_keys_without_certificate_are_tried_only_when_asked(
    small_rsa_key: rsa.RSAPrivateKey, write: Write
) -> None:
    path = write("a.pem", small_rsa_key)
    for try_keys in (False, True):
        history = load_key_history(KeySpecification((path,), try_keys=try_keys))
        assert len(history.unnamed_keys) == try_keys
        assert len(KeyHistory.from_material(history.material).unnamed_keys) == try_keys


def test_forty_keys_load_from_material_with_little_work(
    rsa_key: rsa.RSAPrivateKey, certify: Any, write: Write, load: Load
) -> None:
    material = load(write("a.pem", rsa_key, certify(rsa_key))).material
    forty = replace(material, keys=material.keys * 40)
    assert effort(lambda: KeyHistory.from_material(forty)) < 20  # 0.3 where it was measured


def test_no_secret_shows_in_a_repr(
    small_rsa_key: rsa.RSAPrivateKey, encode: Encode, write: Write, load: Load
) -> None:
    history = load(write("a.pem", small_rsa_key))
    shown = repr((history, history.material, history.material.keys, history.keys))
    assert repr(encode(small_rsa_key))[2:40] not in shown
    assert str(small_rsa_key.private_numbers().d) not in shown


def test_a_specification_pickles() -> None:
    specification = KeySpecification((Path("a"), Path("b")), Path("c"), Path("d"))
    assert pickle.loads(pickle.dumps(specification)) == specification


def test_a_history_serves_as_key_source(
    small_rsa_key: rsa.RSAPrivateKey, certify: Any, write: Write, load: Load, names: Names
) -> None:
    certificate = certify(small_rsa_key)
    source: KeySource = load(write("a.pem", small_rsa_key, certificate))
    operations: KeyOperations = source.find(names(certificate))[0]
    assert operations.label == "a.pem: CN=Alice"


def test_a_file_named_twice_is_reported_once(
    small_rsa_key: rsa.RSAPrivateKey, write: Write, load: Load
) -> None:
    key = write("a.pem", small_rsa_key)
    (key.parent / "empty.pfx").write_bytes(b"")
    assert len(load(key.parent, key.parent / "empty.pfx", key.parent).problems) == 1
