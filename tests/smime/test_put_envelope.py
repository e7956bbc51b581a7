"""New CMS in the place of old: every other byte is kept."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from sectool import cms, smime
from sectool.message import BytesContent
from sectool.outcome import State

NEW_FIELDS = (
    b"Content-Type: application/pkcs7-mime; smime-type=enveloped-data;|"
    b' name="smime.p7m"|'
    b"Content-Transfer-Encoding: base64|"
    b'Content-Disposition: attachment; filename="smime.p7m"|'
)
REPLACED = (
    b"Content-Type: application/x-pkcs7-mime;|\tname=old.p7m|",
    b"content-transfer-encoding:base64|",
    b"Content-Disposition: attachment;| filename=old.p7m|",
    b"Content-Description: S/MIME|",
    b"Content-ID: <1@example.org>|",
)
KEPT = (
    b"From: a@example.org|",
    b"MIME-Version: 1.0 (odd)|",
    b"X-Long: one|\ttwo|  three|",
    b"Subject: \xe4\xf6|",
    b"Content-Language: en|",
    b"Content-Type-X: no|",
    b">From a@b Mon Jan 7|",
    b"DKIM-Signature: v=1; h=from:|  subject|",
)


def splice(raw: bytes, *envelopes: bytes, parts: Sequence[smime.EncryptedPart] = ()) -> bytes:
    """The message with these CMS in the places of its parts."""
    content = BytesContent(raw)
    parts = parts or smime.take_inventory(content).parts
    left = list(envelopes)
    sink = io.BytesIO()

    def write_cms(_part: smime.EncryptedPart, cms_sink: cms.Sink) -> None:
        cms_sink.write(left.pop(0))

    smime.write_spliced(content, parts, sink, write_cms, smime_type="enveloped-data")
    assert not left
    return sink.getvalue()


def entity(envelope: bytes, line_end: bytes, fields: Sequence[bytes] = REPLACED[:2]) -> bytes:
    text = base64.encodebytes(envelope).removesuffix(b"\n").replace(b"\n", line_end)
    return b"".join(fields).replace(b"|", line_end) + line_end + text


@given(
    st.permutations([*REPLACED, *KEPT]),
    st.integers(2, len(REPLACED) + len(KEPT)),
    st.sampled_from([b"\r\n", b"\n"]),
)
def test_of_the_header_only_the_fields_of_the_body_are_replaced(
    envelope: bytes, fields: list[bytes], count: int, line_end: bytes
) -> None:
    fields = [b"To: b@example.org|", *fields[:count]]
    text = base64.encodebytes(envelope).replace(b"\n", line_end)
    raw = b"".join(fields).replace(b"|", line_end) + line_end + text
    places = [index for index, field in enumerate(fields) if field in REPLACED]
    expected = list(fields)
    mime_version = b"" if any(b"MIME-V" in field for field in fields) else b"MIME-Version: 1.0|"
    place = places[0] if places else len(fields)
    last_kept = max(index for index, field in enumerate(fields) if field not in REPLACED)
    if fields[last_kept].startswith(b">From") and places and places[-1] > last_kept:
        # A line that is no field must not come last in a header.
        place = places[-1]
    elif last_kept == len(fields) - 1 and fields[last_kept].startswith(b">From"):
        place = len(fields)
    expected.insert(place, mime_version + NEW_FIELDS)
    kept = b"".join(field for field in expected if field not in REPLACED)
    assert splice(raw, envelope) == kept.replace(b"|", line_end) + line_end + text


def test_a_damaged_line_among_the_fields_of_the_body_never_becomes_the_last_of_the_header(
    envelope: bytes, mail: Callable[..., bytes]
) -> None:
    """The text would begin there, and the CMS could not be read any more."""
    raw = mail(envelope).replace(b"Content-Transfer", b"no field\r\nContent-Transfer", 1)
    spliced = splice(raw, envelope)
    assert b"\r\nno field\r\nMIME-Version: 1.0\r\nContent-Type" in spliced
    (part,) = smime.take_inventory(BytesContent(spliced)).parts
    assert part.envelope.size == len(envelope)


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n"], ids=["CRLF", "LF"])
def test_a_damaged_line_that_ends_the_header_does_not_end_it_afterwards(
    line_end: bytes, envelope: bytes, mail: Callable[..., bytes]
) -> None:
    """What comes instead of the CMS need not look like CMS."""
    raw = mail(envelope, line_end=line_end).replace(
        2 * line_end, line_end + b"no field" + 2 * line_end
    )
    spliced = splice(raw, envelope)
    behind = b"no field|MIME-Version: 1.0|" + NEW_FIELDS + b"|"
    assert behind.replace(b"|", line_end) in spliced
    (part,) = smime.take_inventory(BytesContent(spliced)).parts
    assert part.envelope.size == len(envelope)


def layouts(envelope: bytes, line_end: bytes) -> dict[str, bytes]:
    root = b"From: a@example.org|MIME-Version: 1.0|".replace(b"|", line_end)
    part = entity(envelope, line_end)
    inside = root + part

    def multipart(*parts: bytes, end: bytes = b"--b--|epilogue|") -> bytes:
        text = b"Content-Type: multipart/mixed; boundary=b||preamble|"
        body = b"".join(b"--b|" + one + b"|" for one in parts) + end
        return root + (text + body).replace(b"|", line_end)

    rfc822 = b"Content-Type: message/rfc822||" + inside
    text = b"Content-Type: text/plain||hello"
    return {
        "root": inside,
        "root with a line end": inside + line_end,
        "root without a blank line": root + b"Content-Type: application/pkcs7-mime" + line_end
        + base64.encodebytes(envelope),
        "forward": multipart(text, rfc822, text),
        "two forwards": multipart(rfc822, rfc822),
        "forward at the end of a torn multipart": multipart(text, rfc822, end=b""),
        "forward alone": root + b"Content-Type: message/rfc822" + line_end * 2 + inside,
        "wrapped": multipart(part, text),
        "wrapped without header": multipart(
            b"|" + base64.encodebytes(envelope).rstrip().replace(b"\n", line_end)
        ),
    }  # fmt: skip


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n"], ids=["CRLF", "LF"])
@pytest.mark.parametrize("name", layouts(b"", b""))
def test_new_parts_are_found_in_the_old_places_among_the_same_bytes(
    name: str, line_end: bytes, envelope: bytes, seal: Callable[..., bytes]
) -> None:
    raw = layouts(envelope, line_end)[name]
    before = smime.take_inventory(BytesContent(raw))
    new = [seal(b"Subject: new\r\n\r\n%d" % number) for number in range(len(before.parts))]
    spliced = splice(raw, *new)
    after = smime.take_inventory(BytesContent(spliced))
    assert [part.path for part in after.parts] == [part.path for part in before.parts]
    assert [part.placement for part in after.parts] == [part.placement for part in before.parts]
    assert after.state is before.state
    for part, envelope_bytes in zip(after.parts, new, strict=True):
        assert not part.defects
        assert spliced[part.body_start : part.body_end].endswith(b"\n") is part.is_last
        with part.source.open() as stream:
            assert stream.read() == envelope_bytes
    # Only the digests of the parts tell the two messages apart.
    old_parts = [
        replace(part, envelope=other.envelope)
        for part, other in zip(after.parts, before.parts, strict=True)
    ]
    start = body_start(spliced)
    assert smime.identity_of_parts(BytesContent(spliced), start, old_parts) == before.identity
    assert surroundings(spliced, after) == surroundings(raw, before)


def body_start(raw: bytes) -> int:
    """Where the root body begins."""
    return min(raw.index(blank) + len(blank) for blank in (b"\r\n\r\n", b"\n\n") if blank in raw)


def surroundings(raw: bytes, inventory: smime.Inventory) -> list[bytes]:
    """All but the headers and bodies of the parts."""
    pieces, position = [], 0
    for part in inventory.parts:
        pieces.append(raw[position : part.header.start])
        position = part.body_end
    return [*pieces, raw[position:].strip()]


@pytest.mark.parametrize("name", layouts(b"", b""))
def test_splicing_twice_changes_nothing_more(name: str, envelope: bytes) -> None:
    raw = layouts(envelope, b"\r\n")[name]
    count = len(smime.take_inventory(BytesContent(raw)).parts)
    once = splice(raw, *[envelope] * count)
    assert splice(once, *[envelope] * count) == once


def test_one_of_several_parts_can_be_replaced_alone(
    envelope: bytes, seal: Callable[..., bytes]
) -> None:
    raw = layouts(envelope, b"\r\n")["two forwards"]
    parts = smime.take_inventory(BytesContent(raw)).parts
    spliced = splice(raw, seal(), parts=parts[1:])
    assert spliced.startswith(raw[: parts[1].header.start])
    after = smime.take_inventory(BytesContent(spliced)).parts
    assert after[0].envelope == parts[0].envelope
    assert after[1].envelope.digest != parts[1].envelope.digest


def test_the_outer_header_is_the_root_header_without_what_describes_a_body(
    envelope: bytes,
) -> None:
    for line_end in (b"\r\n", b"\n"):
        raw = entity(envelope, line_end, [KEPT[0], *REPLACED, *KEPT[1:]])
        content = BytesContent(raw)
        (part,) = smime.take_inventory(content).parts
        assert smime.outer_header(content, part) == b"".join(KEPT).replace(b"|", line_end)


def test_the_outer_header_of_a_forward_is_that_of_the_stored_message(envelope: bytes) -> None:
    content = BytesContent(layouts(envelope, b"\n")["forward"])
    (part,) = smime.take_inventory(content).parts
    assert smime.outer_header(content, part) == b"From: a@example.org\nMIME-Version: 1.0\n"


TYPES = {cms.ENVELOPED_DATA: "enveloped-data", cms.AUTH_ENVELOPED_DATA: "authEnveloped-data"}


@pytest.mark.parametrize("content_type", TYPES)
def test_the_smime_type_is_that_of_rfc_8551(content_type: str) -> None:
    assert smime.smime_type_of(content_type) == TYPES[content_type]


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n"], ids=["CRLF", "LF"])
def test_the_root_entity_of_a_message_in_clear_can_be_replaced(
    line_end: bytes, envelope: bytes
) -> None:
    clear = (
        b"From: a@example.org|X-Mark: 1|Content-Type: multipart/mixed; boundary=b|"
        b"Subject: plans||--b||one|--b--|"
    ).replace(b"|", line_end)
    content = BytesContent(clear)
    sink = io.BytesIO()
    smime.write_spliced(
        content,
        [smime.root_entity(content)],
        sink,
        lambda _, cms_sink: cms_sink.write(envelope),
        smime_type="enveloped-data",
        without=frozenset({b"x-mark"}),
    )
    text = base64.encodebytes(envelope).replace(b"\n", line_end)
    fields = b"From: a@example.org|MIME-Version: 1.0|" + NEW_FIELDS + b"Subject: plans||"
    assert sink.getvalue() == fields.replace(b"|", line_end) + text


def _texts_before(envelope: bytes) -> dict[str, bytes]:
    """What may stand before the base64 of an envelope, of which some readers miss the encoding."""
    damaged = base64.encodebytes(envelope)
    return {
        "a banner": b"CAUTION: external sender\n",
        "words that begin as CMS does": b"MIND THE GAP between train and platform\n",
        "CMS with a stray character": damaged[:50] + b"\xf8" + damaged[50:],
        "CMS that is cut": damaged[:50] + b"\xf8" + damaged[50 : len(damaged) // 2] + b"\n",
        "CMS among blanks and dots": b". " + damaged,
        "TNEF": b"." + base64.encodebytes(b"\x78\x9f\x3e\x22" + bytes(80)),
        "an armour of others": b"-----BEGIN PGP MESSAGE-----\n\n" + damaged[:32] + b"\n",
    }


@pytest.mark.parametrize("encoding", [b"8bit", b"bas\xff64", b"quoted-printable", b"base64", b""])
@pytest.mark.parametrize("text", _texts_before(b""))
def test_what_is_taken_behind_a_text_is_found_behind_it_again(
    text: str, encoding: bytes, envelope: bytes, seal: Callable[..., bytes]
) -> None:
    fields = [
        b"From: a@example.org|",
        REPLACED[0],
        b"Content-Transfer-Encoding: " + encoding + b"|",
    ]
    header, body = entity(envelope, b"\n", fields).split(b"\n\n", 1)
    raw = header + b"\n\n" + _texts_before(envelope)[text] + b"\n" + body
    before = smime.take_inventory(BytesContent(raw))
    new = seal(b"Subject: new\r\n\r\nnew")
    # It is taken and found again, or it is left as it is and told.
    assert [part.path for part in before.parts] in ([""], [])
    if text == "a banner":
        assert before.parts
    if not before.parts:
        assert before.state is State.MALFORMED or before.unreached
        return
    after = smime.take_inventory(BytesContent(splice(raw, new)))
    assert [part.envelope.digest for part in after.parts] == [hashlib.sha256(new).hexdigest()]
    assert splice(splice(raw, new), new) == splice(raw, new)
