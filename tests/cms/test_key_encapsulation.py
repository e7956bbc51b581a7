"""ML-KEM recipients open with every derivation and wrap; profile post-quantum seals to them."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import mlkem
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

from sectool import cms
from sectool.asn1 import der
from sectool.cms import oids
from sectool.errors import DecryptionFailed, MalformedMessage, MessageError, UnsupportedMessage
from sectool.message import BytesContent

if TYPE_CHECKING:
    from tests.cms.conftest import Forge, Holder, KeyRing, Person

Ring = Callable[..., "KeyRing"]
HolderOf = Callable[..., "Holder"]
OpenBytes = Callable[..., tuple[cms.Authenticated | cms.Unproven, bytes]]
Seal = Callable[..., tuple[bytes, cms.Sealed]]

CONTENT = b"Content-Type: text/plain\r\n\r\nThe plans are in the blue folder.\r\n"
KEY = bytes(range(32))
KINDS = {
    "ml-kem-512": "2.16.840.1.101.3.4.4.1",
    "ml-kem-768": "2.16.840.1.101.3.4.4.2",
    "ml-kem-1024": "2.16.840.1.101.3.4.4.3",
}
DERIVATIONS = {
    "hkdf-sha256": ("1.2.840.113549.1.9.16.3.28", "sha256"),
    "hkdf-sha384": ("1.2.840.113549.1.9.16.3.29", "sha384"),
    "hkdf-sha512": ("1.2.840.113549.1.9.16.3.30", "sha512"),
}
WRAPS = {
    "aes-128-wrap": ("2.16.840.1.101.3.4.1.5", 16),
    "aes-192-wrap": ("2.16.840.1.101.3.4.1.25", 24),
    "aes-256-wrap": ("2.16.840.1.101.3.4.1.45", 32),
}


def hkdf(hash_name: str, secret: bytes, info: bytes, size: int) -> bytes:
    key = hmac.digest(bytes(hashlib.new(hash_name).digest_size), secret, hash_name)
    return hmac.digest(key, info + b"\1", hash_name)[:size]


@dataclass(frozen=True)
class Encapsulation:
    """How one KEMRecipientInfo is made, by an HKDF of its own."""

    derivation: str = "hkdf-sha256"
    wrap: str = "aes-256-wrap"
    ukm: bytes | None = None
    kind: str = ""
    """Written instead of the right KEM."""
    size: int | None = None
    """Written instead of the right kekLength."""
    by_key_identifier: bool = False
    derivation_oid: str = ""
    after: bytes = b""
    alter_ciphertext: Callable[[bytes], bytes] = lambda ciphertext: ciphertext
    alter_key: Callable[[bytes], bytes] = lambda key: key

    def make(self, holder: Holder) -> bytes:
        public_key = holder.key.public_key()
        assert isinstance(public_key, mlkem.MLKEM768PublicKey | mlkem.MLKEM1024PublicKey)
        secret, ciphertext = public_key.encapsulate()
        derivation_oid, hash_name = DERIVATIONS[self.derivation]
        wrap_oid, size = WRAPS[self.wrap]
        wrap = der.sequence(der.oid(wrap_oid))
        written_size = der.integer(size if self.size is None else self.size)
        ukm = b"" if self.ukm is None else der.explicit(0, der.octet_string(self.ukm))
        key_encryption_key = hkdf(hash_name, secret, der.sequence(wrap, written_size, ukm), size)
        identifier = holder.recipient.identifier
        name = der.sequence(identifier.issuer, der.integer(identifier.serial_number))
        if self.by_key_identifier:
            name = der.element(0x80, holder.subject_key_identifier.value)
        kem_recipient_info = der.sequence(
            der.integer(0),
            name,
            der.sequence(der.oid(KINDS[self.kind or holder.label])),
            der.octet_string(self.alter_ciphertext(ciphertext)),
            der.sequence(der.oid(self.derivation_oid or derivation_oid)),
            written_size,
            ukm,
            wrap,
            der.octet_string(self.alter_key(aes_key_wrap(key_encryption_key, KEY))),
            self.after,
        )
        return der.element(0xA4, der.oid("1.2.840.113549.1.9.16.13.3") + kem_recipient_info)


@pytest.mark.parametrize(
    "ukm", [None, b"", b"user keying material"], ids=["no-ukm", "empty", "ukm"]
)
@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("derivation", DERIVATIONS)
@pytest.mark.parametrize("kind", ["ml-kem-768", "ml-kem-1024"])
def test_every_combination_opens(
    kind: str,
    derivation: str,
    wrap: str,
    ukm: bytes | None,
    holder: HolderOf,
    forge: Forge,
    ring: Ring,
    open_bytes: OpenBytes,
) -> None:
    someone = holder(kind)
    raw = forge.cbc(recipients=[Encapsulation(derivation, wrap, ukm).make(someone)])
    result, content = open_bytes(raw, ring(someone))
    assert (content, type(result), result.aead) == (CONTENT, cms.Authenticated, False)


def test_a_recipient_by_subject_key_identifier_opens(
    holder: HolderOf, forge: Forge, ring: Ring, open_bytes: OpenBytes
) -> None:
    someone = holder("ml-kem-768")
    raw = forge.cbc(recipients=[Encapsulation(by_key_identifier=True).make(someone)])
    result, content = open_bytes(raw, ring(someone))
    assert content == CONTENT
    assert isinstance(result.identifier, cms.SubjectKeyIdentifier)


def flip(position: int) -> Callable[[bytes], bytes]:
    def flipped(raw: bytes) -> bytes:
        altered = bytearray(raw)
        altered[position] ^= 1
        return bytes(altered)

    return flipped


BAD: dict[str, tuple[Encapsulation, type[MessageError]]] = {
    "ciphertext altered": (Encapsulation(alter_ciphertext=flip(7)), DecryptionFailed),
    "ciphertext cut": (Encapsulation(alter_ciphertext=lambda raw: raw[:-1]), MalformedMessage),
    "ciphertext empty": (Encapsulation(alter_ciphertext=lambda raw: b""), MalformedMessage),
    "wrapped key altered": (Encapsulation(alter_key=flip(7)), DecryptionFailed),
    "wrapped key empty": (Encapsulation(alter_key=lambda raw: b""), MalformedMessage),
    "kem is ml-kem-512": (Encapsulation(kind="ml-kem-512"), UnsupportedMessage),
    "kdf unknown": (Encapsulation(derivation_oid="1.2.3.4"), UnsupportedMessage),
    "kekLength of another wrap": (Encapsulation(size=16), MalformedMessage),
    "kekLength zero": (Encapsulation(size=0), MalformedMessage),
    "kekLength negative": (Encapsulation(size=-32), MalformedMessage),
    "kekLength vast": (Encapsulation(size=2**64), MalformedMessage),
    "more than there should be": (Encapsulation(after=der.NULL), MalformedMessage),
}


@pytest.mark.parametrize(("bad", "error"), BAD.values(), ids=BAD)
def test_a_bad_recipient_fails_as_its_kind(
    bad: Encapsulation,
    error: type[MessageError],
    holder: HolderOf,
    forge: Forge,
    ring: Ring,
    open_bytes: OpenBytes,
) -> None:
    someone = holder("ml-kem-768")
    with pytest.raises(MessageError) as caught:
        open_bytes(forge.cbc(recipients=[bad.make(someone)]), ring(someone))
    assert type(caught.value) is error
    if error is DecryptionFailed:
        assert str(caught.value) == DecryptionFailed.TEXT


@pytest.mark.parametrize("other", ["ml-kem-768", "ml-kem-1024", "p-256", "rsa"])
def test_another_key_under_the_same_identifier_fails(
    other: str, holder: HolderOf, forge: Forge, ring: Ring, open_bytes: OpenBytes
) -> None:
    """B23: decapsulation gives no error, the key wrap does."""
    someone = holder("ml-kem-768")
    keys = ring().add(someone.recipient.identifier, holder(other, "other").operations)
    with pytest.raises(DecryptionFailed):
        open_bytes(forge.gcm(recipients=[Encapsulation().make(someone)]), keys)


@pytest.mark.parametrize("kind", ["ml-kem-768", "ml-kem-1024"])
def test_what_is_sealed_post_quantum_opens_and_is_proven(
    kind: str, holder: HolderOf, ring: Ring, seal_bytes: Seal, open_bytes: OpenBytes
) -> None:
    someone, profile = holder(kind), cms.Profile.POST_QUANTUM
    raw, sealed = seal_bytes(CONTENT, someone, profile=profile)
    result, content = open_bytes(raw, ring(someone))
    assert (content, type(result), result.aead) == (CONTENT, cms.Authenticated, True)
    assert result.content_encryption_algorithm == "aes-256-gcm"
    assert der.canonical(raw) == raw
    (recipient,) = cms.describe_envelope(BytesContent(raw)).recipients
    assert (recipient.kind, recipient.key_encryption_algorithm) == ("kem", kind)
    checked = cms.check_sealed(
        BytesContent(raw), sealed.content_encryption_key, [someone.recipient], profile=profile
    )
    assert checked.content_sha256 == sealed.content_sha256
    assert cms.sealed_size(len(CONTENT), [someone.recipient], profile=profile) == len(raw)


def test_several_post_quantum_recipients_open_each(
    holder: HolderOf, ring: Ring, seal_bytes: Seal, open_bytes: OpenBytes
) -> None:
    people = (holder("ml-kem-768"), holder("ml-kem-1024"))
    raw, _ = seal_bytes(CONTENT, *people, profile=cms.Profile.POST_QUANTUM)
    for person in people:
        assert open_bytes(raw, ring(person))[1] == CONTENT


def test_beside_a_post_quantum_recipient_classic_ones_open_it_where_that_is_asked_for(
    holder: HolderOf, bob: Person, ring: Ring, seal_bytes: Seal, open_bytes: OpenBytes
) -> None:
    people = (holder("ml-kem-768"), bob, holder("p-521"), holder("x25519"))
    profile = cms.Profile.ALSO_CLASSIC
    raw, sealed = seal_bytes(CONTENT, *people, profile=profile)
    for person in people:
        assert open_bytes(raw, ring(person))[1] == CONTENT
    recipients = [person.recipient for person in people]
    key = sealed.content_encryption_key
    cms.check_sealed(BytesContent(raw), key, recipients, profile=profile)


@pytest.mark.parametrize(
    "encapsulation",
    [
        Encapsulation("hkdf-sha512"),
        Encapsulation(wrap="aes-128-wrap"),
        Encapsulation(ukm=b"ukm"),
    ],
    ids=["derivation", "wrap", "ukm"],
)
def test_another_encapsulation_than_the_profile_writes_is_not_proven(
    encapsulation: Encapsulation, holder: HolderOf, forge: Forge
) -> None:
    someone, profile = holder("ml-kem-768"), cms.Profile.POST_QUANTUM
    right = forge.gcm(recipients=[Encapsulation().make(someone)])
    cms.check_sealed(BytesContent(right), KEY, [someone.recipient], profile=profile)
    other = forge.gcm(recipients=[encapsulation.make(someone)])
    with pytest.raises(MalformedMessage, match="post-quantum"):
        cms.check_sealed(BytesContent(other), KEY, [someone.recipient], profile=profile)


def test_the_oids_are_those_of_nist() -> None:
    assert list(KINDS.values()) == [oids.ML_KEM_512, oids.ML_KEM_768, oids.ML_KEM_1024]
