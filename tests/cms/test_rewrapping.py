"""An envelope with other recipients opens to the same content, for them and for nobody else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from sectool import cms
from sectool.asn1 import der, tags
from sectool.cms import oids
from sectool.cms.algorithms import derive_key
from sectool.cms.envelope import read_envelope
from sectool.cms.identifiers import AlgorithmIdentifier
from sectool.cms.reader import CMSReader
from sectool.errors import (
    CertificateUnusable,
    MalformedMessage,
    MissingKey,
    UnsupportedMessage,
)
from sectool.message import BytesContent

if TYPE_CHECKING:
    from tests.cms.conftest import Forge, KeyRing, Person

Ring = Callable[..., "KeyRing"]
OpenBytes = Callable[..., tuple[cms.Authenticated | cms.Unproven, bytes]]
Seal = Callable[..., tuple[bytes, cms.Sealed]]

CONTENT = b"Content-Type: text/plain\r\n\r\n" + bytes(range(256)) * 300
ATTRIBUTE = der.sequence(der.oid("1.2.3.4"), der.set_of([der.octet_string(b"value")]))
OTHER = der.sequence(der.oid("1.2.3.5"), der.set_of([der.octet_string(b"other")]))


def opening_of(raw: bytes, keys: cms.KeySource) -> cms.Opening:
    return next(iter(cms.find_openings(BytesContent(raw), keys)))


def rewrap(
    raw: bytes,
    keys: cms.KeySource,
    recipients: Sequence[cms.Recipient],
    profile: cms.Profile = cms.Profile.COMPATIBLE,
) -> tuple[bytes, cms.Rewrapped]:
    sink = BytesIO()
    rewrapped = cms.rewrap_envelope(opening_of(raw, keys), sink, recipients, profile=profile)
    return sink.getvalue(), rewrapped


def encrypted_content(raw: bytes) -> bytes:
    blocks: list[bytes] = []
    read_envelope(BytesIO(raw), cms.DEFAULT_LIMITS, receive=blocks.append)
    return b"".join(blocks)


@pytest.mark.parametrize("profile", [cms.Profile.COMPATIBLE, cms.Profile.MODERN])
def test_only_the_new_recipient_opens_it_and_the_ciphertext_stays(
    profile: cms.Profile,
    bob: Person,
    alice: Person,
    ring: Ring,
    seal_bytes: Seal,
    open_bytes: OpenBytes,
) -> None:
    raw, sealed = seal_bytes(CONTENT, profile=profile)
    new, rewrapped = rewrap(raw, ring(bob), [alice.recipient], profile)
    result, content = open_bytes(new, ring(alice))
    assert content == CONTENT
    assert (result.envelope_digest, len(new)) == (rewrapped.digest, rewrapped.size)
    assert encrypted_content(new) == encrypted_content(raw)
    with pytest.raises(MissingKey):
        open_bytes(new, ring(bob))
    checked = cms.check_sealed(
        BytesContent(new), rewrapped.content_encryption_key, [alice.recipient], profile=profile
    )
    assert checked.content_sha256 == sealed.content_sha256


def test_every_former_recipient_is_dropped(
    bob: Person, alice: Person, person_maker: Callable[..., Person], ring: Ring, seal_bytes: Seal
) -> None:
    carol = person_maker("carol")
    raw, _ = seal_bytes(CONTENT, bob, alice)
    new, _ = rewrap(raw, ring(bob), [carol.recipient])
    infos = read_envelope(BytesIO(new), cms.DEFAULT_LIMITS).recipients.kept
    assert [info.identifier for info in infos] == [carol.recipient.identifier]


def test_unauthenticated_attributes_stay_and_ask_for_their_version(
    forge: Forge, bob: Person, alice: Person, ring: Ring, open_bytes: OpenBytes
) -> None:
    # RFC 5652 section 6.1: version 2 where there are unprotectedAttrs.
    attributes = b"\xa1" + der.set_of([ATTRIBUTE])[1:]
    raw = forge.cbc(CONTENT, after=attributes, version=2)
    new, _ = rewrap(raw, ring(bob), [alice.recipient])
    assert new.endswith(attributes)
    assert _version(new) == 2
    assert open_bytes(new, ring(alice))[1] == CONTENT


def test_authenticated_attributes_stay_in_the_order_their_tag_was_made_of(
    forge: Forge, bob: Person, alice: Person, ring: Ring, open_bytes: OpenBytes
) -> None:
    in_order = der.set_of([ATTRIBUTE, OTHER])
    out_of_order = der.element(0xA1, OTHER + ATTRIBUTE)
    raw = forge.gcm(CONTENT, attributes=out_of_order, signed_attributes=b"\xa1" + in_order[1:])
    new, rewrapped = rewrap(raw, ring(bob), [alice.recipient], cms.Profile.MODERN)
    result, content = open_bytes(new, ring(alice))
    assert (content, type(result)) == (CONTENT, cms.Authenticated)
    assert b"\xa1" + in_order[1:] in new
    cms.check_sealed(BytesContent(new), rewrapped.content_encryption_key, [alice.recipient])


@pytest.mark.parametrize("tag_size", [12, None], ids=["12", "absent"])
def test_the_tag_stays_as_long_as_it_is(
    tag_size: int | None,
    forge: Forge,
    bob: Person,
    alice: Person,
    ring: Ring,
    open_bytes: OpenBytes,
) -> None:
    raw = forge.gcm(CONTENT, tag_size=tag_size, tag=lambda tag: tag[:12])
    new, _ = rewrap(raw, ring(bob), [alice.recipient], cms.Profile.MODERN)
    result, content = open_bytes(new, ring(alice))
    assert (content, type(result)) == (CONTENT, cms.Authenticated)


def test_chunked_content_becomes_der(
    forge: Forge, bob: Person, alice: Person, ring: Ring, open_bytes: OpenBytes
) -> None:
    whole = encrypted_content(forge.cbc(CONTENT))
    chunks = [whole[start : start + 1000] for start in range(0, len(whole), 1000)]
    field = b"\xa0\x80" + b"".join(map(der.octet_string, chunks)) + b"\0\0"
    new, _ = rewrap(forge.cbc(CONTENT, field=field), ring(bob), [alice.recipient])
    assert der.canonical(new, cms.DEFAULT_LIMITS) == new
    assert open_bytes(new, ring(alice))[1] == CONTENT


def test_the_originator_info_goes(
    forge: Forge, bob: Person, alice: Person, ring: Ring, open_bytes: OpenBytes
) -> None:
    raw = forge.cbc(CONTENT, before=der.element(0xA0, b""), version=2)
    new, _ = rewrap(raw, ring(bob), [alice.recipient])
    assert _version(new) == 0
    assert open_bytes(new, ring(alice))[1] == CONTENT


def test_a_derived_key_is_derived_again(
    forge: Forge, bob: Person, alice: Person, ring: Ring, open_bytes: OpenBytes
) -> None:
    # RFC 9709: the recipients are given the input of the derivation.
    inner = AlgorithmIdentifier(oids.AES_256_CBC, der.octet_string(bytes(16)))
    key = bytes(range(32))
    cipher = Cipher(algorithms.AES(derive_key(key, inner)), modes.CBC(bytes(16))).encryptor()
    padding = 16 - len(CONTENT) % 16
    raw = forge.cbc(
        encrypted=cipher.update(CONTENT + bytes((padding,)) * padding),
        algorithm=der.sequence(der.oid(oids.CEK_HKDF_SHA256), inner.encode()),
        recipients=[forge.recipient(key=key)],
    )
    new, rewrapped = rewrap(raw, ring(bob), [alice.recipient])
    assert rewrapped.content_encryption_key == key
    assert open_bytes(new, ring(alice))[1] == CONTENT


def test_content_that_the_profile_does_not_write_is_refused(
    bob: Person, alice: Person, ring: Ring, seal_bytes: Seal
) -> None:
    raw, _ = seal_bytes(CONTENT, profile=cms.Profile.MODERN)
    opening = opening_of(raw, ring(bob))
    assert "aes-256-gcm" in cms.why_not_rewrapped(opening, cms.Profile.COMPATIBLE)
    with pytest.raises(UnsupportedMessage, match="profile compatible"):
        rewrap(raw, ring(bob), [alice.recipient])


def test_weak_content_is_refused(forge: Forge, bob: Person, alice: Person, ring: Ring) -> None:
    algorithm = der.sequence(der.oid(oids.DES_EDE3_CBC), der.octet_string(bytes(8)))
    raw = forge.cbc(CONTENT, algorithm=algorithm, recipients=[forge.recipient(key=bytes(24))])
    with pytest.raises(UnsupportedMessage, match="des-ede3-cbc, which is not kept"):
        rewrap(raw, ring(bob), [alice.recipient])


def test_a_certificate_that_cannot_serve_is_refused(
    bob: Person, alice: Person, ring: Ring, seal_bytes: Seal
) -> None:
    raw, _ = seal_bytes(CONTENT, profile=cms.Profile.MODERN)
    with pytest.raises(CertificateUnusable):
        rewrap(raw, ring(bob), [alice.recipient], cms.Profile.POST_QUANTUM)


def test_attributes_too_large_to_keep_are_refused_alone(
    forge: Forge, bob: Person, alice: Person, ring: Ring, open_as_bob: OpenBytes
) -> None:
    value = der.octet_string(bytes(cms.DEFAULT_LIMITS.attributes_size))
    attribute = der.sequence(der.oid("1.2.3.4"), der.set_of([value]))
    raw = forge.cbc(CONTENT, after=der.element(0xA1, attribute), version=2)
    assert open_as_bob(raw)[1] == CONTENT
    with pytest.raises(MalformedMessage):
        rewrap(raw, ring(bob), [alice.recipient])


def _version(raw: bytes) -> int:
    reader = CMSReader(BytesIO(raw))
    reader.enter(tags.SEQUENCE, "ContentInfo")
    reader.read_oid("contentType")
    reader.enter(tags.context(0), "content")
    reader.enter(tags.SEQUENCE, "the envelope")
    return reader.read_integer("version")
