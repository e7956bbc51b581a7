"""PKCS#12: every key of a file, whatever program shut it, whatever its passphrase."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    pkcs12,
)

from sectool import budget
from sectool.asn1 import der, tags
from sectool.asn1.tree import Node
from sectool.cms.seams import IssuerAndSerialNumber
from sectool.errors import PassphraseError, UsageError
from sectool.keys import ber, limits
from sectool.keys.history import KeyHistory
from sectool.keys.problems import ProblemKind

PASSPHRASE = "correct horse"
Load = Callable[..., KeyHistory]
Encode = Callable[..., bytes]
Names = Callable[[x509.Certificate], IssuerAndSerialNumber]

_DATA = bytes.fromhex("06092a864886f70d010701")
_KEY_BAG = bytes.fromhex("060b2a864886f70d010c0a0101")
_SHROUDED_KEY_BAG = bytes.fromhex("060b2a864886f70d010c0a0102")
_CERTIFICATE_BAG = bytes.fromhex("060b2a864886f70d010c0a0103")
_SAFE_CONTENTS_BAG = bytes.fromhex("060b2a864886f70d010c0a0106")
_X509 = bytes.fromhex("060a2a864886f70d01091601")


def octets(content: bytes) -> bytes:
    return der.element(0x04, content)


def explicit(content: bytes) -> bytes:
    return der.element(0xA0, content)


def bag(kind: bytes, value: bytes) -> bytes:
    return der.sequence(kind, explicit(value))


def certificate_bag(certificate: x509.Certificate) -> bytes:
    encoded = explicit(octets(certificate.public_bytes(Encoding.DER)))
    return bag(_CERTIFICATE_BAG, der.sequence(_X509, encoded))


def pfx(*bags: bytes) -> bytes:
    """A PKCS#12 without MAC whose bags lie open."""
    safe = der.sequence(_DATA, explicit(octets(der.sequence(*bags))))
    content = der.sequence(_DATA, explicit(octets(der.sequence(safe))))
    return der.sequence(b"\2\1\3", content)


def indefinite(node: Node) -> bytes:
    """The same value with indefinite lengths and octet strings in pieces of 100 bytes."""
    if node.constructed:
        inner = b"".join(map(indefinite, node.children()))
        return bytes([node.tag | 0x20, 0x80]) + inner + b"\0\0"
    content = bytes(node.content)
    if node.tag != tags.OCTET_STRING:
        return bytes(node.encoding)
    pieces = [octets(content[i : i + 100]) for i in range(0, len(content), 100)]
    return b"\x24\x80" + b"".join(pieces) + b"\0\0"


@pytest.fixture
def pair(rsa_key: PrivateKeyTypes, certify: Any, encode: Encode, tmp_path: Path) -> dict[str, Path]:
    """A key and its certificate as PEM files, for the openssl command."""
    certificate = certify(rsa_key)
    (tmp_path / "in.key").write_bytes(encode(rsa_key, pem=True))
    (tmp_path / "in.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
    return {"key": tmp_path / "in.key", "certificate": tmp_path / "in.crt"}


VARIANTS = {
    "defaults of OpenSSL 3": [],
    "legacy: RC2-40 and 3DES": ["-legacy"],
    "3DES throughout": ["-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "sha1"],
    "two-key 3DES": ["-keypbe", "PBE-SHA1-2DES", "-certpbe", "PBE-SHA1-2DES"],
    "RC2-128": ["-legacy", "-keypbe", "PBE-SHA1-RC2-128", "-certpbe", "PBE-SHA1-RC2-128"],
    "RC2-40 also for keys": ["-legacy", "-keypbe", "PBE-SHA1-RC2-40"],
    "RC4-128": ["-legacy", "-keypbe", "PBE-SHA1-RC4-128", "-certpbe", "PBE-SHA1-RC4-128"],
    "AES-128": ["-keypbe", "AES-128-CBC", "-certpbe", "AES-128-CBC"],
    "Camellia": ["-keypbe", "CAMELLIA-256-CBC", "-certpbe", "CAMELLIA-256-CBC"],
    "PBES2 with 3DES": ["-keypbe", "DES-EDE3-CBC", "-certpbe", "DES-EDE3-CBC"],
    "certificates in clear": ["-certpbe", "NONE"],
    "keys in clear": ["-keypbe", "NONE"],
    "without MAC": ["-nomac"],
    "SHA-512 MAC": ["-macalg", "sha512"],
    "SHA-384 MAC": ["-macalg", "sha384"],
    "100,000 iterations": ["-iter", "100000"],
}


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_a_file_of_openssl_opens(
    options: list[str], pair: dict[str, Path], openssl: Any, load: Load, tmp_path: Path
) -> None:
    """B84."""
    path = tmp_path / "out.p12"
    arguments = ["-inkey", pair["key"], "-in", pair["certificate"], "-out", path]
    openssl("pkcs12", "-export", *arguments, "-passout", f"pass:{PASSPHRASE}", *options)
    history = load(path)
    assert [(e.algorithm, e.subject) for e in history.entries] == [("RSA 2048", "CN=Alice")]
    assert history.problems == ()


@pytest.mark.parametrize("passphrase", ["Grüße", "пароль", "😀", "a" * 300, ""])
@pytest.mark.parametrize("options", [[], ["-legacy"]], ids=["PBES2", "PBES1"])
def test_a_passphrase_of_any_letters_opens(
    *,
    passphrase: str,
    options: list[str],
    pair: dict[str, Path],
    openssl: Any,
    load: Load,
    tmp_path: Path,
) -> None:
    """B84."""
    path, passphrase_file = tmp_path / "out.p12", tmp_path / "openssl.passphrase"
    passphrase_file.write_text(passphrase + "\n", encoding="utf-8")
    arguments = ["-inkey", pair["key"], "-in", pair["certificate"], "-out", path]
    openssl("pkcs12", "-export", *arguments, "-passout", f"file:{passphrase_file}", *options)
    assert len(load(path, passphrase=passphrase).entries) == 1


def test_every_key_of_a_java_key_store_is_found(
    *,
    key_of: dict[str, PrivateKeyTypes],
    certify: Any,
    keytool: Any,
    load: Load,
    names: Names,
    tmp_path: Path,
) -> None:
    store, certificates = tmp_path / "history.p12", []
    for number, key in enumerate([key_of["rsa"], key_of["small"], key_of["ec"]], 1):
        single = tmp_path / f"{number}.single"
        certificates.append(certify(key, serial_number=number))
        protection = BestAvailableEncryption(PASSPHRASE.encode())
        single.write_bytes(
            pkcs12.serialize_key_and_certificates(
                f"k{number}".encode(),
                key,  # type: ignore[arg-type]
                certificates[-1],
                None,
                protection,
            )
        )
        source = ["-srckeystore", single, "-srcstoretype", "PKCS12", "-srcstorepass", PASSPHRASE]
        target = ["-destkeystore", store, "-deststoretype", "PKCS12", "-deststorepass", PASSPHRASE]
        keytool("-importkeystore", "-noprompt", *source, *target)
    history = load(store)
    assert [len(history.find(names(each))) for each in certificates] == [1, 1, 1]
    assert {e.algorithm for e in history.entries} == {"RSA 2048", "RSA 1024", "EC secp256r1"}


@pytest.fixture
def many(
    key_of: dict[str, PrivateKeyTypes], certify: Any, encode: Encode
) -> tuple[bytes, list[x509.Certificate]]:
    """A PFX with a shrouded key, an open key and a key in a nested bag, and their certificates."""
    certificates = [
        certify(key_of[name], serial_number=number)
        for number, name in enumerate(["rsa", "other", "small"], 1)
    ]
    nested = bag(_KEY_BAG, encode(key_of["small"]))
    raw = pfx(
        *map(certificate_bag, reversed(certificates)),
        bag(_SHROUDED_KEY_BAG, encode(key_of["rsa"], PASSPHRASE)),
        bag(_KEY_BAG, encode(key_of["other"])),
        bag(_SAFE_CONTENTS_BAG, der.sequence(nested)),
    )
    return raw, certificates


def test_every_key_of_one_file_goes_with_its_own_certificate(
    many: tuple[bytes, list[x509.Certificate]],
    key_of: dict[str, PrivateKeyTypes],
    load: Load,
    names: Names,
    tmp_path: Path,
) -> None:
    path = tmp_path / "many.p12"
    path.write_bytes(many[0])
    history = load(path)
    found = [history.find(names(each))[0].private_key for each in many[1]]  # type: ignore[attr-defined]
    numbers = [key.private_numbers() for key in found]
    assert numbers == [key_of[n].private_numbers() for n in ("rsa", "other", "small")]  # type: ignore[union-attr]


def test_indefinite_lengths_and_strings_in_pieces_are_read(
    many: tuple[bytes, list[x509.Certificate]], load: Load, tmp_path: Path
) -> None:
    path = tmp_path / "ber.p12"
    path.write_bytes(indefinite(ber.read(many[0])))
    assert len(load(path)) == 3


def test_a_key_with_a_passphrase_of_its_own_costs_only_itself(
    key_of: dict[str, PrivateKeyTypes], encode: Encode, load: Load, tmp_path: Path
) -> None:
    path = tmp_path / "two.p12"
    path.write_bytes(
        pfx(
            bag(_SHROUDED_KEY_BAG, encode(key_of["rsa"], PASSPHRASE)),
            bag(_SHROUDED_KEY_BAG, encode(key_of["other"], "another")),
        )
    )
    history = load(path)
    assert len(history) == 1
    assert [problem.kind for problem in history.problems] == [ProblemKind.PASSPHRASE]


def test_a_pkcs12_without_certificate_still_gives_its_key(
    rsa_key: PrivateKeyTypes, load: Load, tmp_path: Path
) -> None:
    path = tmp_path / "bare.p12"
    raw = pkcs12.serialize_key_and_certificates(None, rsa_key, None, None, NoEncryption())  # type: ignore[arg-type]
    path.write_bytes(raw)
    assert len(load(path, passphrase=None).keys_without_certificate) == 1


@pytest.mark.parametrize("passphrase", ["wrong", "", None])
def test_a_wrong_or_missing_passphrase_is_its_own_exit_code(
    passphrase: str | None, pair: dict[str, Path], openssl: Any, load: Load, tmp_path: Path
) -> None:
    """B84."""
    path = tmp_path / "out.p12"
    arguments = ["-inkey", pair["key"], "-in", pair["certificate"], "-out", path]
    openssl("pkcs12", "-export", *arguments, "-passout", f"pass:{PASSPHRASE}")
    with pytest.raises(PassphraseError) as caught:
        load(path, passphrase=passphrase)
    assert caught.value.exit_code == 12
    assert "--passphrase-file" in caught.value.hint
    assert "needs a passphrase" in caught.value.message or passphrase == "wrong"


def with_iterations(raw: bytes, iterations: int) -> bytes:
    """The PKCS#12 with another number of rounds in its MAC, which ends the file."""
    pfx_node = ber.read(raw)
    version, content, mac = pfx_node.children()
    digest, salt, _ = mac.children()
    size = iterations.bit_length() // 8 + 1
    rounds = der.element(tags.INTEGER, iterations.to_bytes(size, "big"))
    changed = der.sequence(bytes(digest.encoding), bytes(salt.encoding), rounds)
    return der.sequence(bytes(version.encoding), bytes(content.encoding), changed)


@pytest.mark.parametrize("iterations", [limits.MAXIMUM_ITERATIONS + 1, 2**31, 2**70])
def test_huge_iterations_are_refused_at_once(
    iterations: int, pair: dict[str, Path], openssl: Any, load: Load, tmp_path: Path
) -> None:
    """B43, B84."""
    path = tmp_path / "out.p12"
    arguments = ["-inkey", pair["key"], "-in", pair["certificate"], "-out", path]
    openssl("pkcs12", "-export", *arguments, "-passout", f"pass:{PASSPHRASE}")
    path.write_bytes(with_iterations(path.read_bytes(), iterations))
    with pytest.raises(UsageError, match="iterations"):
        load(path)


def test_a_file_damaged_anywhere_gives_only_our_errors(
    many: tuple[bytes, list[x509.Certificate]], load: Load, tmp_path: Path
) -> None:
    path = tmp_path / "damaged.p12"
    for position in range(0, len(many[0]), 97):
        raw = bytearray(many[0])
        raw[position] ^= 0x41
        path.write_bytes(raw)
        try:
            load(path, passphrase=None)
        except (UsageError, PassphraseError):
            continue


def test_a_file_cut_short_anywhere_gives_only_our_errors(
    many: tuple[bytes, list[x509.Certificate]], load: Load, tmp_path: Path
) -> None:
    path = tmp_path / "cut.p12"
    for size in range(0, len(many[0]), 131):
        path.write_bytes(many[0][:size])
        with pytest.raises(UsageError):
            load(path, passphrase=None)


def test_nesting_without_end_is_refused(load: Load, tmp_path: Path) -> None:
    path = tmp_path / "deep.p12"
    path.write_bytes(b"\x30\x80\x02\x01\x03" + b"\x30\x80" * 100_000)
    with pytest.raises(UsageError, match="nested"):
        load(path)


def with_pbmac1(raw: bytes, key_bytes: int) -> bytes:
    """The PKCS#12 with a MAC of RFC 9579: PBKDF2 and HMAC, both with SHA-256."""
    version, content = ber.read(raw).children()
    covered = content.children()[1].only_child().octets()
    hmac_sha256 = der.sequence(bytes.fromhex("06082a864886f70d0209"), b"\5\0")
    size = b"" if not key_bytes else der.element(tags.INTEGER, bytes([key_bytes]))
    parameters = der.sequence(octets(b"saltsalt"), b"\2\2\x08\0", size, hmac_sha256)
    pbkdf2 = der.sequence(bytes.fromhex("06092a864886f70d01050c"), parameters)
    pbmac1 = der.sequence(
        bytes.fromhex("06092a864886f70d01050e"), der.sequence(pbkdf2, hmac_sha256)
    )
    key = hashlib.pbkdf2_hmac("sha256", PASSPHRASE.encode(), b"saltsalt", 2048, key_bytes or 32)
    digest = der.sequence(pbmac1, octets(hmac.digest(key, covered, "sha256")))
    mac = der.sequence(digest, octets(b"unused"), b"\2\1\1")
    return der.sequence(bytes(version.encoding), bytes(content.encoding), mac)


@pytest.mark.parametrize("passphrase", [PASSPHRASE, "wrong"])
def test_a_pbmac1_is_checked(
    passphrase: str, many: tuple[bytes, list[x509.Certificate]], load: Load, tmp_path: Path
) -> None:
    path = tmp_path / "pbmac1.p12"
    path.write_bytes(with_pbmac1(many[0], 32))
    if passphrase == PASSPHRASE:
        assert len(load(path)) == 3
    else:
        with pytest.raises(PassphraseError):
            load(path, passphrase=passphrase)


@pytest.mark.parametrize("key_bytes", [0, 1, 19])
def test_a_pbmac1_with_an_unsafe_key_size_is_refused(
    key_bytes: int, many: tuple[bytes, list[x509.Certificate]], load: Load, tmp_path: Path
) -> None:
    """B84."""
    path = tmp_path / "pbmac1.p12"
    path.write_bytes(with_pbmac1(many[0], key_bytes))
    with pytest.raises(UsageError, match="PBMAC1"):
        load(path)


def test_all_derivations_of_one_file_together_are_bounded(
    small_rsa_key: PrivateKeyTypes,
    encode: Encode,
    load: Load,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    path = tmp_path / "many.p12"
    shrouded = bag(_SHROUDED_KEY_BAG, encode(small_rsa_key, PASSPHRASE))
    path.write_bytes(pfx(*[shrouded] * 10))
    monkeypatch.setattr(budget, "KEY_FILE", {**budget.KEY_FILE, budget.Work.DERIVATION: 5_000})
    with pytest.raises(UsageError, match="limit of 5,000 key-derivation rounds; --limit-factor 10"):
        load(path)
    with budget.limits_times(10):
        assert not load(path).problems


_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
_ENCRYPTED_DATA = bytes.fromhex("06092a864886f70d010706")
_ENVELOPED_DATA = bytes.fromhex("06092a864886f70d010703")
_REVOCATION_LIST_BAG = bytes.fromhex("060b2a864886f70d010c0a0104")
_SECRET_BAG = bytes.fromhex("060b2a864886f70d010c0a0105")
_SDSI = bytes.fromhex("060a2a864886f70d01091602")
NOTHING = der.sequence()


def pfx_of(safe: bytes, *, kind: bytes = _DATA) -> bytes:
    """A PKCS#12 without MAC that holds one ContentInfo, under a content type of its own."""
    content = der.sequence(kind, explicit(octets(der.sequence(safe))))
    return der.sequence(b"\2\1\3", content)


def nested_bags(depth: int, inner: bytes) -> bytes:
    for _ in range(depth):
        inner = bag(_SAFE_CONTENTS_BAG, der.sequence(inner))
    return inner


UNREADABLE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "protected by a public key": (
        lambda key: pfx_of(NOTHING, kind=_SIGNED_DATA),
        "protected by a public key",
    ),
    "a part protected by a public key": (
        lambda key: pfx_of(der.sequence(_ENVELOPED_DATA, explicit(NOTHING))),
        "protected by a public key",
    ),
    "an encrypted part without anything": (
        lambda key: pfx_of(der.sequence(_ENCRYPTED_DATA, explicit(NOTHING))),
        "an encrypted part of the PKCS#12 file is empty",
    ),
    "a part without content": (
        lambda key: pfx_of(der.sequence(_DATA)),
        "a part of the PKCS#12 file is empty",
    ),
    "a bag without content": (
        lambda key: pfx(der.sequence(_KEY_BAG)),
        "a bag of the PKCS#12 file is empty",
    ),
    "a certificate bag without content": (
        lambda key: pfx(bag(_CERTIFICATE_BAG, NOTHING)),
        "a certificate bag of the PKCS#12 file is empty",
    ),
    "bags in bags in bags": (
        lambda key: pfx(nested_bags(limits.MAXIMUM_NESTED_BAGS + 1, bag(_KEY_BAG, key))),
        "nested too deep",
    ),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_told_and_costs_only_itself(
    name: str, rsa_key: PrivateKeyTypes, encode: Encode, load: Load, tmp_path: Path
) -> None:
    """B84."""
    make, reason = UNREADABLE[name]
    (tmp_path / "bad.p12").write_bytes(make(encode(rsa_key)))
    (tmp_path / "good.p12").write_bytes(pfx(bag(_KEY_BAG, encode(rsa_key))))
    history = load(tmp_path / "bad.p12", tmp_path / "good.p12")
    assert len(history.keys_without_certificate) == 1
    (problem,) = history.problems
    assert reason in problem.reason


PASSED_OVER = {
    "a revocation list": bag(_REVOCATION_LIST_BAG, NOTHING),
    "a secret": bag(_SECRET_BAG, NOTHING),
    "a certificate of SDSI": bag(_CERTIFICATE_BAG, der.sequence(_SDSI, explicit(octets(b"x")))),
}


@pytest.mark.parametrize("name", PASSED_OVER)
def test_what_is_no_part_of_a_key_history_is_passed_over(
    name: str, rsa_key: PrivateKeyTypes, encode: Encode, load: Load, tmp_path: Path
) -> None:
    path = tmp_path / "more.p12"
    deep = nested_bags(limits.MAXIMUM_NESTED_BAGS, bag(_KEY_BAG, encode(rsa_key)))
    path.write_bytes(pfx(PASSED_OVER[name], deep))
    history = load(path)
    assert (len(history.keys_without_certificate), history.problems) == (1, ())
