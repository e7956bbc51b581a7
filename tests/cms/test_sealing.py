"""What is sealed opens again, is DER, and is proven without a private key."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, BinaryIO

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x448
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given, settings, strategies as st

from sectool import cms
from sectool.asn1 import der
from sectool.cms import oids
from sectool.errors import (
    CertificateUnusable,
    DecryptionFailed,
    MalformedMessage,
    MessageChanged,
    MessageError,
)
from sectool.message import BytesContent
from tests.support.opening import open_envelope

if TYPE_CHECKING:
    from tests.cms.conftest import Forge, KeyRing, Person

Ring = Callable[..., "KeyRing"]
OpenBytes = Callable[..., tuple[cms.Authenticated | cms.Unproven, bytes]]
Seal = Callable[..., tuple[bytes, cms.Sealed]]

PROFILES = [cms.Profile.COMPATIBLE, cms.Profile.MODERN]
SIZES = [0, 1, 15, 16, 17, 100, 127, 128, 255, 256, 65_535, 65_536, 131_072, 300_000]


@dataclass(frozen=True)
class Announced:
    """Content that may not be as long as it says."""

    raw: bytes
    size: int

    def open(self) -> BinaryIO:
        return io.BytesIO(self.raw)


def certificate_of(public_key: CertificatePublicKeyTypes) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "someone")])
    builder = (
        x509.CertificateBuilder(name, name, public_key, 77)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(3020, 1, 1, tzinfo=UTC))
    )
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("size", SIZES)
def test_content_of_any_size_opens_after_sealing(
    size: int, profile: cms.Profile, seal_bytes: Seal, open_as_bob: OpenBytes
) -> None:
    content = bytes(index % 251 for index in range(size))
    raw, sealed = seal_bytes(content, profile=profile)
    result, opened = open_as_bob(raw)
    assert opened == content
    assert (result.sha256, result.size) == (sealed.content_sha256, sealed.content_size)
    assert (result.envelope_digest, len(raw)) == (sealed.digest, sealed.size)


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=3000))
@pytest.mark.parametrize("profile", PROFILES)
def test_what_is_sealed_is_der(
    content: bytes, profile: cms.Profile, both: tuple[Person, Person], seal_bytes: Seal
) -> None:
    raw, _ = seal_bytes(content, *both, profile=profile)
    assert der.canonical(raw) == raw


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("size", SIZES)
def test_the_size_is_known_before_sealing(
    size: int, profile: cms.Profile, bob: Person, alice: Person, seal_bytes: Seal
) -> None:
    _, sealed = seal_bytes(bytes(size), bob, alice, profile=profile)
    recipients = [bob.recipient, alice.recipient]
    assert cms.sealed_size(size, recipients, profile=profile) == sealed.size


@pytest.mark.parametrize("profile", PROFILES)
def test_each_recipient_opens_it(
    profile: cms.Profile,
    both: tuple[Person, Person],
    ring: Ring,
    seal_bytes: Seal,
    open_bytes: OpenBytes,
) -> None:
    raw, _ = seal_bytes(b"for two", *both, profile=profile)
    assert [open_bytes(raw, ring(person))[1] for person in both] == [b"for two"] * 2


def test_profiles_write_what_they_promise(seal_bytes: Seal) -> None:
    def written(profile: cms.Profile) -> tuple[str, str, str]:
        description = cms.describe_envelope(BytesContent(seal_bytes(b"x", profile=profile)[0]))
        return (
            cms.content_type_name(description.content_type),
            description.content_encryption_algorithm,
            description.recipients[0].key_encryption_algorithm,
        )

    assert [written(profile) for profile in PROFILES] == [
        ("enveloped-data", "aes-256-cbc", "rsa-pkcs1-v1_5"),
        ("auth-enveloped-data", "aes-256-gcm", "rsa-oaep"),
    ]


def test_modern_results_are_authenticated_and_compatible_ones_unproven(
    seal_bytes: Seal, open_as_bob: OpenBytes
) -> None:
    results = [open_as_bob(seal_bytes(b"x", profile=each)[0])[0] for each in PROFILES]
    assert [type(result) for result in results] == [cms.Unproven, cms.Authenticated]


def test_the_content_type_is_carried_through(ring: Ring, bob: Person) -> None:
    out = io.BytesIO()
    content = BytesContent(b"signed")
    cms.seal_envelope(content, out, [bob.recipient], content_type=cms.SIGNED_DATA)
    result = open_envelope(BytesContent(out.getvalue()), cms.DISCARD, ring(bob))
    assert result.content_type == cms.SIGNED_DATA


def test_sealing_twice_shares_neither_key_nor_ciphertext(seal_bytes: Seal) -> None:
    (raw, sealed), (raw_again, sealed_again) = seal_bytes(b"x" * 64), seal_bytes(b"x" * 64)
    assert sealed.content_encryption_key != sealed_again.content_encryption_key
    assert raw[-64:] != raw_again[-64:]


def test_the_content_encryption_key_is_not_shown(seal_bytes: Seal) -> None:
    _, sealed = seal_bytes(b"x")
    assert "content_encryption_key" not in repr(sealed)


def test_a_certificate_given_twice_counts_once(bob: Person, seal_bytes: Seal) -> None:
    raw, _ = seal_bytes(b"x", bob, bob)
    assert len(cms.describe_envelope(BytesContent(raw)).recipients) == 1


def test_the_issuer_is_byte_for_byte_that_of_the_certificate(bob: Person, seal_bytes: Seal) -> None:
    raw, _ = seal_bytes(b"x")
    assert bob.recipient.identifier.issuer in raw
    assert bob.recipient.identifier.issuer in bob.certificate.tbs_certificate_bytes


@pytest.mark.parametrize("size", [2, 4, 1 << 30])
def test_content_that_is_not_as_long_as_announced_is_refused(size: int, bob: Person) -> None:
    with pytest.raises(MessageChanged, match="should have"):
        cms.seal_envelope(Announced(b"abc", size), io.BytesIO(), [bob.recipient])


def test_an_envelope_needs_a_recipient() -> None:
    with pytest.raises(ValueError, match="at least one recipient"):
        cms.seal_envelope(BytesContent(b""), io.BytesIO(), [])


# --- certificates ---


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(lambda: ec.generate_private_key(ec.SECP256K1()), "secp256k1", id="secp256k1"),
        pytest.param(x448.X448PrivateKey.generate, "X448", id="x448"),
        pytest.param(ed25519.Ed25519PrivateKey.generate, "only signs", id="B42-ed25519"),
        pytest.param(lambda: rsa.generate_private_key(65537, 1024), "1024 bits", id="B41-rsa-1024"),
        pytest.param(lambda: rsa.generate_private_key(65537, 2047), "2047 bits", id="rsa-2047"),
    ],
)
@pytest.mark.parametrize("profile", cms.Profile)
def test_a_key_that_cannot_serve_is_refused(
    make: Callable[[], rsa.RSAPrivateKey], reason: str, profile: cms.Profile
) -> None:
    recipient = cms.Recipient(certificate_of(make().public_key()))
    with pytest.raises(CertificateUnusable, match=reason):
        recipient.check(profile)


def test_an_rsa_key_with_an_even_exponent_is_refused(bob: Person) -> None:
    """B41: 65536 instead of 65537."""
    raw = bob.certificate.public_bytes(Encoding.DER)
    altered = raw.replace(b"\x02\x03\x01\x00\x01", b"\x02\x03\x01\x00\x00")
    recipient = cms.Recipient(x509.load_der_x509_certificate(altered))
    with pytest.raises(CertificateUnusable):
        recipient.check(cms.Profile.COMPATIBLE)


def test_rsa_does_not_serve_the_post_quantum_profile(bob: Person) -> None:
    with pytest.raises(CertificateUnusable, match="post-quantum"):
        bob.recipient.check(cms.Profile.POST_QUANTUM)
    with pytest.raises(CertificateUnusable, match="post-quantum"):
        cms.seal_envelope(
            BytesContent(b""), io.BytesIO(), [bob.recipient], profile=cms.Profile.POST_QUANTUM
        )


# --- the structural proof ---


@pytest.mark.parametrize("profile", PROFILES)
def test_a_sealed_envelope_is_proven(
    profile: cms.Profile, bob: Person, alice: Person, seal_bytes: Seal
) -> None:
    raw, sealed = seal_bytes(b"proven", bob, alice, profile=profile)
    checked = cms.check_sealed(
        BytesContent(raw),
        sealed.content_encryption_key,
        [alice.recipient, bob.recipient],
        profile=profile,
    )
    assert checked == cms.CheckedEnvelope(
        sealed.digest, sealed.content_sha256, sealed.content_size, cms.ID_DATA
    )


@pytest.mark.parametrize("who", ["bob", "bob alice carol", "bob carol"])
def test_other_recipients_than_those_given_are_not_proven(
    who: str,
    both: tuple[Person, Person],
    person_maker: Callable[[str], Person],
    seal_bytes: Seal,
) -> None:
    people = {person.label: person for person in both}
    recipients = [(people.get(name) or person_maker(name)).recipient for name in who.split()]
    raw, sealed = seal_bytes(b"x", *both)
    with pytest.raises(MalformedMessage, match="recipients"):
        cms.check_sealed(BytesContent(raw), sealed.content_encryption_key, recipients)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(
    ("alter", "error"),
    [
        pytest.param(lambda raw: raw + b"\n", MalformedMessage, id="B04-trailing"),
        pytest.param(lambda raw: raw[:-1], MalformedMessage, id="B03-truncated"),
        pytest.param(lambda raw: raw[:-1] + bytes((raw[-1] ^ 1,)), DecryptionFailed, id="B30-bit"),
    ],
)
def test_damage_is_not_proven(
    profile: cms.Profile,
    alter: Callable[[bytes], bytes],
    error: type[MessageError],
    bob: Person,
    seal_bytes: Seal,
) -> None:
    raw, sealed = seal_bytes(bytes(14), profile=profile)
    with pytest.raises(error):
        cms.check_sealed(BytesContent(alter(raw)), sealed.content_encryption_key, [bob.recipient])


@pytest.mark.parametrize("key", [b"", bytes(16), bytes(32)])
def test_another_key_does_not_prove(key: bytes, bob: Person, seal_bytes: Seal) -> None:
    raw, _ = seal_bytes(b"x", profile=cms.Profile.MODERN)
    with pytest.raises(DecryptionFailed):
        cms.check_sealed(BytesContent(raw), key, [bob.recipient])


def test_another_profile_is_not_proven(bob: Person, seal_bytes: Seal) -> None:
    raw, sealed = seal_bytes(b"x", profile=cms.Profile.COMPATIBLE)
    with pytest.raises(MalformedMessage, match="modern"):
        cms.check_sealed(
            BytesContent(raw),
            sealed.content_encryption_key,
            [bob.recipient],
            profile=cms.Profile.MODERN,
        )


def test_another_key_encryption_than_the_profile_writes_is_not_proven(
    bob: Person, forge: Forge
) -> None:
    raw = forge.cbc(recipients=[forge.recipient(rsa_padding=cms.OAEP())])
    key = bytes(range(32))
    cms.check_sealed(BytesContent(raw), key, [bob.recipient])
    with pytest.raises(MalformedMessage, match="compatible"):
        cms.check_sealed(BytesContent(raw), key, [bob.recipient], profile=cms.Profile.COMPATIBLE)


def test_the_oids_of_the_table_are_those_of_nist() -> None:
    assert (oids.AES_256_CBC, oids.AES_256_GCM) == (
        "2.16.840.1.101.3.4.1.42",
        "2.16.840.1.101.3.4.1.46",
    )
