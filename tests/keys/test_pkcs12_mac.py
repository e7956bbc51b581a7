"""PKCS#12 whose MAC says nothing for it: told from a wrong passphrase, read when a person asks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat, pkcs12

from sectool.asn1 import der, tags
from sectool.errors import CertificateUnusable, PassphraseError, UsageError
from sectool.keys import ber, load_new_recipients
from sectool.keys.history import KeyHistory
from sectool.keys.loading import load_key_history
from sectool.keys.problems import ProblemKind
from sectool.keys.specification import KeySpecification

PASSPHRASE = "correct horse"
SHA3_256 = bytes.fromhex("0609608648016503040208")
RIPEMD160 = bytes.fromhex("06052b24030201")
PBMAC1 = bytes.fromhex("06092a864886f70d01050e")

Load = Callable[..., KeyHistory]


@pytest.fixture
def whole(rsa_key: Any, certify: Any) -> bytes:
    """An encrypted PKCS#12 file with a MAC that fits."""
    encryption = (
        PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(2)
        .key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC)
        .build(PASSPHRASE.encode())
    )
    return pkcs12.serialize_key_and_certificates(
        b"alice", rsa_key, certify(rsa_key), None, encryption
    )


def with_mac(raw: bytes, change: Callable[[list[bytes]], list[bytes]]) -> bytes:
    """The same file with another MacData: algorithm and digest, salt, iterations."""
    version, content, mac = ber.read(raw).children()
    parts = change([bytes(part.encoding) for part in mac.children()])
    return der.sequence(bytes(version.encoding), bytes(content.encoding), der.sequence(*parts))


def another_salt(parts: list[bytes]) -> list[bytes]:
    return [parts[0], der.element(tags.OCTET_STRING, b"other"), *parts[2:]]


def algorithm(encoded: bytes, *parameters: bytes) -> Callable[[list[bytes]], list[bytes]]:
    def change(parts: list[bytes]) -> list[bytes]:
        digest = bytes(ber.read(parts[0]).children()[1].encoding)
        info = der.sequence(der.sequence(encoded, *parameters), digest)
        return [info, *parts[1:]]

    return change


MACS: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "wrong": (another_salt, "does not verify, though its keys open"),
    "unknown hash": (algorithm(RIPEMD160, b"\5\0"), "cannot be checked: the MAC algorithm"),
    "PBMAC1 without parameters": (algorithm(PBMAC1), "cannot be checked: the parameters"),
    "PBMAC1 with odd parameters": (
        algorithm(PBMAC1, der.sequence(der.sequence(), der.sequence())),
        "cannot be checked: a key derivation",
    ),
    "too many iterations": (
        lambda parts: [*parts[:2], der.integer(10**9)],
        "cannot be checked: a key derivation of 1e+09 iterations",
    ),
    "no value": (lambda parts: parts[:1], "cannot be checked: the MAC"),
}


@pytest.mark.parametrize(("change", "reason"), MACS.values(), ids=MACS)
def test_a_mac_that_says_nothing_is_told_with_the_option(
    *,
    change: Callable[[list[bytes]], list[bytes]],
    reason: str,
    whole: bytes,
    load: Load,
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.p12"
    path.write_bytes(with_mac(whole, change))
    with pytest.raises(UsageError) as caught:
        load(path)
    assert reason in caught.value.message
    assert "--no-mac-check" in caught.value.hint


def unchecked(path: Path, passphrase: str) -> KeyHistory:
    table = path.with_suffix(".csv")
    table.touch(mode=0o600)
    table.write_text(f"{path.name},{passphrase}\n", encoding="utf-8")
    return load_key_history(KeySpecification((path,), passphrases=table, checks_mac=False))


@pytest.mark.parametrize(("change", "reason"), MACS.values(), ids=MACS)
def test_such_a_file_is_read_with_a_warning_where_a_person_asks(
    *, change: Callable[[list[bytes]], list[bytes]], reason: str, whole: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "a.p12"
    path.write_bytes(with_mac(whole, change))
    history = unchecked(path, PASSPHRASE)
    assert [entry.has_certificate for entry in history.entries] == [True]
    (problem,) = history.problems
    assert reason in problem.reason
    assert problem.kind is ProblemKind.UNCHECKED
    assert not problem.withholds_key


@pytest.mark.parametrize(("change", "reason"), MACS.values(), ids=MACS)
@pytest.mark.parametrize("checks_mac", [True, False])
def test_a_wrong_passphrase_is_told_as_such_whatever_the_mac(
    *,
    checks_mac: bool,
    change: Callable[[list[bytes]], list[bytes]],
    reason: str,
    whole: bytes,
    tmp_path: Path,
) -> None:
    path, file = tmp_path / "a.p12", tmp_path / "wrong"
    path.write_bytes(with_mac(whole, change))
    file.touch(mode=0o600)
    file.write_text("wrong\n", encoding="utf-8")
    with pytest.raises(PassphraseError) as caught:
        load_key_history(KeySpecification((path,), file, checks_mac=checks_mac))
    assert reason not in caught.value.message


def test_nothing_is_said_of_a_mac_that_fits(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.p12"
    path.write_bytes(whole)
    assert unchecked(path, PASSPHRASE).problems == ()


def test_a_mac_by_sha_3_is_checked(whole: bytes, load: Load, tmp_path: Path) -> None:
    """Its hash is known, so that it is the digest that does not fit."""
    path = tmp_path / "a.p12"
    path.write_bytes(with_mac(whole, algorithm(SHA3_256, b"\5\0")))
    with pytest.raises(UsageError, match="does not verify"):
        load(path)


def test_a_certificate_in_such_a_file_is_encrypted_to_only_where_a_person_asks(
    whole: bytes, tmp_path: Path
) -> None:
    path, file = tmp_path / "a.p12", tmp_path / "passphrase"
    path.write_bytes(with_mac(whole, another_salt))
    file.write_text(PASSPHRASE, encoding="utf-8")
    now, sources = datetime(2025, 1, 1, tzinfo=UTC), KeySpecification((), file)
    with pytest.raises(CertificateUnusable, match="does not verify"):
        load_new_recipients([path], now, passphrases=sources)
    sources = KeySpecification((), file, checks_mac=False)
    (recipient,) = load_new_recipients([path], now, passphrases=sources)
    assert recipient.overridden == ("lies in a PKCS#12 file whose MAC does not verify",)


def test_a_key_that_is_linked_with_the_certificate_of_another_is_refused(
    *, rsa_key: Any, small_rsa_key: Any, certify: Any, openssl: Any, encode: Any, tmp_path: Path
) -> None:
    """The program that wrote them says that they belong together."""
    files = []
    for name, key in (("one", rsa_key), ("two", small_rsa_key)):
        pem, out = tmp_path / f"{name}.pem", tmp_path / f"{name}.p12"
        pem.write_bytes(encode(key, pem=True) + certify(key).public_bytes(Encoding.PEM))
        openssl(
            *("pkcs12", "-export", "-in", pem, "-out", out, "-passout", "pass:x"),
            *("-keypbe", "NONE", "-certpbe", "NONE", "-nomac"),
        )
        files.append(out.read_bytes())
    certificates, _ = _safes(files[0])
    _, keys = _safes(files[1])
    mixed = tmp_path / "mixed.p12"
    content = der.sequence(certificates, _relinked(keys, certificates))
    data = bytes.fromhex("06092a864886f70d010701")
    octets = der.element(0xA0, der.element(tags.OCTET_STRING, content))
    mixed.write_bytes(der.sequence(b"\2\1\3", der.sequence(data, octets)))
    with pytest.raises(UsageError, match="not that of its certificate"):
        load_key_history(KeySpecification((mixed,)))


def _safes(raw: bytes) -> tuple[bytes, bytes]:
    """Those of the certificates and of the keys, as OpenSSL orders them."""
    content = ber.read(raw).children()[1].children()[1].only_child().octets()
    first, second = ber.read(content).children()
    return bytes(first.encoding), bytes(second.encoding)


def _relinked(keys: bytes, certificates: bytes) -> bytes:
    """The keys with the local key identifier of the certificates."""
    marker = bytes.fromhex("06092a864886f70d010915")
    own, other = (raw[raw.index(marker) :][:37] for raw in (keys, certificates))
    return keys.replace(own, other)
