"""What a stored message is, what is encrypted in it, and where it lies."""

from __future__ import annotations

import base64
import gzip
import io
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from sectool import smime
from sectool.message import BytesContent, FileContent
from sectool.mime.entities import EntityWalker
from sectool.outcome import State

Mail = Callable[..., bytes]
InventoryOf = Callable[[bytes], smime.Inventory]


def multipart(
    *parts: bytes, subtype: str = "mixed", boundary: str = "outer", line_end: bytes = b"\r\n"
) -> bytes:
    """An entity with these entities inside."""
    lines = [f'Content-Type: multipart/{subtype}; boundary="{boundary}"'.encode(), b"", b"preamble"]
    for part in parts:
        lines += [f"--{boundary}".encode(), part]
    lines += [f"--{boundary}--".encode(), b"epilogue", b""]
    return line_end.join(lines)


def message(entity: bytes) -> bytes:
    return b"From: a@example.org\r\nSubject: x\r\nMIME-Version: 1.0\r\n" + entity


def encrypted_entity(envelope: bytes, fields: bytes = b"") -> bytes:
    text = base64.encodebytes(envelope).replace(b"\n", b"\r\n").removesuffix(b"\r\n")
    return (
        b"Content-Type: application/pkcs7-mime; smime-type=enveloped-data\r\n"
        b"Content-Transfer-Encoding: base64\r\n" + fields + b"\r\n" + text
    )


TEXT = b"Content-Type: text/plain\r\n\r\nhello"


def forwarded(raw: bytes) -> bytes:
    return b"Content-Type: message/rfc822\r\n\r\n" + raw


# --- labels --------------------------------------------------------------------

LABELS = {
    "right": (b"Content-Type: application/pkcs7-mime; smime-type=enveloped-data",),
    "B55 octet-stream": (b'Content-Type: application/octet-stream; name="smime.p7m"',),
    "B55 octet-stream without a name": (b"Content-Type: application/octet-stream",),
    "B55 x-pkcs7-mime": (b"Content-Type: application/x-pkcs7-mime",),
    "B55 wrong smime-type": (b"Content-Type: application/pkcs7-mime; smime-type=signed-data",),
    "B55 p7s": (b"Content-Type: application/pkcs7-signature; name=smime.p7s",),
    "B55 upper case": (b"CONTENT-TYPE: APPLICATION/PKCS7-MIME",),
    "no Content-Type but a name": (b"Content-Disposition: attachment; filename=smime.p7m",),
    "no Content-Type": (),
    "text with a name": (b"Content-Type: text/plain; name=smime.p7m",),
    "text with a file name": (
        b"Content-Type: text/plain",
        b"Content-Disposition: attachment; filename=SMIME.P7M",
    ),
    "B66 duplicate Content-Type": (
        b"Content-Type: application/pkcs7-mime",
        b"Content-Type: text/plain",
    ),
    "B66 duplicate Content-Type, the wrong one first": (
        b"Content-Type: text/plain",
        b"Content-Type: application/pkcs7-mime",
    ),
    "B55 called text by a gateway": (b"Content-Type: text/html; charset=utf-8",),
    "unreadable Content-Type": (b"Content-Type: pkcs7",),
}


@pytest.mark.parametrize("name", LABELS)
def test_encryption_is_found_whatever_its_label(
    name: str, envelope: bytes, mail: Mail, inventory_of: InventoryOf
) -> None:
    raw = mail(envelope, fields=(*LABELS[name], b"Content-Transfer-Encoding: base64"))
    inventory = inventory_of(raw)
    assert (inventory.state, inventory.reason) == (State.ENCRYPTED, "")
    assert [(part.path, part.placement) for part in inventory.parts] == [("", smime.Placement.ROOT)]
    assert inventory.parts[0].body_start == raw.index(b"\r\n\r\n") + 4
    assert inventory.parts[0].body_end == len(raw)


BODIES: dict[str, Callable[[bytes], tuple[bytes, bytes]]] = {
    "B54 binary": lambda der: (b"binary", der),
    "B54 base64 called 7bit": lambda der: (b"7bit", base64.encodebytes(der)),
    "B54 one line": lambda der: (b"base64", base64.b64encode(der)),
    "B54 no padding": lambda der: (b"base64", base64.b64encode(der).rstrip(b"=")),
    "B54 junk lines": lambda der: (b"base64", base64.encodebytes(der).replace(b"\n", b"\n!!\n", 3)),
    "B54 blank lines first": lambda der: (b"base64", b"\n" * 20 + base64.encodebytes(der)),
    "armour": lambda der: (
        b"7bit",
        b"-----BEGIN CMS-----\n" + base64.encodebytes(der) + b"-----END CMS-----\n",
    ),
    "footer of a list": lambda der: (
        b"base64",
        base64.encodebytes(der + bytes(-(len(der) + 1) % 3)) + b"\n_____\nfooter of the list\n",
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_encryption_is_found_whatever_its_encoding(
    name: str, envelope: bytes, mail: Mail, inventory_of: InventoryOf
) -> None:
    encoding, body = BODIES[name](envelope)
    fields = (b"Content-Type: application/pkcs7-mime", b"Content-Transfer-Encoding: " + encoding)
    inventory = inventory_of(mail(b"", fields=fields, body=body))
    assert (inventory.state, inventory.reason) == (State.ENCRYPTED, "")
    assert inventory.parts[0].envelope.size == len(envelope)


def test_odd_characters_in_base64_are_noted(
    envelope: bytes, mail: Mail, inventory_of: InventoryOf
) -> None:
    body = base64.encodebytes(envelope).replace(b"\n", b"!\n", 1)
    assert inventory_of(mail(b"", body=body)).parts[0].defects
    assert not inventory_of(mail(envelope)).parts[0].defects


# --- what is clear, signed, unsupported or malformed ---------------------------------


PGP = b"-----BEGIN PGP MESSAGE-----\nVersion: x\n\nhQEMA1234567890abcdefghijkl\n-----END PGP"

# name: raw, state, a word of the reason
STATES: dict[str, tuple[bytes, State, str]] = {
    "text": (message(TEXT), State.CLEAR, ""),
    "B68 nothing": (b"", State.MALFORMED, "empty"),
    "B68 headers only": (b"From: a@example.org\r\nSubject: x\r\n", State.CLEAR, ""),
    "B68 no headers": (b"just some text\r\n\r\nand more\r\n", State.UNSUPPORTED, "header"),
    "B51 10^5 blank lines first": (b"\n" * 100_000 + message(TEXT), State.UNSUPPORTED, "header"),
    "B52 NUL in the body": (message(TEXT + b"\0\0"), State.CLEAR, ""),
    "B52 bare CR": (b"From: a\rSubject: b\r\n\r\nx\ry", State.CLEAR, ""),
    "B52 bare CR everywhere": (b"From: a\rSubject: b\r\rMIIB", State.UNSUPPORTED, "bare CR"),
    "B53 8-bit header": (b"From: \xe4\xff <a@example.org>\n\nx\n", State.CLEAR, ""),
    "B53 SMTPUTF8": ("From: ä@exämple.org\n\nx\n".encode(), State.CLEAR, ""),
    "mbox separator": (b"From a@b Mon Jan  7\n" + message(TEXT), State.CLEAR, ""),
    "B50 header of 10 MB": (b"A: " + b"x" * 10_000_000, State.UNSUPPORTED, "header"),
    "B50 10^5 fields": (b"A: 1\n" * 100_000, State.UNSUPPORTED, "fields"),
    "gzip": (gzip.compress(message(TEXT)), State.UNSUPPORTED, "gzip"),
    "zstd": (b"\x28\xb5\x2f\xfd rest", State.UNSUPPORTED, "zstd"),
    "mail_crypt": (b"CRYPTED\x03\x07\x02\x01", State.UNSUPPORTED, "mail_crypt"),
    "B69 PGP/MIME": (
        message(
            b"Content-Type: multipart/encrypted; protocol=application/pgp-encrypted; boundary=b"
            b"\r\n\r\n--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n--b--"
        ),
        State.UNSUPPORTED,
        "PGP",
    ),
    "B69 inline PGP": (message(b"\r\nsee below\r\n" + PGP), State.UNSUPPORTED, "PGP"),
    "B69 inline PGP in a part": (
        message(multipart(b"Content-Type: text/plain\r\n\r\n" + PGP)),
        State.UNSUPPORTED,
        "PGP",
    ),
    "talk about PGP": (message(b"\r\n> -----BEGIN PGP MESSAGE-----\r\n\r\nhi"), State.CLEAR, ""),
    "B69 TNEF": (
        message(b"Content-Type: application/ms-tnef; name=winmail.dat\r\n\r\n\x78\x9f\x3e\x22"),
        State.CLEAR,
        "",
    ),
    "labelled, but text": (
        message(b"Content-Type: application/pkcs7-mime\r\n\r\nsee attachment"),
        State.MALFORMED,
        "labelled",
    ),
    "labelled, but empty": (
        message(b"Content-Type: application/pkcs7-mime\r\n\r\n"),
        State.MALFORMED,
        "empty",
    ),
    "an attachment of some name": (
        message(multipart(TEXT, b"Content-Type: application/pdf; name=x.p7m\r\n\r\n%PDF")),
        State.CLEAR,
        "",
    ),
    "multipart/signed": (
        message(multipart(TEXT, TEXT, subtype="signed")),
        State.SIGNED,
        "",
    ),
    "B48 no boundary": (message(b"Content-Type: multipart/mixed\r\n\r\nx"), State.CLEAR, ""),
    "B48 boundary that never comes": (
        message(b"Content-Type: multipart/mixed; boundary=b\r\n\r\nx"),
        State.CLEAR,
        "",
    ),
    "B48 boundary of 20 kB": (
        message(b"Content-Type: multipart/mixed; boundary=" + b"b" * 20_000 + b"\r\n\r\nx"),
        State.UNSUPPORTED,
        "boundary",
    ),
    "B46 1000 multiparts deep": (
        b"A: 1\r\n"
        + b"".join(
            b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n)
            for n in range(1000)
        ),
        State.UNSUPPORTED,
        "deep",
    ),
    "B46 1000 forwards deep": (
        b"A: 1\r\n" + b"Content-Type: message/rfc822\r\n\r\n" * 1000,
        State.UNSUPPORTED,
        "deep",
    ),
    "B47 10^5 parts of 4 bytes": (
        message(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\n\nabc\n" * 100_000),
        State.UNSUPPORTED,
        "parts",
    ),
}


@pytest.mark.parametrize("name", STATES)
def test_a_message_without_whole_encryption_has_its_state_and_reason(
    name: str, inventory_of: InventoryOf
) -> None:
    raw, state, word = STATES[name]
    inventory = inventory_of(raw)
    assert (inventory.state, inventory.parts) == (state, ())
    assert (word in inventory.reason) if word else inventory.reason == ""
    assert len(inventory.identity) == 64


@pytest.mark.parametrize("missing", [4, 100, 400])
def test_truncated_encryption_is_malformed_never_clear(
    missing: int, envelope: bytes, mail: Mail, inventory_of: InventoryOf
) -> None:
    fields = (b"Content-Type: application/octet-stream", b"Content-Transfer-Encoding: base64")
    raw = mail(b"", fields=fields, body=base64.encodebytes(envelope)[: -missing - 5])
    inventory = inventory_of(raw)
    assert (inventory.state, inventory.parts) == (State.MALFORMED, ())
    assert "encrypted, but damaged" in inventory.reason


def test_opaque_signed_mail_is_signed(
    openssl: Callable[..., bytes], inner: bytes, inventory_of: InventoryOf
) -> None:
    raw = message(openssl(inner, "smime", "-sign", "-nodetach", "-binary"))
    assert inventory_of(raw).state is State.SIGNED


def test_a_truncated_opaque_signature_is_malformed(
    openssl: Callable[..., bytes], inner: bytes, inventory_of: InventoryOf
) -> None:
    large = inner + b"x" * 500_000
    raw = message(openssl(large, "smime", "-sign", "-nodetach", "-binary"))
    inventory = inventory_of(raw[:-400])
    assert (inventory.state, inventory.reason[:19]) == (State.MALFORMED, "signed, but damaged")


# A SignedData without signers (RFC 8551 section 3.8).
CERTIFICATES_ONLY = bytes.fromhex(
    "302306092a864886f70d010702a01630140201013100300b06092a864886f70d0107013100"
)

OTHER_CMS = {
    "certificates only": (CERTIFICATES_ONLY, State.CLEAR),
    "encrypted-data": (bytes.fromhex("300f06092a864886f70d010706a0023000"), State.UNSUPPORTED),
    "signed-and-enveloped": (
        bytes.fromhex("300f06092a864886f70d010704a0023000"),
        State.UNSUPPORTED,
    ),
}


@pytest.mark.parametrize("name", OTHER_CMS)
def test_other_cms_is_named_for_what_it_is(
    name: str, mail: Mail, inventory_of: InventoryOf
) -> None:
    der, state = OTHER_CMS[name]
    inventory = inventory_of(mail(der))
    assert inventory.state is state, inventory.reason


def test_an_envelope_under_an_opaque_signature_is_sealed(
    openssl: Callable[..., bytes], envelope: bytes, inventory_of: InventoryOf
) -> None:
    signed = openssl(encrypted_entity(envelope), "smime", "-sign", "-nodetach", "-binary")
    inventory = inventory_of(message(signed))
    (part,) = inventory.parts
    assert (inventory.state, part.placement) == (
        State.UNDER_SIGNATURE,
        smime.Placement.SEALED_OPAQUE,
    )
    assert "--break-signatures" in inventory.reason


def test_mail_of_the_openssl_command_is_encrypted(
    openssl: Callable[..., bytes], inner: bytes, inventory_of: InventoryOf
) -> None:
    inventory = inventory_of(message(openssl(inner, "smime", "-encrypt", "-aes128")))
    assert inventory.state is State.ENCRYPTED
    assert inventory.parts[0].envelope.content_encryption_algorithm == "aes-128-cbc"


# --- structure -----------------------------------------------------------------------


def structures(envelope: bytes) -> dict[str, tuple[bytes, State, list[tuple[str, str]]]]:
    part = encrypted_entity(envelope)
    whole = message(part)
    return {
        "B56 list footer": (
            multipart(part, TEXT),
            State.ENCRYPTED,
            [("1", "wrapped")],
        ),
        "B57 sandwich": (
            multipart(TEXT, part, TEXT),
            State.ENCRYPTED,
            [("2", "wrapped")],
        ),
        "B58 forward": (multipart(TEXT, forwarded(whole)), State.ENCRYPTED, [("2.1", "forwarded")]),
        "B58 forward alone": (forwarded(whole), State.ENCRYPTED, [("1.1", "forwarded")]),
        "two forwards": (
            multipart(forwarded(whole), forwarded(whole)),
            State.ENCRYPTED,
            [("1.1", "forwarded"), ("2.1", "forwarded")],
        ),
        "forward of a sandwich": (
            multipart(TEXT, forwarded(message(multipart(TEXT, part, boundary="inner")))),
            State.ENCRYPTED,
            [("2.2", "wrapped")],
        ),
        "forward of a forward": (
            multipart(forwarded(message(forwarded(whole)))),
            State.ENCRYPTED,
            [("1.1.1", "forwarded")],
        ),
        "digest": (
            multipart(b"\r\n" + whole, subtype="digest"),
            State.ENCRYPTED,
            [("1.1", "forwarded")],
        ),
        "B60 under multipart/signed": (
            multipart(part, TEXT, subtype="signed"),
            State.UNDER_SIGNATURE,
            [("1", "sealed")],
        ),
        "forward under a signature": (
            multipart(multipart(TEXT, forwarded(whole), boundary="in"), TEXT, subtype="signed"),
            State.UNDER_SIGNATURE,
            [("1.2.1", "sealed")],
        ),
        "B49 no final boundary": (
            multipart(TEXT, forwarded(whole)).partition(b"\r\n--outer--")[0],
            State.ENCRYPTED,
            [("2.1", "forwarded")],
        ),
        "B48 prefix of another boundary": (
            multipart(multipart(TEXT, forwarded(whole), boundary="outer2"), TEXT, boundary="outer"),
            State.ENCRYPTED,
            [("1.2.1", "forwarded")],
        ),
        "B48 boundary of 10 kB": (
            multipart(TEXT, forwarded(whole), boundary="b" * 10_000),
            State.ENCRYPTED,
            [("2.1", "forwarded")],
        ),
        "delimiter that looks like a field": (
            multipart(b"A: 1", forwarded(whole), boundary="a:b"),
            State.ENCRYPTED,
            [("2.1", "forwarded")],
        ),
        "boundary followed by blanks": (
            multipart(TEXT, forwarded(whole)).replace(b"--outer\r\n", b"--outer \t \r\n"),
            State.ENCRYPTED,
            [("2.1", "forwarded")],
        ),
        "encoded forward": (
            multipart(
                b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n"
                + base64.b64encode(whole)
            ),
            State.UNSUPPORTED,
            [],
        ),
        "part without a blank line": (
            multipart(TEXT, b"Content-Type: text/plain", forwarded(whole)),
            State.ENCRYPTED,
            [("3.1", "forwarded")],
        ),
    }


@pytest.mark.parametrize("name", structures(b""))
def test_encrypted_parts_are_found_where_they_are(
    name: str, envelope: bytes, inventory_of: InventoryOf
) -> None:
    entity, state, places = structures(envelope)[name]
    raw = message(entity)
    inventory = inventory_of(raw)
    assert inventory.state is state, inventory.reason
    assert bool(inventory.reason) == (state is not State.ENCRYPTED)
    assert [(part.path, part.placement.value) for part in inventory.parts] == places
    for part in inventory.parts:
        body = raw[part.body_start : part.body_end]
        assert base64.b64decode(body) == envelope
        assert part.envelope.size == len(envelope)
        assert not body.endswith(b"\n")


class Dribble(io.BytesIO):
    """A stream that gives few bytes at a time."""

    def __init__(self, raw: bytes, most: int) -> None:
        super().__init__(raw)
        self._most = most

    def read(self, size: int | None = -1) -> bytes:
        return super().read(self._most if size is None or size < 0 else min(size, self._most))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.data())
def test_walked_bodies_are_those_the_message_was_built_from(data: st.DataObject) -> None:
    line_end = data.draw(st.sampled_from([b"\r\n", b"\n"]))
    bodies: list[bytes] = []

    def entity(depth: int) -> bytes:
        if depth < 3 and data.draw(st.booleans()):
            parts = [entity(depth + 1) for _ in range(data.draw(st.integers(1, 3)))]
            return multipart(*parts, boundary=f"b{depth}", line_end=line_end)
        words = st.sampled_from([b"--", b"x", b"--b", b"--b9", b"\n", b"\rx", b"--b0x", b" "])
        bodies.append(b"".join(data.draw(st.lists(words, max_size=6))))
        return b"X: 1" + line_end + line_end + bodies[-1]

    raw = b"A: 1" + line_end + multipart(entity(1), boundary="b0", line_end=line_end)
    stream = Dribble(raw, data.draw(st.integers(1, 40)))
    entities = list(EntityWalker(stream, len(raw)).walk())
    leaves = [one for one in entities if not one.is_multipart]
    assert [raw[one.header.body_start : one.body_end] for one in leaves] == bodies


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n"], ids=["CRLF", "LF"])
@pytest.mark.parametrize("most", range(1, 9))
def test_a_delimiter_is_found_wherever_a_block_ends(most: int, line_end: bytes) -> None:
    body = b"x" * 5000
    raw = b"A: 1" + line_end + multipart(b"B: 1" + line_end * 2 + body, line_end=line_end)
    entities = list(EntityWalker(Dribble(raw, most), len(raw)).walk())
    assert raw[entities[-1].header.body_start : entities[-1].body_end] == body


# --- identity and header -----------------------------------------------------------------


def test_identity_knows_no_header_field_and_no_line_ends(
    envelope: bytes, mail: Mail, inventory_of: InventoryOf
) -> None:
    for raw in (mail(envelope), message(TEXT + b"\r\nmore\r\n"), message(multipart(TEXT))):
        other = (b"Received: by x\r\n" + raw).replace(b"\r\n", b"\n")
        assert inventory_of(other).identity == inventory_of(raw).identity


def test_a_mail_and_its_forward_have_a_part_but_no_identity_in_common(
    envelope: bytes, inventory_of: InventoryOf
) -> None:
    mail = inventory_of(message(encrypted_entity(envelope)))
    forward = inventory_of(message(forwarded(message(encrypted_entity(envelope)))))
    assert forward.parts[0].envelope.digest == mail.parts[0].envelope.digest
    assert forward.identity != mail.identity


def test_two_forwards_with_other_words_have_no_identity_in_common(
    envelope: bytes, inventory_of: InventoryOf
) -> None:
    part = forwarded(message(encrypted_entity(envelope)))
    assert (
        inventory_of(message(multipart(TEXT, part))).identity
        != inventory_of(message(multipart(TEXT + b"!", part))).identity
    )


def test_clear_messages_with_other_bodies_have_no_identity_in_common(
    inventory_of: InventoryOf,
) -> None:
    identities = {inventory_of(message(TEXT + end)).identity for end in (b"", b"\r\n", b"\r", b"x")}
    assert len(identities) == 4


DATES = {
    b"Mon, 7 Jan 2019 10:00:00 +0100": datetime(
        2019, 1, 7, 10, tzinfo=timezone(timedelta(hours=1))
    ),
    b"Mon, 7 Jan 2019 10:00:00 -0000": datetime(2019, 1, 7, 10, tzinfo=UTC),
    b"rubbish": None,
    b"": None,
    b"Mon, 99 Jan 2019 10:00:00 +0100": None,
    b"Mon, 7 Jan 2019 10:00:00 +9999": None,
    b"Fri, 31 Dec 9999 23:59:00 -1200": None,
    b"\xff" * 100: None,
    b"9" * 5000: None,
}


@pytest.mark.parametrize("value", DATES)
def test_the_header_date_is_aware_or_none(value: bytes, inventory_of: InventoryOf) -> None:
    assert inventory_of(b"Date: " + value + b"\r\n\r\n").header_date == DATES[value]


# B66, B67
MESSAGE_IDS = {
    b"Message-ID: <a@b>\r\nMessage-ID: <c@d>\r\n": "<a@b>",
    b"Subject: x\r\n": "",
    b"Message-ID:\r\n <a@b>\r\n": "<a@b>",
    b"Message-ID: <a\x00\x1b@b>\r\n": "<a@b>",
}


@pytest.mark.parametrize("header", MESSAGE_IDS)
def test_the_first_message_id_counts(header: bytes, inventory_of: InventoryOf) -> None:
    assert inventory_of(header + b"\r\n").message_id == MESSAGE_IDS[header]


@given(st.binary(max_size=400) | st.lists(st.sampled_from(
    [b"Content-Type: multipart/mixed; boundary=b\n", b"--b\n", b"--b--\n", b"\n", b"x",
     b"Content-Type: message/rfc822\n", b"Content-Transfer-Encoding: base64\n", b"MIAG", b"\r",
     b"Content-Type: application/pkcs7-mime\n", b"\x30\x80\x06\x09*\x86H\x86\xf7\r\x01\x07\x03"]
), max_size=25).map(b"".join))  # fmt: skip
def test_no_bytes_whatever_make_the_inventory_raise(raw: bytes) -> None:
    for content in (raw, b"A: 1\n" + raw):
        inventory = smime.take_inventory(BytesContent(content))
        assert bool(inventory.reason) == (
            inventory.state not in {State.CLEAR, State.SIGNED, State.ENCRYPTED}
        )


DAMAGED_LINES = {
    "without a colon": b"this line has no colon",
    "8-bit name": b"X-\xe4: x",
    "space in the name": b"X foo: x",
    "empty name": b": x",
    "NUL in the name": b"X\0: x",
}


@pytest.mark.parametrize("line", DAMAGED_LINES.values(), ids=DAMAGED_LINES.keys())
def test_a_damaged_line_does_not_hide_the_fields_behind_it(line: bytes) -> None:
    message = (
        b"Subject: plans\n" + line + b"\nContent-Type: multipart/signed; boundary=b\n"
        b"Message-ID: <1@example.org>\n\n--b\n\nx\n--b--\n"
    )
    inventory = smime.take_inventory(BytesContent(message))
    assert inventory.state is State.SIGNED
    assert inventory.message_id == "<1@example.org>"


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("line", DAMAGED_LINES.values(), ids=DAMAGED_LINES.keys())
def test_a_damaged_last_line_does_not_hide_what_is_encrypted(
    line: bytes, body: str, envelope: bytes, inventory_of: InventoryOf
) -> None:
    encoding, text = BODIES[body](envelope)
    raw = (
        b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: "
        + encoding
        + b"\r\n"
        + line
        + b"\r\n\r\n"
        + text
    )
    for damaged in (raw, message(raw), forwarded(message(raw))):
        inventory = inventory_of(damaged)
        assert inventory.state is State.ENCRYPTED, inventory.reason
        assert inventory.parts[0].envelope.size == len(envelope)


@pytest.mark.parametrize("space", [b"\r\n", b" ", b" \t\r\n"], ids=["lines", "spaces", "both"])
def test_no_white_space_before_its_cms_hides_it(
    space: bytes, envelope: bytes, inventory_of: InventoryOf
) -> None:
    header, _, text = message(encrypted_entity(envelope)).partition(b"\r\n\r\n")
    inventory = inventory_of(header + b"\r\n\r\n" + space * 9_000 + b"\r\n" + text)
    assert inventory.state is State.ENCRYPTED, inventory.reason
    assert inventory.parts[0].envelope.size == len(envelope)


def test_the_parts_of_a_message_on_disk_are_not_held(
    tmp_path: Path, seal: Callable[..., bytes]
) -> None:
    """Each is small; all of them may be gigabytes."""
    entity = encrypted_entity(seal(bytes(2**20)))
    path = tmp_path / "message"
    path.write_bytes(message(multipart(*[entity] * 4)))
    tracemalloc.start()
    try:
        inventory = smime.take_inventory(FileContent(path))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(inventory.parts) == 4
    assert kept < 2**20


def test_a_message_without_blank_line_before_its_cms_is_encrypted(
    envelope: bytes, inventory_of: InventoryOf
) -> None:
    raw = message(b"Content-Transfer-Encoding: base64\r\n") + base64.encodebytes(envelope)
    assert inventory_of(raw).state is State.ENCRYPTED


@pytest.mark.parametrize("size", [1, 10, 30, 60, 100])
def test_a_message_that_ends_in_its_header_is_not_called_clear(
    size: int, envelope: bytes, inventory_of: InventoryOf
) -> None:
    """Labelled as encrypted, it has lost what it held."""
    raw = encrypted_entity(envelope, b"X-Last: " + b"x" * 100 + b"\r\n")
    header = raw.partition(b"\r\n\r\n")[0]
    inventory = inventory_of(message(header[:-size]))
    assert (inventory.state, inventory.parts) == (State.MALFORMED, ())


def test_a_header_without_blank_line_still_ends_at_the_text() -> None:
    message = b"Subject: plans\nthe text begins at once\nand goes on\n\nNote: not a field\n"
    inventory = smime.take_inventory(BytesContent(message))
    assert inventory.identity == smime.identity_of_body(BytesContent(message), 15)


def test_cms_of_a_type_that_nobody_knows_is_not_called_clear() -> None:
    content_info = bytes.fromhex("300f06092a864886f70d010733a0020500")
    message = (
        b"Content-Type: application/pkcs7-mime; smime-type=enveloped-data\n"
        b"Content-Transfer-Encoding: base64\n\n" + base64.encodebytes(content_info)
    )
    inventory = smime.take_inventory(BytesContent(message))
    assert inventory.state is State.UNSUPPORTED
    assert "1.2.840.113549.1.7.51" in inventory.reason


def test_a_delimiter_line_that_looks_like_a_field_begins_a_part() -> None:
    raw = (
        b'From: a@example.org\r\nContent-Type: multipart/mixed; boundary="x:y"\r\n\r\n'
        b"--x:y\r\n--x:y\r\nContent-Type: text/plain\r\nContent-Id: <1>\r\n\r\nhello\r\n--x:y--\r\n"
    )
    entities = list(EntityWalker(io.BytesIO(raw), len(raw)).walk())
    assert [(one.path, len(one.header.fields)) for one in entities] == [("", 2), ("1", 0), ("2", 2)]
