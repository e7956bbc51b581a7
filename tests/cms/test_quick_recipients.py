"""What is read of a RecipientInfo in the quick way is what the proper way reads, or nothing."""

from __future__ import annotations

import io
import random

import pytest

from sectool import cms
from sectool.asn1 import der
from sectool.cms import IssuerAndSerialNumber, RecipientIdentifier, SubjectKeyIdentifier
from sectool.cms.envelope import Envelope, read_envelope
from sectool.cms.envelope_head import quick_envelope_head, read_envelope_head_properly
from sectool.cms.limits import DEFAULT_LIMITS
from sectool.cms.reader import CMSReader
from sectool.cms.recipients import RecipientInfo, quick_key_transport, read_recipient_infos
from sectool.cms.usual_form import read_usual_envelope
from sectool.errors import MessageError
from tests.cms.conftest import Forge

NAME = der.sequence(der.set_of([der.sequence(der.oid("2.5.4.3"), der.element(0x0C, b"somebody"))]))
IDENTIFIERS: dict[str, RecipientIdentifier] = {
    "by name": IssuerAndSerialNumber(NAME, 0x80FF),
    "by a negative number": IssuerAndSerialNumber(NAME, -5),
    "by key": SubjectKeyIdentifier(bytes(range(20))),
}


class Dribble(io.BytesIO):
    """Gives a few bytes at a time, so that no element lies whole in a buffer."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size or 0, 7))


def read(stream: io.BytesIO) -> list[RecipientInfo] | type[MessageError]:
    try:
        return list(read_recipient_infos(CMSReader(stream)))
    except MessageError as error:
        return type(error)


@pytest.mark.parametrize("identifier", IDENTIFIERS.values(), ids=IDENTIFIERS)
def test_both_ways_read_the_same_of_whole_and_of_damaged_recipients(
    identifier: RecipientIdentifier, forge: Forge
) -> None:
    raw = forge.recipient(identifier=identifier, encrypted_key=bytes(128))
    assert quick_key_transport(raw, DEFAULT_LIMITS) is not None
    chance = random.Random(7)
    for _ in range(1_500):
        damaged = bytearray(raw)
        for _ in range(chance.randrange(3)):
            damaged[chance.randrange(min(len(raw), 100))] = chance.choice(
                (0, 1, 2, 4, 5, 6, 0x30, 0x31, 0x80, 0x81, 0x82, 0xFF, chance.randrange(256))
            )
        infos = der.element(0x31, raw + bytes(damaged) + raw)
        assert read(io.BytesIO(infos)) == read(Dribble(infos))


@pytest.mark.parametrize("size", [10, 300, 70_000])
def test_a_head_that_is_read_the_quick_way_says_what_the_proper_way_says(
    size: int, forge: Forge
) -> None:
    raw = _envelope(forge, size, cms.ENVELOPED_DATA)
    found = quick_envelope_head(raw, DEFAULT_LIMITS)
    assert found == read_envelope_head_properly(raw, DEFAULT_LIMITS)
    assert found is not None
    assert found.size == len(raw)
    chance = random.Random(8)
    quick = 0
    for _ in range(1_500):
        damaged = bytearray(raw[: chance.choice((900, chance.randrange(1, 900)))])
        for _ in range(chance.randrange(3)):
            damaged[chance.randrange(len(damaged))] = chance.choice(
                (0, 1, 2, 4, 5, 6, 0x30, 0x31, 0x80, 0x81, 0x82, 0x83, 0xA0, chance.randrange(256))
            )
        one = quick_envelope_head(bytes(damaged), DEFAULT_LIMITS)
        if one is not None:
            quick += 1
            assert one == read_envelope_head_properly(bytes(damaged), DEFAULT_LIMITS)
    assert quick > 100


def _envelope(forge: Forge, size: int, content_type: str, behind: bytes = b"") -> bytes:
    infos = der.element(
        0x31,
        b"".join(
            forge.recipient(identifier=one, encrypted_key=bytes(128))
            for one in IDENTIFIERS.values()
        ),
    )
    algorithm = der.sequence(der.oid("2.16.840.1.101.3.4.1.42"), der.octet_string(bytes(16)))
    content = der.sequence(der.oid(cms.ID_DATA), algorithm, der.element(0x80, bytes(size)))
    envelope = der.sequence(der.integer(0), infos, content, behind)
    return der.sequence(der.oid(content_type), der.explicit(0, envelope))


def properly(raw: bytes) -> Envelope | None:
    try:
        return read_envelope(io.BytesIO(raw))
    except MessageError:
        return None


ATTRIBUTES = der.element(0xA1, der.sequence(der.oid("1.2.3"), der.set_of([der.NULL])))
MAC = der.octet_string(bytes(16))


@pytest.mark.parametrize(
    ("content_type", "behind"),
    [
        (cms.ENVELOPED_DATA, b""),
        (cms.AUTH_ENVELOPED_DATA, MAC),
        (cms.AUTH_ENVELOPED_DATA, ATTRIBUTES + MAC),
    ],
)
def test_a_whole_envelope_of_the_usual_form_is_what_the_proper_way_says(
    content_type: str, behind: bytes, forge: Forge
) -> None:
    raw = _envelope(forge, 300, content_type, behind)
    found = read_usual_envelope(raw + b"\r\n", DEFAULT_LIMITS)
    assert found is not None
    assert found == properly(raw + b"\r\n")
    chance = random.Random(9)
    places = [*range(60), *range(len(raw) - 420, len(raw) - 300), *range(len(raw) - 60, len(raw))]
    told = 0
    for _ in range(3_000):
        damaged = bytearray(raw[: len(raw) - chance.choice((0, 0, 0, 1, 40))])
        for _ in range(chance.randrange(3)):
            damaged[min(chance.choice(places), len(damaged) - 1)] = chance.choice(
                (0, 1, 2, 4, 5, 6, 0x10, 0x30, 0x31, 0x80, 0x81, 0x82, 0xA0, 0xA1, 0xA2)
            )
        one = read_usual_envelope(bytes(damaged), DEFAULT_LIMITS)
        told += one is not None
        assert one in {None, properly(bytes(damaged))}
    assert 100 < told < 3_000


def test_what_is_beside_the_usual_form_is_left_to_the_proper_way(forge: Forge) -> None:
    unprotected = der.element(0xA1, bytes(8))
    for raw in (
        _envelope(forge, 30, cms.ENVELOPED_DATA, unprotected),
        _envelope(forge, 30, cms.AUTH_ENVELOPED_DATA, MAC + der.element(0xA2, bytes(8))),
        _envelope(forge, 30, cms.ENVELOPED_DATA)[:-1],
        _envelope(forge, 30, cms.SIGNED_DATA),
    ):
        assert read_usual_envelope(raw, DEFAULT_LIMITS) is None
