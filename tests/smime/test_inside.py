"""What is encrypted inside a plaintext is found as it is in a message."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace

import pytest

from sectool import cms, smime
from sectool.message import BytesContent, Content, Sink
from tests.support.layers import FOOTER, TEXT, forward, message, multipart
from tests.support.signing import Signatory, make_signatory, openssl, sign
from tests.support.wrappings import (
    ATTACHMENT,
    ATTACHMENT_DATA,
    attribute,
    compressed,
    tnef,
    uuencoded,
)


@pytest.fixture(scope="module")
def part(envelope: bytes) -> bytes:
    text = base64.encodebytes(envelope).replace(b"\n", b"\r\n").removesuffix(b"\r\n")
    fields = b"Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: base64\r\n"
    return fields + b"\r\n" + text


@pytest.fixture(scope="module")
def alice(tmp_path_factory: pytest.TempPathFactory) -> Signatory:
    return make_signatory(tmp_path_factory.mktemp("signatory"), "alice")


def look(plaintext: bytes, content_type: str = cms.ID_DATA) -> smime.Inside:
    return smime.look_inside(BytesContent(plaintext), content_type)


def in_memory(plaintext: bytes) -> Content:
    return BytesContent(plaintext)


def pushed(plaintext: bytes) -> Content:
    def write_to(sink: Sink) -> None:
        sink.write(plaintext)

    return smime.PushedContent(write_to, len(plaintext))


@pytest.mark.parametrize("content_of", [in_memory, pushed])
def test_each_layer_is_told_with_where_it_lies(
    part: bytes, envelope: bytes, content_of: Callable[[bytes], Content]
) -> None:
    plaintext = multipart(
        FOOTER, part, forward(message(2, part)), multipart(part, subtype=b"signed", boundary=b"s")
    )
    inside = smime.look_inside(content_of(plaintext), cms.ID_DATA)
    assert [(one.path, one.placement.value) for one in inside.parts] == [
        ("2", "wrapped"),
        ("3.1", "forwarded"),
        ("4.1", "sealed-among-others"),
    ]
    for one in inside.parts:
        assert base64.b64decode(plaintext[one.body_start : one.body_end]) == envelope
    assert (inside.covered, inside.problem) == ((), "")


def test_a_layer_is_found_without_a_header_around_it(envelope: bytes) -> None:
    (one,) = look(envelope).parts
    assert (one.path, one.header.fields, one.body_start) == ("", (), 0)


@pytest.mark.parametrize("content_of", [in_memory, pushed])
def test_a_layer_that_opaque_signatures_cover_stands_in_the_place_of_the_outermost(
    part: bytes, alice: Signatory, envelope: bytes, content_of: Callable[[bytes], Content]
) -> None:
    signed = sign(alice, sign(alice, part, "-nodetach"), "-nodetach")
    inside = smime.look_inside(content_of(signed), cms.ID_DATA)
    (one,) = inside.parts
    assert (inside.covered, one.path) == ((), "")
    assert one.placement is smime.Placement.SEALED_OPAQUE
    with one.source.open() as stream:
        assert stream.read() == envelope


@pytest.mark.parametrize("form", ["among parts", "beside a field"])
def test_a_layer_that_is_not_all_an_opaque_signature_covers_can_be_read_but_not_replaced(
    form: str, part: bytes, alice: Signatory, envelope: bytes
) -> None:
    covered = {"among parts": multipart(part, part), "beside a field": b"Subject: x\r\n" + part}
    signed = sign(alice, covered[form], "-nodetach")
    inside = look(signed)
    assert inside.parts == ()
    for one in inside.covered:
        with one.part.source.open() as stream:
            assert stream.read() == envelope


def test_signed_data_is_looked_into_with_and_without_its_content_info(
    part: bytes, alice: Signatory
) -> None:
    der = openssl(
        *("cms", "-sign", "-binary", "-nodetach", "-outform", "DER"), *alice.files, given=part
    )
    # Of the ContentInfo the type goes, and both headers around the SignedData.
    at = der.index(bytes.fromhex("06092a864886f70d010702")) + 11
    bare = der[at + 2 + (der[at + 1] & 0x7F) :]
    for content in (der, bare):
        (one,) = look(content, cms.SIGNED_DATA).covered
        assert one.path == "~"


def test_an_envelope_without_its_content_info_is_told_as_unknown(envelope: bytes) -> None:
    assert "without a MIME header" in look(envelope, cms.ENVELOPED_DATA).problem


def test_a_plaintext_beyond_the_bounds_is_told_as_unknown(part: bytes) -> None:
    plaintext = multipart(*[part] * 5)
    limits = replace(smime.DEFAULT_LIMITS, entities=3)
    assert smime.look_inside(BytesContent(plaintext), cms.ID_DATA, limits).problem


def test_compressed_data_without_its_content_info_is_looked_into(part: bytes) -> None:
    (one,) = look(compressed(part, bare=True), cms.COMPRESSED_DATA).covered
    assert (one.path, one.reason) == (
        "~",
        "an encrypted layer lies inside a compression; it is not taken",
    )


def test_a_layer_under_a_compression_can_be_read_but_not_replaced(
    part: bytes, envelope: bytes
) -> None:
    fields = b"Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    inside = look(fields + compressed(part))
    (one,) = inside.covered
    with one.part.source.open() as stream:
        assert (inside.parts, stream.read()) == ((), envelope)


HIDING: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "uuencode": (
        lambda raw: b"Content-Type: application/octet-stream\r\n\r\n" + uuencoded(raw),
        "uuencoded",
    ),
    "TNEF": (
        lambda raw: (
            b"Content-Type: application/ms-tnef\r\n\r\n"
            + tnef(attribute(ATTACHMENT, ATTACHMENT_DATA, raw))
        ),
        "TNEF",
    ),
    "another compression": (
        lambda raw: (
            b"Content-Type: application/pkcs7-mime\r\n\r\n" + compressed(raw, algorithm="1.2.3")
        ),
        "compression 1.2.3",
    ),
}


@pytest.mark.parametrize("name", HIDING)
def test_what_hides_a_layer_is_told_as_unknown(name: str, envelope: bytes) -> None:
    hide, reason = HIDING[name]
    assert reason in look(hide(envelope)).problem
    assert reason in look(multipart(FOOTER, hide(envelope))).problem
    covered = compressed(hide(envelope), bare=True)
    assert reason in look(covered, cms.COMPRESSED_DATA).problem


def test_another_compression_without_its_content_info_is_told_as_unknown(part: bytes) -> None:
    bare = compressed(part, algorithm="1.2.3", bare=True)
    assert "compression 1.2.3" in look(bare, cms.COMPRESSED_DATA).problem


@pytest.mark.parametrize(
    "content_type", [cms.ID_DATA, cms.SIGNED_DATA, cms.COMPRESSED_DATA, "1.2.3.4"]
)
def test_what_holds_no_layer_holds_no_problem_either(content_type: str) -> None:
    assert look(TEXT, content_type) == smime.Inside()
