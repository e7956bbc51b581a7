"""Messages this project did not make (see ../shared/corpus/README.md)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key

from sectool import cms
from sectool.errors import MissingKey, UnsupportedMessage
from sectool.keys.private_keys import SoftwareKey, load_private_key
from sectool.message import BytesContent

if TYPE_CHECKING:
    from tests.cms.conftest import KeyRing, Person

Ring = Callable[..., "KeyRing"]
OpenBytes = Callable[..., tuple[cms.Authenticated | cms.Unproven, bytes]]


@pytest.fixture
def lamps_bob(corpus: Path, bob: Person) -> Person:
    folder = corpus / "rfc9216-cms"
    key = load_pem_private_key((folder / "lamps-bob.decrypt.p8.pem").read_bytes(), None)
    certificate = (folder / "lamps-bob.encrypt.crt").read_bytes()
    assert isinstance(key, RSAPrivateKey)
    return type(bob)("lamps-bob", key, x509.load_pem_x509_certificate(certificate))


def describe(path: Path) -> cms.EnvelopeDescription:
    return cms.describe_envelope(BytesContent(path.read_bytes()))


@pytest.mark.parametrize("example", ["5.1", "5.2"])
def test_rfc_4134_opens(
    example: str, corpus: Path, bob: Person, ring: Ring, open_bytes: OpenBytes
) -> None:
    folder = corpus / "rfc4134"
    key = load_der_private_key((folder / "BobPrivRSAEncrypt.pri").read_bytes(), None)
    assert isinstance(key, RSAPrivateKey)
    raw = (folder / f"{example}.bin").read_bytes()
    recipients = cms.describe_envelope(BytesContent(raw)).recipients
    rfc_bob = type(bob)("rfc4134-bob", key, bob.certificate)
    identifiers = [recipient.identifier for recipient in recipients if recipient.identifier]
    keys = ring().add(identifiers[0], rfc_bob)
    result, content = open_bytes(raw, keys)
    assert content == (folder / "ExContent.bin").read_bytes()
    assert result.content_encryption_algorithm == {"5.1": "des-ede3-cbc", "5.2": "rc2-cbc"}[example]


def test_oaep_sha256_of_rfc_9216_opens_authenticated(
    corpus: Path, lamps_bob: Person, ring: Ring, open_bytes: OpenBytes
) -> None:
    for name in ("encryptedForBobRSAOaep.p7m", "encryptedForBobAndDana.p7m"):
        raw = (corpus / "rfc9216-cms" / name).read_bytes()
        result, content = open_bytes(raw, ring(lamps_bob))
        assert type(result) is cms.Authenticated
        assert content.startswith(b"This is some sample content")


def test_chacha20_poly1305_of_rfc_9216_opens_authenticated(
    corpus: Path, lamps_bob: Person, ring: Ring, open_bytes: OpenBytes
) -> None:
    path = corpus / "rfc9216-cms" / "authEnvelopedForBobChaCha20Poly1305.p7m"
    description = describe(path)
    assert description.content_type == cms.AUTH_ENVELOPED_DATA
    assert description.content_encryption_algorithm == "chacha20-poly1305"
    assert description.recipients[0].key_encryption_algorithm == "rsa-oaep"
    result, content = open_bytes(path.read_bytes(), ring(lamps_bob))
    assert (type(result), result.aead) == (cms.Authenticated, True)
    assert content.startswith(b"This is some sample content")


def test_x25519_key_agreement_of_rfc_9216_opens_authenticated(
    corpus: Path, bob: Person, ring: Ring, open_bytes: OpenBytes
) -> None:
    folder = corpus / "rfc9216-cms"
    path = folder / "authEnvelopedForDanaX25519HKDF.p7m"
    description = describe(path)
    (recipient,) = description.recipients
    assert recipient.identifier is not None
    assert description.content_encryption_algorithm == "aes-128-gcm"
    assert (recipient.kind, recipient.key_encryption_algorithm) == (
        "key-agreement",
        "ecdh-hkdf-sha256",
    )
    assert recipient.key.serial_number == "0e4b0a36a9efba9c9a3b68248e521dc0def3a7"
    assert recipient.key.issuer.startswith("CN=Sample LAMPS Ed25519 Certification Authority,")
    dana = load_pem_private_key((folder / "lamps-dana.decrypt.p8.pem").read_bytes(), None)
    keys = ring().add(recipient.identifier, SoftwareKey(dana, "dana"))
    result, content = open_bytes(path.read_bytes(), keys)
    assert (type(result), result.aead) == (cms.Authenticated, True)
    assert content.startswith(b"This is some sample content")
    with pytest.raises(MissingKey):
        open_bytes(path.read_bytes(), ring(bob))


def test_both_recipients_of_mixed_kinds_of_rfc_9216_open_it(
    corpus: Path, lamps_bob: Person, ring: Ring, open_bytes: OpenBytes
) -> None:
    folder = corpus / "rfc9216-cms"
    raw = (folder / "encryptedForBobAndDana.p7m").read_bytes()
    dana = load_pem_private_key((folder / "lamps-dana.decrypt.p8.pem").read_bytes(), None)
    others = [
        recipient.identifier
        for recipient in cms.describe_envelope(BytesContent(raw)).recipients
        if recipient.identifier not in {None, lamps_bob.recipient.identifier}
    ]
    assert len(others) == 1
    assert others[0] is not None
    _, for_bob = open_bytes(raw, ring(lamps_bob))
    _, for_dana = open_bytes(raw, ring().add(others[0], SoftwareKey(dana, "dana")))
    assert for_bob == for_dana


def test_a_shared_key_recipient_is_described(corpus: Path) -> None:
    (recipient,) = describe(corpus / "rfc9216-cms" / "encryptedKekri.p7m").recipients
    assert (recipient.kind, recipient.identifier) == ("key-encryption-key", None)
    assert recipient.key_encryption_algorithm == "aes-256-wrap"


def test_kem_recipients_are_described(corpus: Path) -> None:
    paths = sorted((corpus / "ml-kem").rglob("*kemri*.der"))
    assert paths
    for path in paths:
        (recipient,) = describe(path).recipients
        # Two of them carry the ML-KEM identifier in a KeyTransRecipientInfo, whatever their names.
        misfiled = path.parent.name == "cht" and "kemri_auth" in path.name
        assert recipient.kind == ("key-transport" if misfiled else "kem")
        assert recipient.key_encryption_algorithm in path.name.replace("mlkem", "ml-kem-")
        assert recipient.identifier is not None


def ml_kem_key(path: Path) -> SoftwareKey:
    """The key of the same size beside a message, from its seed."""
    size = "1024" if "1024" in path.name else "768"
    (key_file,) = [
        *path.parent.glob(f"mlkem{size}-*_seed_priv.der"),
        *path.parent.glob(f"ml-kem-{size}-*_priv.der"),
    ]
    return SoftwareKey(load_private_key(key_file.read_bytes()), key_file.name)


def test_ml_kem_messages_of_two_implementers_open_authenticated(
    corpus: Path, ring: Ring, open_bytes: OpenBytes
) -> None:
    opened = []
    for path in sorted((corpus / "ml-kem").rglob("*kemri*.der")):
        (recipient,) = describe(path).recipients
        if recipient.kind != "kem":
            continue
        assert recipient.identifier is not None
        keys = ring().add(recipient.identifier, ml_kem_key(path))
        result, content = open_bytes(path.read_bytes(), keys)
        assert content == (path.parent / "expected_plaintext.txt").read_bytes()
        assert type(result) is cms.Authenticated
        opened.append(path.parent.name)
    assert (opened.count("redhound"), opened.count("cht")) == (8, 2)


def test_ml_kem_in_a_key_transport_recipient_is_unsupported(
    corpus: Path, ring: Ring, open_bytes: OpenBytes
) -> None:
    paths = sorted((corpus / "ml-kem" / "cht").glob("*kemri_auth*.der"))
    assert len(paths) == 2
    for path in paths:
        (recipient,) = describe(path).recipients
        assert recipient.identifier is not None
        keys = ring().add(recipient.identifier, ml_kem_key(path))
        with pytest.raises(UnsupportedMessage, match="ml-kem"):
            open_bytes(path.read_bytes(), keys)


def test_signed_messages_are_told_from_envelopes(corpus: Path) -> None:
    expected = {
        "3.1.bin": cms.ID_DATA,
        "4.2.bin": cms.SIGNED_DATA,
        "5.1.bin": cms.ENVELOPED_DATA,
        "6.0.bin": cms.DIGESTED_DATA,
        "7.1.bin": cms.ENCRYPTED_DATA,
    }
    found = {}
    for name in expected:
        found[name] = cms.identify((corpus / "rfc4134" / name).read_bytes())
    assert found == expected
