"""An envelope is described without a key, whatever its algorithms."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from sectool import cms
from sectool.asn1 import der
from sectool.cms import oids
from sectool.errors import LimitExceeded, MalformedMessage
from sectool.message import BytesContent

if TYPE_CHECKING:
    from tests.cms.conftest import Forge, Person

Seal = Callable[..., tuple[bytes, cms.Sealed]]


def describe(raw: bytes, limits: cms.Limits = cms.DEFAULT_LIMITS) -> cms.EnvelopeDescription:
    return cms.describe_envelope(BytesContent(raw), limits)


def test_a_description_tells_all_that_stands_outside_the_content(forge: Forge, bob: Person) -> None:
    raw = forge.cbc(bytes(100))
    description = describe(raw + b"\r\n")
    assert description.content_type == cms.ENVELOPED_DATA
    assert description.content_encryption_algorithm == "aes-256-cbc"
    assert description.encrypted_content_type == cms.ID_DATA
    assert description.encrypted_content_size == 112
    assert description.digest == hashlib.sha256(raw).hexdigest()
    assert (description.size, description.trailing_bytes) == (len(raw), 2)
    (recipient,) = description.recipients
    assert recipient.kind == "key-transport"
    assert recipient.key_encryption_algorithm == "rsa-pkcs1-v1_5"
    assert recipient.identifier == bob.recipient.identifier
    assert recipient.key.issuer == r"CN=bob,O=Example\, Inc."
    assert int(recipient.key.serial_number, 16) == bob.certificate.serial_number
    assert recipient.key.subject_key_identifier == ""


def test_a_recipient_by_subject_key_identifier_is_shown_in_hexadecimal(
    forge: Forge, bob: Person
) -> None:
    identifier = bob.subject_key_identifier
    raw = forge.cbc(recipients=[forge.recipient(identifier=identifier)])
    (recipient,) = describe(raw).recipients
    assert recipient.key.subject_key_identifier == identifier.value.hex()
    assert recipient.key.names[:2] == ("", "")


@pytest.mark.parametrize(
    ("oid", "name"),
    [
        ("1.2.840.113549.3.2", "rc2-cbc"),
        ("1.2.840.113549.3.7", "des-ede3-cbc"),
        ("1.3.14.3.2.7", "des-cbc"),
        ("1.2.840.113533.7.66.10", "cast5-cbc"),
        ("1.2.392.200011.61.1.1.1.4", "camellia-256-cbc"),
        ("2.16.840.1.101.3.4.1.7", "aes-128-ccm"),
        ("2.16.840.1.101.3.4.1.46", "aes-256-gcm"),
        ("1.2.840.113549.1.9.16.3.18", "chacha20-poly1305"),
        ("1.2.3.4.5", "1.2.3.4.5"),
    ],
)
def test_algorithms_are_named_though_they_cannot_be_opened(
    oid: str, name: str, forge: Forge
) -> None:
    algorithm = der.sequence(der.oid(oid), der.sequence(der.integer(1)))
    assert describe(forge.cbc(algorithm=algorithm)).content_encryption_algorithm == name


def test_kinds_of_recipients_are_named(forge: Forge) -> None:
    wrap = der.sequence(der.oid("2.16.840.1.101.3.4.1.45"))
    recipients = [
        der.element(
            0xA2,
            der.integer(4) + der.sequence(der.octet_string(b"l")) + wrap + der.octet_string(b"k"),
        ),
        der.element(0xA3, der.integer(0) + der.explicit(0, wrap) + wrap + der.octet_string(b"k")),
        der.element(0xA4, der.oid("1.2.3") + der.NULL),
        der.element(0xA7, b"\xff\xff"),
    ]
    description = describe(forge.cbc(recipients=recipients))
    assert [recipient.kind for recipient in description.recipients] == [
        "key-encryption-key",
        "password",
        "other",
        "other",
    ]


def test_detached_content_is_described_as_absent(forge: Forge) -> None:
    assert describe(forge.cbc(field=b"")).encrypted_content_size is None


def crowd(forge: Forge, count: int, *at_the_end: bytes) -> bytes:
    """To that many people nobody knows, each of another serial number, and then to some."""
    identifier = forge.person.recipient.identifier
    assert isinstance(identifier, cms.IssuerAndSerialNumber)
    others = (
        forge.recipient(
            identifier=replace(identifier, serial_number=number + 1), encrypted_key=bytes(256)
        )
        for number in range(count)
    )
    return forge.cbc(recipients=[*others, *at_the_end])


def test_of_ten_thousand_recipients_the_first_are_kept_and_all_counted(forge: Forge) -> None:
    description = describe(crowd(forge, 10_000))
    assert [one.key.serial_number for one in description.recipients[:3]] == ["01", "02", "03"]
    assert len(description.recipients) == cms.DEFAULT_LIMITS.recipients
    assert (description.recipients_total, description.recipients_complete) == (10_000, False)


def test_a_recipient_that_is_asked_for_is_kept_wherever_it_stands(forge: Forge) -> None:
    raw = crowd(forge, 10_000, forge.recipient())
    wanted = forge.person.recipient.identifier
    for cut in (len(raw), len(raw) - 1):  # whole and damaged
        seen = cms.read_recipients(BytesContent(raw[:cut]), wanted=wanted.__eq__)
        assert seen.recipients[-1].identifier == wanted
        assert seen.is_complete
    description = cms.describe_envelope(BytesContent(raw), wanted=wanted.__eq__)
    assert description.recipients[-1].identifier == wanted
    assert (description.recipients_total, description.recipients_complete) == (10_001, True)


def test_more_of_those_asked_for_than_are_kept_are_not_complete(forge: Forge) -> None:
    raw = forge.cbc(recipients=[forge.recipient()] * 7)
    limits = cms.Limits(recipients=2, wanted_recipients=3)
    description = cms.describe_envelope(BytesContent(raw), limits, wanted=lambda _: True)
    assert len(description.recipients) == 5
    assert (description.recipients_total, description.recipients_complete) == (7, False)


@pytest.mark.parametrize(
    "limits", [cms.Limits(recipient_infos_size=500), cms.Limits(name_size=10)], ids=["size", "name"]
)
def test_what_takes_too_much_space_is_counted_and_not_kept(
    limits: cms.Limits, forge: Forge
) -> None:
    description = describe(forge.cbc(recipients=[forge.recipient()] * 3), limits)
    assert len(description.recipients) < 3
    assert (description.recipients_total, description.recipients_complete) == (3, False)


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param(cms.Limits(encrypted_key_size=255), id="encrypted-key"),
        pytest.param(cms.Limits(parameters_size=4), id="parameters"),
        pytest.param(cms.Limits(depth=3), id="depth"),
    ],
)
def test_every_bound_is_kept(limits: cms.Limits, forge: Forge) -> None:
    raw = forge.cbc(recipients=[forge.recipient()] * 3)
    describe(raw)
    with pytest.raises(LimitExceeded):
        describe(raw, limits)


def test_too_many_attributes_to_authenticate_are_refused(forge: Forge) -> None:
    attributes = der.element(0xA1, der.octet_string(bytes(1000)))
    with pytest.raises(LimitExceeded, match="authAttrs"):
        describe(forge.gcm(attributes=attributes), cms.Limits(attributes_size=999))


@pytest.mark.parametrize(
    "oid",
    [cms.ID_DATA, cms.SIGNED_DATA, cms.ENVELOPED_DATA, cms.COMPRESSED_DATA, "1.2.3"],
)
@pytest.mark.parametrize("form", ["der", "ber", "bare"])
def test_the_content_type_is_identified_from_the_head(oid: str, form: str) -> None:
    forms = {
        "der": der.sequence(der.oid(oid), der.explicit(0, der.octet_string(bytes(500)))),
        "ber": b"\x30\x80" + der.oid(oid) + b"\xa0\x80\x24\x80",
        "bare": der.sequence(der.oid(oid)),
    }
    assert cms.identify(forms[form]) == oid


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"From: someone@example.org\r\n\r\nhello", id="mail"),
        pytest.param(b"-----BEGIN PKCS7-----\n", id="pem"),
        pytest.param(der.sequence(der.integer(3), der.sequence()), id="pkcs12"),
        pytest.param(der.sequence(der.sequence(der.integer(1))), id="certificate"),
        pytest.param(der.sequence(der.oid(oids.RSA_ENCRYPTION), der.NULL), id="algorithm"),
        pytest.param(b"\x30\x80" * 10_000, id="B06"),
    ],
)
def test_what_is_not_a_content_info_is_not_identified(raw: bytes) -> None:
    with pytest.raises(MalformedMessage, match="not a CMS ContentInfo"):
        cms.identify(raw)


def test_another_content_type_is_named_when_it_is_no_envelope() -> None:
    raw = der.sequence(der.oid(cms.SIGNED_DATA), der.explicit(0, der.sequence()))
    with pytest.raises(MalformedMessage, match="signed-data"):
        describe(raw)


def test_names_of_content_types_are_known_or_dotted() -> None:
    assert cms.content_type_name(cms.AUTH_ENVELOPED_DATA) == "auth-enveloped-data"
    assert cms.content_type_name("1.2.3") == "1.2.3"


def test_the_digest_is_what_sealing_said(seal_bytes: Seal) -> None:
    raw, sealed = seal_bytes(b"content")
    assert (describe(raw).digest, describe(raw).size) == (sealed.digest, sealed.size)
