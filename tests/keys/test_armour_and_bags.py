"""What lies around keys and certificates: PEM as it travels, text encodings, bags of PKCS#7."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from sectool.asn1 import der
from sectool.errors import CertificateUnusable
from sectool.keys import ber, load_new_recipients
from sectool.keys.containers import looks_like_key_or_certificate
from sectool.keys.history import KeyHistory
from tests.keys.test_pkcs12 import indefinite

Load = Callable[..., KeyHistory]
Encode = Callable[..., bytes]
NOW = datetime(2025, 1, 1, tzinfo=UTC)


def armoured(label: str, content: bytes, line_end: bytes = b"\n") -> bytes:
    text = base64.encodebytes(content).replace(b"\n", line_end)
    begin, end = f"-----BEGIN {label}-----".encode(), f"-----END {label}-----".encode()
    return begin + line_end + text + end + line_end


@pytest.fixture
def pair(
    rsa_key: rsa.RSAPrivateKey, certify: Callable[..., x509.Certificate], encode: Encode
) -> bytes:
    """A key and its certificate in PEM."""
    return encode(rsa_key, pem=True) + certify(rsa_key).public_bytes(Encoding.PEM)


def utf_16(encoding: str, mark: bytes = b"") -> Callable[[bytes], bytes]:
    return lambda raw: mark + raw.decode("ascii").encode(encoding)


WRAPPINGS: dict[str, Callable[[bytes], bytes]] = {
    "UTF-16 with a mark": utf_16("utf-16"),
    "UTF-16, little-endian": utf_16("utf-16-le"),
    "UTF-16, big-endian": utf_16("utf-16-be"),
    "UTF-16, big-endian with a mark": utf_16("utf-16-be", b"\xfe\xff"),
    "UTF-16 with CRLF": lambda raw: raw.replace(b"\n", b"\r\n").decode().encode("utf-16"),
    "UTF-8 with a mark": lambda raw: b"\xef\xbb\xbf" + raw,
    "CR alone": lambda raw: raw.replace(b"\n", b"\r"),
    "escaped line ends": lambda raw: raw.replace(b"\n", rb"\n"),
    "escaped CRLF": lambda raw: b'["' + raw.replace(b"\n", rb"\r\n") + b'"]',
    "on one line": lambda raw: raw.replace(b"\n", b" "),
    "indented": lambda raw: raw.replace(b"\n", b"\n\t  "),
    "attributes of bags": lambda raw: b"Bag Attributes\n    localKeyID: 01\n" + raw + b"--\n",
    "a mark in the middle": lambda raw: raw.replace(b"-----\n-----", b"-----\n\xef\xbb\xbf-----"),
}


@pytest.mark.parametrize("wrap", WRAPPINGS.values(), ids=WRAPPINGS)
def test_a_key_and_its_certificate_are_read_whatever_lies_around(
    wrap: Callable[[bytes], bytes], pair: bytes, load: Load, tmp_path: Path
) -> None:
    path = tmp_path / "odd"
    path.write_bytes(wrap(pair))
    assert [entry.has_certificate for entry in load(path).entries] == [True]
    assert load(tmp_path).problems == ()
    assert looks_like_key_or_certificate(path)


def test_base64_in_utf_16_is_read(
    rsa_key: rsa.RSAPrivateKey, encode: Encode, load: Load, tmp_path: Path
) -> None:
    path = tmp_path / "odd"
    path.write_bytes(base64.encodebytes(encode(rsa_key)).decode().encode("utf-16"))
    assert len(load(path)) == 1


LABELS = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ANY PRIVATE KEY", "CERTIFICATE"]


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("shut", [False, True])
def test_what_a_block_is_called_does_not_matter(
    *, shut: bool, label: str, rsa_key: Any, encode: Encode, load: Load, tmp_path: Path
) -> None:
    path = tmp_path / "odd.pem"
    path.write_bytes(armoured(label, encode(rsa_key, "correct horse" if shut else None)))
    assert len(load(path)) == 1


def pkcs7(openssl: Any, tmp_path: Path, *certificates: x509.Certificate) -> bytes:
    chain, out = tmp_path / "chain.pem", tmp_path / "chain.p7b"
    chain.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in certificates))
    openssl("crl2pkcs7", "-nocrl", "-certfile", chain, "-outform", "DER", "-out", out)
    return out.read_bytes()


def by_authority(certify: Any, key: Any) -> x509.Certificate:
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    made = certify(key, serial_number=77, extensions=[constraints])
    assert isinstance(made, x509.Certificate)
    return made


BAGS: dict[str, Callable[[bytes], bytes]] = {
    "DER": lambda raw: raw,
    "bytes behind": lambda raw: raw + bytes(7),
    "BER": lambda raw: indefinite(ber.read(raw)),
    "base64": base64.encodebytes,
    "PKCS7": lambda raw: armoured("PKCS7", raw),
    "CMS": lambda raw: armoured("CMS", raw),
    "called a certificate": lambda raw: armoured("CERTIFICATE", raw, b"\r\n"),
    "UTF-16": lambda raw: armoured("PKCS7", raw).decode().encode("utf-16"),
}


@pytest.mark.parametrize("write", BAGS.values(), ids=BAGS)
def test_a_bag_gives_its_certificates(
    *,
    write: Callable[[bytes], bytes],
    rsa_key: rsa.RSAPrivateKey,
    other_rsa_key: rsa.RSAPrivateKey,
    certify: Any,
    encode: Encode,
    load: Load,
    openssl: Any,
    tmp_path: Path,
) -> None:
    own, authority = certify(rsa_key), by_authority(certify, other_rsa_key)
    folder = tmp_path / "history"
    folder.mkdir()
    bag = folder / "chain"
    bag.write_bytes(write(pkcs7(openssl, tmp_path, authority, own)))
    (folder / "a.key").write_bytes(encode(rsa_key))
    history = load(folder)
    assert [entry.has_certificate for entry in history.entries] == [True]
    assert history.problems == ()
    (recipient,) = load_new_recipients([bag], NOW)
    assert recipient.der == own.public_bytes(Encoding.DER)
    assert looks_like_key_or_certificate(bag)


def test_a_sequence_of_netscape_is_a_bag(
    *,
    rsa_key: rsa.RSAPrivateKey,
    certify: Any,
    encode: Encode,
    load: Load,
    openssl: Any,
    tmp_path: Path,
) -> None:
    certificate, sequence = tmp_path / "a.pem", tmp_path / "b.pem"
    certificate.write_bytes(certify(rsa_key).public_bytes(Encoding.PEM))
    openssl("nseq", "-toseq", "-in", certificate, "-out", sequence)
    (tmp_path / "a.key").write_bytes(encode(rsa_key))
    history = load(tmp_path / "a.key", sequence)
    assert [entry.has_certificate for entry in history.entries] == [True]


def test_a_bag_with_a_signature_gives_the_certificates_of_its_signers(
    *,
    rsa_key: rsa.RSAPrivateKey,
    certify: Any,
    encode: Encode,
    load: Load,
    openssl: Any,
    tmp_path: Path,
) -> None:
    key, certificate, out = tmp_path / "a.key", tmp_path / "a.pem", tmp_path / "smime.p7s"
    key.write_bytes(encode(rsa_key, pem=True))
    certificate.write_bytes(certify(rsa_key).public_bytes(Encoding.PEM))
    openssl(
        *("cms", "-sign", "-in", certificate, "-signer", certificate, "-inkey", key),
        *("-outform", "DER", "-out", out),
    )
    assert [entry.has_certificate for entry in load(key, out).entries] == [True]


def test_a_damaged_certificate_costs_a_bag_only_itself(
    *,
    rsa_key: rsa.RSAPrivateKey,
    certify: Any,
    encode: Encode,
    load: Load,
    openssl: Any,
    tmp_path: Path,
) -> None:
    own = certify(rsa_key)
    raw = pkcs7(openssl, tmp_path, own, certify(rsa_key, serial_number=5))
    fields = ber.read(own.public_bytes(Encoding.DER)).children()
    broken = bytes(fields[0].encoding)
    bag = tmp_path / "odd.p7b"
    place = raw.index(broken)
    bag.write_bytes(raw[: place + 4] + b"\x04" + raw[place + 5 :])
    (tmp_path / "a.key").write_bytes(encode(rsa_key))
    history = load(tmp_path / "a.key", bag)
    assert [entry.has_certificate for entry in history.entries] == [True]
    assert [problem.withholds_key for problem in history.problems] == [False]


@pytest.mark.parametrize(
    "raw",
    [
        der.sequence(bytes.fromhex("06092a864886f70d010702"), b"\xa0\2\x30\0"),
        der.sequence(bytes.fromhex("06092a864886f70d010703"), b"\xa0\2\x30\0"),
    ],
    ids=["an empty bag", "an envelope"],
)
def test_what_is_no_bag_of_certificates_is_not_encrypted_to(raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "odd.p7b"
    path.write_bytes(raw)
    with pytest.raises(CertificateUnusable):
        load_new_recipients([path], NOW)


def test_a_file_of_a_key_alone_is_not_encrypted_to(
    rsa_key: rsa.RSAPrivateKey, encode: Encode, tmp_path: Path
) -> None:
    for pem in (False, True):
        path = tmp_path / f"{pem}"
        path.write_bytes(encode(rsa_key, pem=pem))
        with pytest.raises(CertificateUnusable, match="no certificate"):
            load_new_recipients([path], NOW)
