"""Key agreement opens whatever its curve, derivation and wrap, and seals for the keys of a profile.

The messages are made by an implementation of the derivations and wraps that
stands in ``tests.support.agreements``, apart from the one under test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sectool import cms
from sectool.asn1 import der
from sectool.cms import oids
from sectool.cms.identifiers import AlgorithmIdentifier
from sectool.cms.key_wrap import key_wrap
from sectool.errors import (
    CertificateUnusable,
    DecryptionFailed,
    MalformedMessage,
    MessageError,
    UnsupportedMessage,
)
from sectool.message import BytesContent
from tests.support.agreements import (
    SCHEMES,
    WRAPS,
    Agreement,
    Static,
    originator_info,
)
from tests.support.forge import CONTENT_ENCRYPTION_KEY as KEY

if TYPE_CHECKING:
    from tests.cms.conftest import Forge, Holder, KeyRing, Person

Ring = Callable[..., "KeyRing"]
HolderOf = Callable[..., "Holder"]
OpenBytes = Callable[..., tuple[cms.Authenticated | cms.Unproven, bytes]]
Seal = Callable[..., tuple[bytes, cms.Sealed]]

CONTENT = b"Content-Type: text/plain\r\n\r\nThe plans are in the blue folder.\r\n"
CURVES = ["p-256", "p-384", "p-521", "brainpool-256", "brainpool-384", "brainpool-512"]
MONTGOMERY = ["x25519", "x448"]
# --- reading ---


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", CURVES + MONTGOMERY)
def test_every_curve_opens_with_every_scheme(
    kind: str, scheme: str, holder: HolderOf, forge: Forge, ring: Ring, open_bytes: OpenBytes
) -> None:
    someone = holder(kind)
    raw = forge.cbc(recipients=[Agreement(scheme).make(someone)])
    result, content = open_bytes(raw, ring(someone))
    assert (content, type(result), result.aead) == (CONTENT, cms.Authenticated, False)
    (recipient,) = cms.describe_envelope(BytesContent(raw)).recipients
    assert (recipient.kind, recipient.key_encryption_algorithm) == ("key-agreement", scheme)


@pytest.mark.parametrize(
    "ukm", [None, b"", b"user keying material"], ids=["no-ukm", "empty", "ukm"]
)
@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("scheme", ["ecdh-sha1kdf", "ecdh-hkdf-sha256"])
def test_every_wrap_opens_with_and_without_ukm(
    scheme: str,
    wrap: str,
    ukm: bytes | None,
    holder: HolderOf,
    forge: Forge,
    ring: Ring,
    open_bytes: OpenBytes,
) -> None:
    someone = holder("p-256")
    raw = forge.gcm(recipients=[Agreement(scheme, wrap, ukm).make(someone)])
    result, content = open_bytes(raw, ring(someone))
    assert (content, type(result), result.aead) == (CONTENT, cms.Authenticated, True)


FORMS = {
    "rKeyId": Agreement(by_key_identifier=True),
    "compressed point": Agreement(compressed=True),
    "originator with NULL": Agreement(originator_parameters=der.NULL),
    "originator with its curve": Agreement(originator_parameters=der.oid("1.2.840.10045.3.1.7")),
}


@pytest.mark.parametrize("agreement", FORMS.values(), ids=FORMS)
def test_every_form_of_recipient_and_originator_opens(
    agreement: Agreement, holder: HolderOf, forge: Forge, ring: Ring, open_bytes: OpenBytes
) -> None:
    someone = holder("p-256")
    _, content = open_bytes(forge.cbc(recipients=[agreement.make(someone)]), ring(someone))
    assert content == CONTENT


def test_each_recipient_of_one_agreement_opens_it(
    holder: HolderOf, forge: Forge, ring: Ring, open_bytes: OpenBytes
) -> None:
    people = [holder("p-384", name) for name in ("one", "two", "three")]
    raw = forge.cbc(recipients=[Agreement().make(*people)])
    for person in people:
        assert open_bytes(raw, ring(person))[1] == CONTENT


def test_recipients_of_mixed_kinds_open_each(
    holder: HolderOf, forge: Forge, bob: Person, ring: Ring, open_bytes: OpenBytes
) -> None:
    people = [holder(kind) for kind in ("p-256", "x25519", "p-521")]
    agreements = [Agreement().make(person) for person in people]
    raw = forge.cbc(recipients=[agreements[0], forge.recipient(), *agreements[1:]])
    for person in (bob, *people):
        assert open_bytes(raw, ring(person))[1] == CONTENT


def test_the_triple_des_wrap_of_rfc_3217_opens() -> None:
    key_encryption_key = bytes.fromhex("255e0d1c07b646dfb3134cc843ba8aa71f025b7c0838251f")
    key = bytes.fromhex("2923bf85e06dd6ae529149f1f1bae9eab3a7da3d860d3e98")
    wrapped = bytes.fromhex(
        "690107618ef092b3b48ca1796b234ae9fa33ebb4159604037db5d6a84eb3aac2768c632775a467d4"
    )
    row = key_wrap(AlgorithmIdentifier(oids.TRIPLE_DES_WRAP, der.NULL))
    assert row.unwrap(key_encryption_key, wrapped) == key


# --- what does not open ---


def flip(position: int) -> Callable[[bytes], bytes]:
    def flipped(raw: bytes) -> bytes:
        altered = bytearray(raw)
        altered[position] ^= 1
        return bytes(altered)

    return flipped


FAILING = {
    "wrapped key altered": Agreement(alter_key=flip(3)),
    "wrapped key cut by blocks": Agreement(alter_key=lambda key: key[:32]),
    "3des-wrapped key altered": Agreement(wrap="3des-wrap", alter_key=flip(3)),
    "3des-wrapped key cut by blocks": Agreement(wrap="3des-wrap", alter_key=lambda key: key[:32]),
    "B40-point off the curve": Agreement(alter_point=flip(-1)),
    "point empty": Agreement(alter_point=lambda point: b""),
    "B40-point of another curve": Agreement(alter_point=lambda point: b"\4" + bytes(96)),
    "point at infinity": Agreement(alter_point=lambda point: b"\0"),
}


@pytest.mark.parametrize("agreement", FAILING.values(), ids=FAILING)
def test_a_failed_agreement_says_the_same_as_every_failure(
    agreement: Agreement, holder: HolderOf, forge: Forge, ring: Ring, open_bytes: OpenBytes
) -> None:
    someone = holder("p-256")
    with pytest.raises(DecryptionFailed) as caught:
        open_bytes(forge.cbc(recipients=[agreement.make(someone)]), ring(someone))
    assert str(caught.value) == DecryptionFailed.TEXT


@pytest.mark.parametrize(
    ("wrap", "size"),
    [
        *[("aes-256-wrap", size) for size in (0, 8, 16, 39, 41)],
        *[("3des-wrap", size) for size in (0, 24, 31)],
    ],
)
def test_a_length_that_no_key_wrap_gives_has_words_of_its_own(
    wrap: str, size: int, holder: HolderOf, forge: Forge, ring: Ring, open_bytes: OpenBytes
) -> None:
    someone = holder("p-256")
    agreement = Agreement(wrap=wrap, alter_key=lambda _key: bytes(size))
    with pytest.raises(MalformedMessage, match=f"^encryptedKey has {size} bytes, which {wrap} "):
        open_bytes(forge.cbc(recipients=[agreement.make(someone)]), ring(someone))


@pytest.mark.parametrize("kind", MONTGOMERY)
def test_a_public_key_of_low_order_fails(
    kind: str, holder: HolderOf, forge: Forge, ring: Ring, open_bytes: OpenBytes
) -> None:
    """B40: the secret would be all zero."""
    someone = holder(kind)
    agreement = Agreement(alter_point=lambda point: bytes(len(point)))
    with pytest.raises(DecryptionFailed):
        open_bytes(forge.cbc(recipients=[agreement.make(someone)]), ring(someone))


@pytest.mark.parametrize("other", ["p-256", "p-384", "x25519", "ml-kem-768", "rsa"])
@pytest.mark.parametrize("wrap", ["aes-256-wrap", "3des-wrap"])
def test_another_key_under_the_same_identifier_fails(
    other: str, wrap: str, holder: HolderOf, forge: Forge, ring: Ring, open_bytes: OpenBytes
) -> None:
    """B23."""
    someone = holder("p-256")
    keys = ring().add(someone.recipient.identifier, holder(other, "other").operations)
    with pytest.raises(DecryptionFailed):
        open_bytes(forge.gcm(recipients=[Agreement(wrap=wrap).make(someone)]), keys)


def static_originator(raw: bytes, holder: Holder) -> bytes:
    """The originator as an identifier instead of a key."""
    start = raw.index(der.oid(oids.EC_PUBLIC_KEY)) - 6
    end = raw.index(der.oid("1.3.132.1.11.1")) - 2
    identifier = holder.recipient.identifier
    name = der.sequence(identifier.issuer, der.integer(identifier.serial_number))
    rest = raw[end:]
    assert raw[start] == 0xA0
    return der.element(0xA1, der.integer(3) + der.explicit(0, name) + rest)


def replaced(old: bytes, new: bytes) -> Callable[[bytes, Holder], bytes]:
    def replace_one(raw: bytes, _holder: Holder) -> bytes:
        assert len(old) == len(new)
        assert raw.count(old) == 1
        return raw.replace(old, new)

    return replace_one


DAMAGED: dict[str, tuple[Callable[[bytes, Holder], bytes], type[MessageError]]] = {
    "ecmqv": (
        replaced(der.oid("1.3.132.1.11.1"), der.oid("1.3.132.1.15.1")),
        UnsupportedMessage,
    ),
    "aes-256-wrap-pad": (
        replaced(der.oid(oids.AES_256_WRAP), der.oid("2.16.840.1.101.3.4.1.48")),
        UnsupportedMessage,
    ),
    "dsa originator": (
        replaced(der.oid(oids.EC_PUBLIC_KEY), der.oid("1.2.840.10040.4.1")),
        UnsupportedMessage,
    ),
    "originator by identifier": (static_originator, UnsupportedMessage),
    "originator bits not whole": (
        replaced(b"\x03\x42\x00\x04", b"\x03\x42\x01\x04"),
        MalformedMessage,
    ),
}


@pytest.mark.parametrize(("damage", "error"), DAMAGED.values(), ids=DAMAGED)
def test_what_cannot_be_read_fails_as_its_kind(
    damage: Callable[[bytes, Holder], bytes],
    error: type[MessageError],
    holder: HolderOf,
    forge: Forge,
    ring: Ring,
    open_bytes: OpenBytes,
) -> None:
    someone = holder("p-256")
    raw = forge.cbc(recipients=[damage(Agreement().make(someone), someone)])
    with pytest.raises(MessageError) as caught:
        open_bytes(raw, ring(someone))
    assert type(caught.value) is error


def test_damage_to_an_originator_does_not_hide_the_other_recipients(
    holder: HolderOf, forge: Forge, open_as_bob: OpenBytes
) -> None:
    damaged = der.element(
        0xA1,
        der.integer(3)
        + der.explicit(0, der.integer(5))
        + der.sequence(der.oid("1.3.132.1.11.1"))
        + der.sequence(),
    )
    _, content = open_as_bob(forge.cbc(recipients=[damaged, forge.recipient()]))
    assert content == CONTENT


# --- a sender with a key of its own ---


@pytest.mark.parametrize("by", ["issuer and serial number", "subject key identifier"])
def test_a_sender_whose_certificate_is_in_the_message_is_found(
    by: str, holder: HolderOf, forge: Forge, ring: Ring, open_bytes: OpenBytes
) -> None:
    someone, static = holder("p-256"), Static(holder("p-256", "sender"))
    other = Static(holder("p-256", "bystander"))
    name = static.by_issuer if by.startswith("issuer") else static.by_key_identifier
    attribute_certificate = der.element(0xA2, der.sequence(der.integer(1)))
    before = originator_info(attribute_certificate, other.certificate, static.certificate)
    raw = forge.cbc(before=before, recipients=[static.make(someone, name)])
    result, content = open_bytes(raw, ring(someone))
    assert (content, type(result)) == (CONTENT, cms.Authenticated)


NO_SENDERS: dict[str, tuple[Callable[[Static], bytes], type[MessageError]]] = {
    "none": (lambda static: b"", UnsupportedMessage),
    "no certificates": (lambda static: der.element(0xA0, b""), UnsupportedMessage),
    "too large to keep": (
        lambda static: originator_info(static.certificate, der.octet_string(bytes(300_000))),
        UnsupportedMessage,
    ),
    "damaged": (lambda static: originator_info(der.sequence(b"\x05\x00")), MalformedMessage),
    "not a certificate": (lambda static: originator_info(der.sequence()), MalformedMessage),
    "too many": (
        lambda static: originator_info(*[der.element(0xA2, b"")] * 101, static.certificate),
        UnsupportedMessage,
    ),
}


@pytest.mark.parametrize(("make", "error"), NO_SENDERS.values(), ids=NO_SENDERS)
def test_a_sender_whose_certificate_is_not_there_fails_as_its_kind(
    make: Callable[[Static], bytes],
    error: type[MessageError],
    holder: HolderOf,
    forge: Forge,
    bob: Person,
    ring: Ring,
    open_bytes: OpenBytes,
) -> None:
    someone, static = holder("p-256"), Static(holder("p-256", "sender"))
    recipients = [static.make(someone, static.by_issuer), forge.recipient()]
    raw = forge.cbc(before=make(static), recipients=recipients)
    with pytest.raises(MessageError) as caught:
        open_bytes(raw, ring(someone))
    assert type(caught.value) is error
    assert open_bytes(raw, ring(bob))[1] == CONTENT


@pytest.mark.parametrize("by", ["issuer and serial number", "subject key identifier"])
def test_a_sender_whose_certificate_a_person_has_is_found(
    by: str, holder: HolderOf, forge: Forge, ring: Ring
) -> None:
    someone, static = holder("p-256"), Static(holder("p-256", "sender"))
    sender = cms.Recipient(static.sender.certificate).identifier
    key_identifier = static.sender.subject_key_identifier
    namesake = Static(holder("p-256", "bystander")).sender
    points = [
        each.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        for each in (namesake, static.sender)
    ]

    class Held:
        def find_public_keys(self, identifier: cms.RecipientIdentifier) -> list[bytes]:
            return points if identifier in {sender, key_identifier} else []

    name = static.by_issuer if by.startswith("issuer") else static.by_key_identifier
    raw = forge.cbc(recipients=[static.make(someone, name)])
    (opened,) = cms.find_openings(BytesContent(raw), ring(someone), senders=Held())
    assert isinstance(opened.decrypt(cms.DISCARD), cms.Authenticated)
    points.pop()
    with pytest.raises(DecryptionFailed):
        list(cms.find_openings(BytesContent(raw), ring(someone), senders=Held()))


# --- sealing ---

SEALED = {
    "compatible p-256": (cms.Profile.COMPATIBLE, "p-256", "ecdh-sha256kdf"),
    "compatible p-384": (cms.Profile.COMPATIBLE, "p-384", "ecdh-sha384kdf"),
    "modern p-256": (cms.Profile.MODERN, "p-256", "ecdh-sha256kdf"),
    "modern p-384": (cms.Profile.MODERN, "p-384", "ecdh-sha384kdf"),
    "modern p-521": (cms.Profile.MODERN, "p-521", "ecdh-sha512kdf"),
    "modern x25519": (cms.Profile.MODERN, "x25519", "ecdh-hkdf-sha256"),
}


@pytest.mark.parametrize(("profile", "kind", "scheme"), SEALED.values(), ids=SEALED)
def test_what_is_sealed_opens_and_is_proven(
    profile: cms.Profile,
    kind: str,
    scheme: str,
    holder: HolderOf,
    ring: Ring,
    seal_bytes: Seal,
    open_bytes: OpenBytes,
) -> None:
    someone = holder(kind)
    raw, sealed = seal_bytes(CONTENT, someone, profile=profile)
    result, content = open_bytes(raw, ring(someone))
    assert (content, type(result)) == (CONTENT, cms.Authenticated)
    assert der.canonical(raw) == raw
    (recipient,) = cms.describe_envelope(BytesContent(raw)).recipients
    assert recipient.key_encryption_algorithm == scheme
    assert oids.AES_256_WRAP in str(recipient) or der.oid(oids.AES_256_WRAP) in raw
    checked = cms.check_sealed(
        BytesContent(raw), sealed.content_encryption_key, [someone.recipient], profile=profile
    )
    assert checked.content_sha256 == sealed.content_sha256
    assert cms.sealed_size(len(CONTENT), [someone.recipient], profile=profile) == len(raw)


REFUSED = {
    "compatible p-521": (cms.Profile.COMPATIBLE, "p-521"),
    "compatible x25519": (cms.Profile.COMPATIBLE, "x25519"),
    **{
        f"{profile.value} {kind}": (profile, kind)
        for profile in (cms.Profile.COMPATIBLE, cms.Profile.MODERN)
        for kind in ("brainpool-256", "x448", "ml-kem-768", "ml-kem-1024")
    },
    **{
        f"post-quantum {kind}": (cms.Profile.POST_QUANTUM, kind)
        for kind in ("p-256", "p-384", "p-521", "x25519", "x448", "rsa")
    },
}


@pytest.mark.parametrize(("profile", "kind"), REFUSED.values(), ids=REFUSED)
def test_a_key_that_a_profile_does_not_take_is_refused(
    profile: cms.Profile, kind: str, holder: HolderOf, seal_bytes: Seal
) -> None:
    someone = holder(kind)
    with pytest.raises(CertificateUnusable, match=profile.value) as caught:
        someone.recipient.check(profile)
    assert caught.value.hint
    with pytest.raises(CertificateUnusable):
        seal_bytes(CONTENT, someone, profile=profile)


@pytest.mark.parametrize(
    ("kinds", "version"), [(["rsa"], 0), (["p-256"], 2), (["rsa", "p-384"], 2)], ids=str
)
def test_the_version_is_that_of_the_recipients(
    kinds: list[str], version: int, holder: HolderOf, seal_bytes: Seal
) -> None:
    raw, _ = seal_bytes(CONTENT, *(holder(kind) for kind in kinds))
    start = raw.index(der.oid(oids.ENVELOPED_DATA)) + len(der.oid(oids.ENVELOPED_DATA))
    assert der.integer(version) == raw[start + 8 : start + 11]


@pytest.mark.parametrize("profile", [cms.Profile.COMPATIBLE, cms.Profile.MODERN])
def test_recipients_of_mixed_kinds_are_sealed_to(
    profile: cms.Profile,
    holder: HolderOf,
    bob: Person,
    ring: Ring,
    seal_bytes: Seal,
    open_bytes: OpenBytes,
) -> None:
    people = (bob, holder("p-256"), holder("p-384"))
    raw, sealed = seal_bytes(CONTENT, *people, profile=profile)
    recipients = [person.recipient for person in people]
    cms.check_sealed(BytesContent(raw), sealed.content_encryption_key, recipients, profile=profile)
    for person in people:
        assert open_bytes(raw, ring(person))[1] == CONTENT


@pytest.mark.parametrize(
    "agreement",
    [
        Agreement(wrap="aes-128-wrap"),
        Agreement("ecdh-sha1kdf"),
        Agreement("ecdh-cofactor-sha256kdf"),
    ],
    ids=["wrap", "derivation", "cofactor"],
)
def test_another_agreement_than_the_profile_writes_is_not_proven(
    agreement: Agreement, holder: HolderOf, forge: Forge
) -> None:
    someone = holder("p-256")
    profile = cms.Profile.COMPATIBLE
    for made, is_right in ((replace(agreement), False), (Agreement(), True)):
        raw = BytesContent(forge.cbc(recipients=[made.make(someone)]))
        if is_right:
            cms.check_sealed(raw, KEY, [someone.recipient], profile=profile)
        else:
            with pytest.raises(MalformedMessage, match="compatible"):
                cms.check_sealed(raw, KEY, [someone.recipient], profile=profile)


# --- NULL or nothing ---


@pytest.mark.parametrize("bound", [b"", der.NULL], ids=["derived without", "derived with NULL"])
@pytest.mark.parametrize("written", [b"", der.NULL], ids=["written without", "written with NULL"])
@pytest.mark.parametrize("scheme", ["ecdh-sha256kdf", "ecdh-hkdf-sha256"])
@pytest.mark.parametrize("ukm", [None, b"fresh"])
def test_parameters_of_the_key_wrap_may_be_bound_other_than_they_are_written(
    ukm: bytes | None,
    scheme: str,
    written: bytes,
    bound: bytes,
    holder: HolderOf,
    forge: Forge,
    ring: Ring,
    open_bytes: OpenBytes,
) -> None:
    someone = holder("p-256")
    wrap = "aes-256-wrap null" if bound else "aes-256-wrap"
    info = Agreement(scheme=scheme, wrap=wrap, ukm=ukm).make(someone)
    before, after = (
        der.sequence(der.oid(SCHEMES[scheme][0]), der.sequence(der.oid(WRAPS[wrap][0]), form))
        for form in (bound, written)
    )
    assert info.count(before) == 1
    content = info[4:] if info[1] == 0x82 else info[3:]
    raw = forge.cbc(recipients=[der.element(0xA1, content.replace(before, after))])
    result, opened = open_bytes(raw, ring(someone))
    assert (opened, type(result)) == (CONTENT, cms.Authenticated)
