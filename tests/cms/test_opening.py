"""Envelopes open to their content, and results say what is proven."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from sectool import cms
from sectool.asn1 import der
from sectool.cms import envelope, oids
from sectool.cms.seams import OAEP, PKCS1v15
from sectool.errors import (
    DecryptionFailed,
    MessageError,
    MissingKey,
)
from sectool.message import BytesContent
from tests.support.forge import CONTENT_ENCRYPTION_KEY, IV
from tests.support.opening import open_envelope

if TYPE_CHECKING:
    from tests.cms.conftest import Forge, KeyRing, Person

Ring = Callable[..., "KeyRing"]
OpenBytes = Callable[..., tuple[cms.Authenticated | cms.Unproven, bytes]]
Seal = Callable[..., tuple[bytes, cms.Sealed]]
Case = Callable[["Forge"], bytes]

CONTENT = b"Content-Type: text/plain\r\n\r\nThe plans are in the blue folder.\r\n"


@pytest.mark.parametrize("size", range(33))
def test_every_length_of_padding_is_taken_off(
    size: int, forge: Forge, open_as_bob: OpenBytes
) -> None:
    """B28: sizes that are whole blocks carry a full block of padding."""
    _, content = open_as_bob(forge.cbc(bytes(size)))
    assert content == bytes(size)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        pytest.param(lambda forge: forge.cbc(), (cms.Unproven, False), id="v1.5-cbc"),
        pytest.param(lambda forge: forge.gcm(), (cms.Authenticated, True), id="v1.5-gcm"),
        pytest.param(
            lambda forge: forge.cbc(recipients=[forge.recipient(rsa_padding=OAEP())]),
            (cms.Authenticated, False),
            id="oaep-cbc",
        ),
        pytest.param(
            lambda forge: forge.gcm(recipients=[forge.recipient(rsa_padding=OAEP())]),
            (cms.Authenticated, True),
            id="oaep-gcm",
        ),
    ],
)
def test_the_type_of_a_result_says_what_is_proven(
    make: Case, expected: tuple[type, bool], forge: Forge, open_as_bob: OpenBytes
) -> None:
    result, _ = open_as_bob(make(forge))
    assert (type(result), result.aead) == expected


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(bytes(range(1, 25)), id="B38-three-keys-of-bad-parity"),
        pytest.param(bytes(range(1, 17)), id="two-keys"),
    ],
)
def test_triple_des_opens(key: bytes, forge: Forge, open_as_bob: OpenBytes) -> None:
    triple_des = TripleDES(key if len(key) == 24 else key + key[:8])
    encryptor = Cipher(triple_des, modes.CBC(bytes(8))).encryptor()
    raw = forge.cbc(
        encrypted=encryptor.update(b"sixteen bytes ok" + b"\x08" * 8),
        algorithm=der.sequence(der.oid(oids.DES_EDE3_CBC), der.octet_string(bytes(8))),
        recipients=[forge.recipient(key=key)],
    )
    result, content = open_as_bob(raw)
    assert (content, type(result)) == (b"sixteen bytes ok", cms.Unproven)


def test_the_result_names_key_and_recipient(
    forge: Forge, bob: Person, open_as_bob: OpenBytes
) -> None:
    result, _ = open_as_bob(forge.cbc())
    assert (result.key_label, result.identifier) == ("bob", bob.recipient.identifier)


def test_a_missing_key_names_the_recipients_but_not_all_of_them(
    forge: Forge, ring: Ring, alice: Person, open_bytes: OpenBytes
) -> None:
    recipients = [forge.recipient(identifier=forge.person.subject_key_identifier)] * 4
    with pytest.raises(MissingKey) as caught:
        open_bytes(forge.cbc(recipients=[forge.recipient(), *recipients]), ring(alice))
    text = str(caught.value)
    assert "CN=bob" in text
    assert f"{forge.person.certificate.serial_number:x}" in text
    assert text.endswith("; 2 more")


def test_keys_are_asked_once_for_each_recipient_and_no_key_is_tried(
    forge: Forge, ring: Ring, alice: Person, open_bytes: OpenBytes
) -> None:
    keys = ring(alice)
    with pytest.raises(MissingKey):
        open_bytes(forge.cbc(recipients=[forge.recipient()] * 10_000), keys)
    assert keys.asked == 10_000


@pytest.mark.parametrize("kind", ["B24-issuer-and-serial-number", "B25-subject-key-identifier"])
def test_both_keys_of_one_identifier_are_tried(
    kind: str, forge: Forge, ring: Ring, both: tuple[Person, Person], open_bytes: OpenBytes
) -> None:
    bob, alice = both
    identifier: cms.RecipientIdentifier = bob.recipient.identifier
    if kind.startswith("B25"):
        identifier = bob.subject_key_identifier
    keys = ring().add(identifier, alice, bob)
    _, content = open_bytes(forge.gcm(recipients=[forge.recipient(identifier=identifier)]), keys)
    assert content == CONTENT


def test_a_key_of_the_same_identifier_that_does_not_fit_fails(
    forge: Forge, ring: Ring, alice: Person, bob: Person, open_bytes: OpenBytes
) -> None:
    keys = ring().add(bob.recipient.identifier, alice)
    with pytest.raises(DecryptionFailed):
        open_bytes(forge.gcm(), keys)


def test_a_malformed_oaep_recipient_does_not_hide_a_good_one(
    forge: Forge, open_as_bob: OpenBytes
) -> None:
    recipients = [
        forge.recipient(algorithm=der.sequence(der.oid(oids.RSAES_OAEP), der.NULL)),
        forge.recipient(),
    ]
    _, content = open_as_bob(forge.cbc(recipients=recipients))
    assert content == CONTENT


def test_equal_keys_give_one_candidate(forge: Forge, ring: Ring, bob: Person) -> None:
    raw = forge.cbc(recipients=[forge.recipient() for _ in range(5)])
    assert len(list(cms.find_openings(BytesContent(raw), ring(bob)))) == 1


@pytest.mark.parametrize(
    ("paddings", "results"),
    [
        ([PKCS1v15(), OAEP()], [cms.Unproven, cms.Authenticated]),
        ([OAEP(), PKCS1v15()], [cms.Authenticated]),
    ],
    ids=["proof-comes-second", "proof-comes-first"],
)
def test_a_proven_key_counts_though_an_unproven_one_was_equal(
    paddings: list[cms.RSAPadding], results: list[type], forge: Forge, ring: Ring, bob: Person
) -> None:
    raw = forge.cbc(recipients=[forge.recipient(rsa_padding=padding) for padding in paddings])
    openings = cms.find_openings(BytesContent(raw), ring(bob))
    assert [type(opening.decrypt(cms.DISCARD)) for opening in openings] == results


def test_a_key_of_wrong_length_is_no_candidate(forge: Forge, ring: Ring, bob: Person) -> None:
    """B26."""
    recipients = [forge.recipient(key=bytes(size)) for size in (0, 16, 24, 31, 33)]
    raw = forge.cbc(recipients=[*recipients, forge.recipient()])
    assert len(list(cms.find_openings(BytesContent(raw), ring(bob)))) == 1
    openings = cms.find_openings(BytesContent(forge.cbc(recipients=recipients)), ring(bob))
    with pytest.raises(DecryptionFailed):
        list(openings)


def test_nothing_reaches_the_sink_before_the_tag_is_checked(
    forge: Forge, ring: Ring, bob: Person
) -> None:
    raw = forge.gcm(bytes(300_000), tag=lambda tag: bytes(16))
    received: list[bytes] = []

    class Sink:
        def write(self, data: bytes, /) -> None:
            received.append(data)

    for limits in (cms.DEFAULT_LIMITS, cms.Limits(buffered_content=1000)):
        with pytest.raises(DecryptionFailed):
            open_envelope(BytesContent(raw), Sink(), ring(bob), limits)
    assert received == []


@pytest.mark.parametrize("profile", [cms.Profile.COMPATIBLE, cms.Profile.MODERN])
def test_large_content_is_proven_first_and_then_written(
    profile: cms.Profile, seal_bytes: Seal, open_as_bob: OpenBytes
) -> None:
    content = random.Random(5).randbytes(700_001)
    raw, _ = seal_bytes(content, profile=profile)
    _, opened = open_as_bob(raw, cms.Limits(buffered_content=1000))
    assert opened == content


@pytest.mark.parametrize("bound", [0, 20, 79, 80, 81, 95, 96, 200])
def test_content_in_segments_opens_whatever_of_it_fits_into_memory(
    bound: int, forge: Forge, open_as_bob: OpenBytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """80 bytes in eight segments take 96."""
    content = b"Subject: x\r\n\r\n".ljust(79, b"x")
    cipher = Cipher(AES(CONTENT_ENCRYPTION_KEY), modes.CBC(IV)).encryptor()
    encrypted = cipher.update(content + b"\1")
    segments = [encrypted[start : start + 10] for start in range(0, 80, 10)]
    field = der.element(0xA0, b"".join(map(der.octet_string, segments)))
    monkeypatch.setattr(envelope, "IN_MEMORY", bound)
    _, opened = open_as_bob(forge.cbc(field=field))
    assert opened == content


def test_a_source_that_changes_between_readings_is_noticed(
    forge: Forge, ring: Ring, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(envelope, "IN_MEMORY", 0)
    raw, other = forge.gcm(), forge.gcm(b"Content-Type: text/plain\r\n\r\nother")

    class Changing:
        def __init__(self) -> None:
            self.raws = [raw, other]

        def open(self) -> Any:
            return BytesContent(self.raws.pop(0)).open()

    with pytest.raises(MessageError, match="changed between two readings"):
        open_envelope(Changing(), cms.DISCARD, ring(bob))


def test_a_wrong_key_never_gives_an_authenticated_result(
    ring: Ring, alice: Person, bob: Person, seal_bytes: Seal, open_bytes: OpenBytes, whole: bool
) -> None:
    """B21, B23: alice's key stands under bob's identifier, against varied ciphertexts."""
    keys = ring().add(bob.recipient.identifier, alice)
    tally = {cms.Authenticated: 0, cms.Unproven: 0}
    for profile in (cms.Profile.COMPATIBLE, cms.Profile.MODERN):
        for _ in range(1500 if whole else 500):
            raw, _ = seal_bytes(b"some content", profile=profile)
            try:
                result, _ = open_bytes(raw, keys)
            except DecryptionFailed:
                continue
            tally[type(result)] += 1
    assert tally[cms.Authenticated] == 0
    assert tally[cms.Unproven] <= 3
