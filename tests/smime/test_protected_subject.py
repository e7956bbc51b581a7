"""The protected Subject is found where it is certain, and shown outside without harm (RFC 9788)."""

from __future__ import annotations

from collections.abc import Callable
from email import message_from_bytes
from email.header import decode_header, make_header
from email.policy import default

import pytest

from sectool import cms, smime
from sectool.message import BytesContent
from tests.support.signing import Signatory, make_signatory, sign

OUTER = b"From: alice@example.org\r\nSubject: [...]\r\nDate: Mon, 7 Jan 2019 10:00:00 +0100\r\n"


@pytest.fixture(scope="module")
def alice(tmp_path_factory: pytest.TempPathFactory) -> Signatory:
    return make_signatory(tmp_path_factory.mktemp("signatory"), "alice")


def payload(subject: bytes = b"Subject: The plans\r\n", parameter: bytes = b'hp="cipher"') -> bytes:
    fields = b"Content-Type: text/plain; charset=utf-8; " + parameter + b"\r\n"
    return fields + b"From: alice@example.org\r\n" + subject + b"\r\nblue folder\r\n"


def found(plaintext: bytes, content_type: str = cms.ID_DATA) -> bytes | None:
    return smime.protected_subject(BytesContent(plaintext), content_type)


@pytest.mark.parametrize(
    "parameter", [b'hp="cipher"', b"HP=clear", b'protected-headers="v1"'], ids=str
)
@pytest.mark.parametrize("form", ["alone", "clear", "opaque"])
def test_a_subject_that_says_it_is_protected_is_found(
    form: str, parameter: bytes, alice: Signatory
) -> None:
    entity = payload(parameter=parameter)
    if form != "alone":
        entity = sign(alice, entity, *(["-nodetach"] if form == "opaque" else []))
    assert found(entity) == b"The plans"


def test_a_whole_message_inside_protects_its_subject() -> None:
    wrapper = b"Content-Type: message/rfc822; forwarded=no\r\n\r\n"
    assert found(wrapper + payload(parameter=b"x=y")) == b"The plans"


NOT_PROTECTED = {
    "nothing says so": payload(parameter=b"format=flowed"),
    "another value": payload(parameter=b'hp="none"'),
    "no Subject": payload(b""),
    "two": payload(b"Subject: a\r\nSubject: b\r\n"),
    "empty": payload(b"Subject: \r\n"),
    "a forward": b"Content-Type: message/rfc822\r\n\r\n" + payload(parameter=b"x=y"),
    "in a part": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + payload(),
    "bare CR": payload(b"Subject: a\rBcc: mallory@example.org\r\n"),
    "NUL": payload(b"Subject: a\0b\r\n"),
    "NEL": payload("Subject: a\u0085Bcc: mallory@example.org\r\n".encode()),
    "a line separator": payload("Subject: a\u2028Bcc: mallory@example.org\r\n".encode()),
    "a paragraph separator": payload("Subject: a\u2029Bcc: x\r\n".encode()),
    "a C1 control": payload("Subject: a\u009b31m\r\n".encode()),
    "another direction": payload("Subject: a\u202egpj.exe\r\n".encode()),
    "an isolate": payload("Subject: a\u2066b\r\n".encode()),
    "a line end encoded": payload(b"Subject: a =?utf-8?q?=0D=0ABcc:_x?=\r\n"),
    "a separator encoded": payload(b"Subject: =?utf-8?b?YeKAqGI=?=\r\n"),
    "a separator beside": payload("Subject: a\u2028b =?utf-8?q?c?=\r\n".encode()),
    "no charset": payload(b"Subject: =?nosuch?q?a?=\r\n"),
    "not UTF-8": payload(b"Subject: \xe4\xff\r\n"),
    "endless": payload(b"Subject: " + b"x" * 20_000 + b"\r\n"),
    "not MIME": b"\0\1\2",
}


@pytest.mark.parametrize("name", NOT_PROTECTED)
def test_any_other_subject_is_left_alone(name: str) -> None:
    assert found(NOT_PROTECTED[name]) is None


@pytest.mark.parametrize("options", [[], ["-nodetach"]], ids=["clear", "opaque"])
def test_a_subject_under_a_signature_that_does_not_verify_is_left_alone(
    alice: Signatory, options: list[str]
) -> None:
    signed = sign(alice, payload(), "-nocerts", *options)
    assert found(signed) is None
    if not options:
        assert found(sign(alice, payload()).replace(b"The plans", b"No plans")) is None


def test_a_subject_beyond_ascii_is_encoded() -> None:
    subject = found(payload("Subject: Pläne für Köln\r\n".encode()))
    assert subject is not None
    assert str(make_header(decode_header(subject.decode("ascii")))) == "Pläne für Köln"


def test_a_long_subject_beyond_ascii_is_restored_in_lines_that_are_short_enough() -> None:
    text = "Ein Vorschlag für die Übergabe 🎉 " * 200
    subject = found(payload(b"Subject: " + text.strip().encode() + b"\r\n"))
    assert subject is not None
    assert max(map(len, subject.split(b" "))) <= 75
    new = restored(OUTER + b"\r\nbody", subject)
    assert new is not None
    assert str(message_from_bytes(new, policy=default)["Subject"]) == text.strip()
    back = smime.with_obscured_subject(BytesContent(new), subject, OUTER)
    assert back is not None


def test_a_folded_subject_is_one_line() -> None:
    assert found(payload(b"Subject: The\r\n\tplans \r\n of May\r\n")) == b"The plans  of May"


# --- outside -------------------------------------------------------------------------


Change = Callable[[bytes], bytes | None]


def restored(raw: bytes, subject: bytes = b"The plans") -> bytes | None:
    content = smime.with_protected_subject(BytesContent(raw), subject)
    if content is None:
        return None
    with content.open() as stream:
        new = stream.read()
    assert content.size == len(new)
    return new


@pytest.mark.parametrize("shown", [b"...", b"[...]", b"Encrypted Message", b"encrypted message"])
@pytest.mark.parametrize("line_end", [b"\r\n", b"\n"])
def test_only_the_line_of_the_subject_changes(shown: bytes, line_end: bytes) -> None:
    raw = OUTER.replace(b"[...]", shown).replace(b"\r\n", line_end) + line_end + b"body"
    wanted = OUTER.replace(b"[...]", b"The plans").replace(b"\r\n", line_end) + line_end + b"body"
    assert restored(raw) == wanted


@pytest.mark.parametrize(
    "raw",
    [
        OUTER.replace(b"[...]", b"Re: [...]"),
        OUTER.replace(b"[...]", b"hello"),
        OUTER.replace(b"Subject: [...]\r\n", b""),
        OUTER + b"Subject: [...]\r\n",
    ],
    ids=["more than that", "a Subject of its own", "none", "two"],
)
def test_a_message_that_shows_another_subject_keeps_it(raw: bytes) -> None:
    assert restored(raw + b"\r\nbody") is None


def test_a_long_subject_is_folded_and_reads_as_it_was() -> None:
    subject = b"word " * 1000 + b"end"
    new = restored(OUTER + b"\r\nbody", subject)
    assert new is not None
    assert max(map(len, new.split(b"\r\n"))) < 998
    assert message_from_bytes(new)["Subject"].replace("\r\n", "").encode() == subject


@pytest.mark.parametrize("subject", [b"x" * 5000, b"x" * 800 + b" " * 200 + b"y" * 950], ids=len)
def test_a_subject_that_fits_no_line_is_not_shown(subject: bytes) -> None:
    new = restored(OUTER + b"\r\nbody", subject)
    assert new is None or max(map(len, new.split(b"\r\n"))) < 998


def test_what_was_restored_is_obscured_as_it_was() -> None:
    raw = OUTER + b"\r\nbody"
    new = restored(raw)
    assert new is not None
    back = smime.with_obscured_subject(BytesContent(new), b"The plans", OUTER)
    assert back is not None
    with back.open() as stream:
        assert stream.read() == raw


def test_a_subject_that_its_owner_wrote_is_not_obscured() -> None:
    mine = OUTER.replace(b"[...]", b"my own") + b"\r\nbody"
    assert smime.with_obscured_subject(BytesContent(mine), b"The plans", OUTER) is None
    plain = OUTER.replace(b"[...]", b"The plans")
    assert smime.with_obscured_subject(BytesContent(plain), b"The plans", plain) is None
