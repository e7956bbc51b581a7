"""New recipients: one certificate for each file, and every check names itself."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    pkcs12,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sectool.errors import CertificateUnusable, UsageError
from sectool.keys import Check, read_acceptance
from sectool.keys.recipients import NewRecipient, load_new_recipients
from sectool.keys.specification import KeySpecification

PASSPHRASE = "correct horse"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
Write = Callable[..., Path]


def key_usage(**allowed: bool) -> x509.KeyUsage:
    usages = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{usage: allowed.get(usage, False) for usage in usages})


SIGNING = key_usage(digital_signature=True)
ENCIPHERING = key_usage(key_encipherment=True)
AGREEING = key_usage(key_agreement=True)
AUTHORITY = x509.BasicConstraints(ca=True, path_length=None)
EMAIL = ExtendedKeyUsageOID.EMAIL_PROTECTION
SERVER = ExtendedKeyUsageOID.SERVER_AUTH
ANY = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(*certificates: x509.Certificate, encoding: Encoding = Encoding.PEM) -> Path:
        path = tmp_path / "new.crt"
        path.write_bytes(b"".join(each.public_bytes(encoding) for each in certificates))
        return path

    return written


def load(path: Path, **options: Any) -> NewRecipient:
    (recipient,) = load_new_recipients([path], NOW, **options)
    return recipient


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_a_good_certificate_is_taken(
    encoding: Encoding, rsa_key: rsa.RSAPrivateKey, certify: Any, write: Write
) -> None:
    usages = [ENCIPHERING, x509.ExtendedKeyUsage([EMAIL])]
    certificate = certify(rsa_key, extensions=usages)
    recipient = load(write(certificate, encoding=encoding))
    assert recipient.certificate == certificate
    assert recipient.subject == "CN=Alice"
    assert recipient.not_after == certificate.not_valid_after_utc


@pytest.mark.parametrize("usage", [[ANY], [SERVER, EMAIL], [EMAIL]])
def test_a_certificate_for_mail_or_anything_is_taken(
    usage: list[x509.ObjectIdentifier], rsa_key: rsa.RSAPrivateKey, certify: Any, write: Write
) -> None:
    assert load(write(certify(rsa_key, extensions=[x509.ExtendedKeyUsage(usage)])))


FAULTS: dict[str, tuple[str, dict[str, Any]]] = {
    "has expired on 2021-01-01": ("rsa", {"not_after": datetime(2021, 1, 1, tzinfo=UTC)}),
    "not valid before 2030-01-01": ("rsa", {"not_before": datetime(2030, 1, 1, tzinfo=UTC)}),
    "keyEncipherment": ("rsa", {"extensions": [SIGNING]}),
    "emailProtection": ("rsa", {"extensions": [x509.ExtendedKeyUsage([SERVER])]}),
    "1024 bits": ("small", {}),
    "EC secp256k1": ("secp256k1", {}),
    "Ed25519": ("ed25519", {}),
    "X448": ("x448", {}),
}
NOT_OVERRIDDEN = {"1024 bits", "EC secp256k1", "Ed25519", "X448"}
KEY_USAGES = {
    "RSA": ("rsa", ENCIPHERING, "keyEncipherment"),
    "EC secp256r1": ("ec", AGREEING, "keyAgreement"),
    "EC secp384r1": ("secp384r1", AGREEING, "keyAgreement"),
    "EC secp521r1": ("secp521r1", AGREEING, "keyAgreement"),
    "X25519": ("x25519", AGREEING, "keyAgreement"),
    "ML-KEM-768": ("ml-kem-768", ENCIPHERING, "keyEncipherment"),
    "ML-KEM-1024": ("ml-kem-1024", ENCIPHERING, "keyEncipherment"),
}


@pytest.mark.parametrize(("name", "usage", "asked"), KEY_USAGES.values(), ids=KEY_USAGES)
def test_every_kind_of_key_asks_for_its_own_usage(
    name: str,
    usage: x509.KeyUsage,
    asked: str,
    key_of: dict[str, PrivateKeyTypes],
    certify: Any,
    write: Write,
) -> None:
    key = key_of[name]
    assert load(write(certify(key, extensions=[usage])))
    assert load(write(certify(key)))
    other = AGREEING if usage is ENCIPHERING else ENCIPHERING
    for lacking in (SIGNING, other):
        with pytest.raises(CertificateUnusable, match=f"lacks {asked}"):
            load(write(certify(key, extensions=[lacking])))


@pytest.mark.parametrize("fault", FAULTS)
def test_an_unusable_certificate_says_why(
    fault: str, key_of: dict[str, PrivateKeyTypes], certify: Any, write: Write
) -> None:
    name, options = FAULTS[fault]
    with pytest.raises(CertificateUnusable, match=fault) as caught:
        load(write(certify(key_of[name], **options)))
    assert caught.value.exit_code == 15
    assert caught.value.hint


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("upper", [False, True], ids=["plain", "upper case with colons"])
def test_an_accepted_fingerprint_overrides_dates_and_usages_only(
    fault: str, upper: bool, key_of: dict[str, PrivateKeyTypes], certify: Any, write: Write
) -> None:
    from cryptography.hazmat.primitives import hashes

    name, options = FAULTS[fault]
    certificate = certify(key_of[name], **options)
    digest = certificate.fingerprint(hashes.SHA256())
    fingerprint = digest.hex(":").upper() if upper else digest.hex()
    path = write(certificate)
    if fault in NOT_OVERRIDDEN:
        with pytest.raises(CertificateUnusable, match=fault):
            load(path, accept_fingerprints=frozenset({fingerprint}))
    else:
        assert load(path, accept_fingerprints=frozenset({fingerprint}))


def test_certificates_of_authorities_beside_it_are_passed_over(
    rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey, certify: Any, write: Write
) -> None:
    own = certify(rsa_key, serial_number=5)
    authority = certify(other_rsa_key, extensions=[AUTHORITY])
    assert load(write(authority, own, authority)).certificate == own


def test_a_lone_certificate_of_an_authority_is_refused_and_can_be_accepted(
    rsa_key: rsa.RSAPrivateKey, certify: Any, write: Write
) -> None:
    path = write(certify(rsa_key, extensions=[AUTHORITY]))
    with pytest.raises(
        CertificateUnusable, match=r"marked as a CA .CA:TRUE; `openssl req"
    ) as caught:
        load(path)
    fingerprint = caught.value.hint.split()[1]
    accepted = load(path, accept_fingerprints=frozenset({fingerprint}))
    assert accepted.overridden_checks == (Check.AUTHORITY,)


def test_a_fingerprint_alone_overrides_one_check_and_several_are_named(
    rsa_key: rsa.RSAPrivateKey, certify: Any, write: Write
) -> None:
    path = write(certify(rsa_key, extensions=[AUTHORITY, SIGNING]))
    with pytest.raises(CertificateUnusable, match=r"a CA .* and lacks keyEncipherment") as caught:
        load(path)
    named = frozenset(caught.value.hint.split()[1:4:2])
    fingerprint = min(named).partition(":")[0]
    assert named == {f"{fingerprint}:authority", f"{fingerprint}:key-usage"}
    for too_little in ({fingerprint}, {f"{fingerprint}:authority"}, {f"{fingerprint}:validity"}):
        with pytest.raises(CertificateUnusable):
            load(path, accept_fingerprints=frozenset(too_little))
    for enough in (named, {fingerprint, f"{fingerprint}:authority"}):
        checks = load(path, accept_fingerprints=frozenset(enough)).overridden_checks
        assert checks == (Check.AUTHORITY, Check.KEY_USAGE)


@pytest.mark.parametrize(
    ("text", "why"), [("ab" * 32 + ":cheap", "no check 'cheap'"), ("ab:cd", "no SHA-256 finger")]
)
def test_what_is_no_fingerprint_or_check_is_a_mistake_of_the_command(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        read_acceptance(text)


def test_two_certificates_in_one_file_are_named_and_refused(
    rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey, certify: Any, write: Write
) -> None:
    path = write(certify(rsa_key), certify(other_rsa_key))
    with pytest.raises(CertificateUnusable, match="2 certificates to choose from: CN=Alice"):
        load(path)


@pytest.mark.parametrize("passphrase", [PASSPHRASE, "wrong"])
def test_the_certificate_of_a_pkcs12_key_is_taken(
    passphrase: str,
    rsa_key: rsa.RSAPrivateKey,
    other_rsa_key: rsa.RSAPrivateKey,
    certify: Any,
    tmp_path: Path,
) -> None:
    own, other = certify(rsa_key, serial_number=5), certify(other_rsa_key)
    path, file = tmp_path / "new.p12", tmp_path / "passphrase"
    protection = BestAvailableEncryption(PASSPHRASE.encode())
    raw = pkcs12.serialize_key_and_certificates(None, rsa_key, own, [other], protection)
    path.write_bytes(raw)
    file.write_text(passphrase)
    sources = KeySpecification(passphrase_file=file)
    if passphrase == PASSPHRASE:
        assert load(path, passphrases=sources).certificate == own
    else:
        with pytest.raises(CertificateUnusable, match="passphrase"):
            load(path, passphrases=sources)


def test_a_certificate_beside_an_encrypted_key_needs_no_passphrase(
    rsa_key: rsa.RSAPrivateKey, certify: Any, encode: Callable[..., bytes], tmp_path: Path
) -> None:
    path = tmp_path / "both.pem"
    pem = certify(rsa_key).public_bytes(Encoding.PEM)
    path.write_bytes(encode(rsa_key, "secret", pem=True) + pem)

    def ask(name: str) -> str:
        raise AssertionError(name)

    assert load(path, ask=ask)


REFUSED = {
    "missing": None,
    "empty": b"",
    "text": b"Dear Bob,\n",
    "a key": b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    "damaged": b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
}


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED)
def test_a_file_without_certificate_is_refused(raw: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "new.crt"
    if raw is not None:
        path.write_bytes(raw)
    with pytest.raises(CertificateUnusable):
        load(path)


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CertificateUnusable, match="directory"):
        load(tmp_path)


def test_a_certificate_given_twice_is_one_recipient(
    rsa_key: rsa.RSAPrivateKey, certify: Any, write: Write
) -> None:
    path = write(certify(rsa_key))
    assert len(load_new_recipients([path, path], NOW)) == 1


def test_every_form_of_address_is_read(
    rsa_key: rsa.RSAPrivateKey, certify: Any, write: Write
) -> None:
    mailbox = "ü@example.org".encode()
    names = [
        x509.RFC822Name("alice@example.org"),
        x509.OtherName(
            x509.ObjectIdentifier("1.3.6.1.5.5.7.8.9"), bytes([0x0C, len(mailbox)]) + mailbox
        ),
        x509.DNSName("example.org"),
    ]
    subject = x509.Name([x509.NameAttribute(NameOID.EMAIL_ADDRESS, "old@example.org")])
    extension = x509.SubjectAlternativeName(names)
    recipient = load(write(certify(rsa_key, subject=subject, extensions=[extension])))
    assert recipient.addresses == ("alice@example.org", "ü@example.org", "old@example.org")


def test_a_recipient_travels_to_workers(
    rsa_key: rsa.RSAPrivateKey, certify: Any, write: Write
) -> None:
    recipient = load(write(certify(rsa_key)))
    assert recipient.certificate
    copy = pickle.loads(pickle.dumps(recipient))
    assert copy == recipient
    assert copy.certificate == recipient.certificate


def test_a_certificate_with_any_octet_changed_gives_only_our_error(
    rsa_key: rsa.RSAPrivateKey, certify: Any, tmp_path: Path
) -> None:
    path = tmp_path / "new.der"
    extensions = [ENCIPHERING, x509.SubjectAlternativeName([x509.RFC822Name("a@example.org")])]
    good = certify(rsa_key, extensions=extensions).public_bytes(Encoding.DER)
    for position in range(len(good)):
        raw = bytearray(good)
        raw[position] ^= 0x55
        path.write_bytes(raw)
        try:
            load(path)
        except CertificateUnusable:
            continue


def test_an_accepted_fingerprint_says_nothing_of_another_certificate(
    rsa_key: rsa.RSAPrivateKey, certify: Any, write: Write
) -> None:
    path = write(certify(rsa_key, extensions=[SIGNING]))
    with pytest.raises(CertificateUnusable, match="keyEncipherment"):
        load(path, accept_fingerprints=frozenset({"00" * 32}))
