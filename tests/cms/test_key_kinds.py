"""A recipient tells what kind of key it asks for, so that no other is tried on it."""

from __future__ import annotations

import io

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sectool import cms
from sectool.asn1 import der, tags
from sectool.cms import oids
from sectool.cms.identifiers import AlgorithmIdentifier
from sectool.cms.key_kinds import KeyKind, kind_of_recipient
from sectool.cms.recipients import RecipientInfo, RecipientKind
from sectool.keys.private_keys import SoftwareKey
from sectool.message import BytesContent
from tests.support.forge import Holder, make_holder


class _NoKeys:
    def find(self, _identifier: cms.RecipientIdentifier) -> tuple[cms.KeyOperations, ...]:
        return ()


def kinds_asked_for(*holders: Holder) -> list[KeyKind]:
    sink = io.BytesIO()
    recipients = [holder.recipient for holder in holders]
    content = BytesContent(b"Content-Type: text/plain\r\n\r\nhello\r\n")
    cms.seal_envelope(content, sink, recipients, profile=cms.Profile.ALSO_CLASSIC)
    with pytest.raises(cms.UnknownRecipients) as caught:
        cms.find_openings(BytesContent(sink.getvalue()), _NoKeys())
    kinds = {one.identifier: one.kind for one in caught.value.recipients}
    assert len(kinds) == len(holders)
    return [kinds[recipient.identifier] for recipient in recipients]


HOLDERS = ("rsa", "p-256", "p-384", "p-521", "x25519", "ml-kem-768", "ml-kem-1024")


def test_a_recipient_asks_for_a_key_of_the_kind_it_was_encrypted_to_and_no_other() -> None:
    holders = [make_holder(kind) for kind in HOLDERS]
    asked = kinds_asked_for(*holders)
    held = [cms.kind_of_key(holder.operations.public_key_info) for holder in holders]
    fits = [[kind.fits(key) for key in held] for kind in asked]
    assert fits == [[row == column for column in HOLDERS] for row in HOLDERS]


@pytest.mark.parametrize("bits", [1024, 2047, 3072, 4096])
def test_an_rsa_recipient_asks_for_a_modulus_as_long_as_its_encrypted_key(bits: int) -> None:
    key = rsa.generate_private_key(65537, bits)
    held = cms.kind_of_key(SoftwareKey(key, "").public_key_info)
    size = (bits + 7) // 8
    for octets in (size, size - 1):
        # One that has lost a leading zero, as some writers drop it.
        info = RecipientInfo(RecipientKind.KEY_TRANSPORT, encrypted_key=bytes(octets))
        kind = kind_of_recipient(info)
        assert kind is not None
        assert kind.fits(held)
    other = cms.kind_of_key(make_holder("rsa").operations.public_key_info)
    assert held.fits(other) == (size == 256)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("named", [False, True])
def test_a_curve_that_is_named_keeps_keys_on_others_of_its_size_out(
    named: bool, compressed: bool
) -> None:
    curve = der.oid("1.2.840.10045.3.1.7") if named else None
    point = (
        make_holder("p-256")
        .key.public_key()
        .public_bytes(
            Encoding.X962,
            PublicFormat.CompressedPoint if compressed else PublicFormat.UncompressedPoint,
        )
    )
    algorithm = AlgorithmIdentifier(oids.EC_PUBLIC_KEY, curve).encode()
    key = der.element(
        tags.context(1) | tags.CONSTRUCTED, algorithm + der.element(tags.BIT_STRING, b"\0" + point)
    )
    info = RecipientInfo(RecipientKind.KEY_AGREEMENT, detail=der.explicit(0, key))
    kind = kind_of_recipient(info)
    assert kind is not None
    for holder, fits in (("p-256", True), ("brainpool-256", not named), ("p-384", False)):
        held = cms.kind_of_key(make_holder(holder).operations.public_key_info)
        assert kind.fits(held) == fits


def test_an_originator_that_is_damaged_asks_for_nothing() -> None:
    assert kind_of_recipient(RecipientInfo(RecipientKind.KEY_AGREEMENT, detail=b"\xa0\x05")) is None
    assert kind_of_recipient(RecipientInfo(RecipientKind.PASSWORD)) is None
