"""No mail program sees a field outside that whoever encrypted a plaintext put into its header."""

from __future__ import annotations

import email
import email.policy
import io
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable

import pytest

from sectool import smime
from sectool.errors import MessageError, UnsupportedMessage
from sectool.message import BytesContent
from tests.smime.test_put_plaintext import MARK, opened, stored

OWN = {"x-sectool-id", "mime-version", "content-type", "content-transfer-encoding"}
OWN |= {"content-disposition", "content-description", "content-id"}
"""What a plaintext may change outside."""


def in_lines(lines: Iterable[str], *, strict: bool) -> list[str]:
    """The fields that a simple program sees; a strict one ends where a line is no field."""
    names: list[str] = []
    for line in lines:
        if not line.strip():
            break
        name, colon, _ = line.partition(":")
        if line[0] in " \t":
            continue
        if colon and re.fullmatch(r"[!-9;-~]*", name):
            names.append(name)
        elif strict:
            break
        elif colon:
            names.append(name.strip())
    return names


READERS: dict[str, Callable[[bytes], list[str]]] = {
    "compat32": lambda raw: email.message_from_bytes(raw, policy=email.policy.compat32).keys(),
    "default policy": lambda raw: email.message_from_bytes(raw, policy=email.policy.default).keys(),
    "email as text": lambda raw: email.message_from_string(raw.decode("latin-1")).keys(),
}
SPLITTERS: dict[str, Callable[[bytes], list[str]]] = {
    "CR": lambda raw: re.split(r"\r\n?", raw.partition(b"\n\n")[0].decode("latin-1")),
    "LF": lambda raw: [line.rstrip("\r") for line in raw.decode("latin-1").split("\n")],
    "CRLF": lambda raw: raw.partition(b"\n\n")[0].decode("latin-1").split("\r\n"),
    "any": lambda raw: re.split(r"\r\n|\n|\r", raw.decode("latin-1")),
    "NUL ends": lambda raw: re.sub(rb"\0[^\n]*", b"", raw).decode("latin-1").split("\n"),
    "Latin-1": lambda raw: raw.decode("latin-1").splitlines(),
    "UTF-8": lambda raw: raw.decode("utf-8", "replace").splitlines(),
}


def by_splitting(split: Callable[[bytes], list[str]], strict: bool) -> Callable[[bytes], list[str]]:
    return lambda raw: in_lines(split(raw), strict=strict)


for _name, _split in SPLITTERS.items():
    READERS[_name] = by_splitting(_split, strict=False)
    READERS[f"{_name}, strict"] = by_splitting(_split, strict=True)


def seen(raw: bytes) -> dict[str, Counter[str]]:
    """The fields that each reader sees outside, but for those that a plaintext brings."""
    return {
        reader: Counter(name for name in map(str.lower, names_in(raw)) if name not in OWN)
        for reader, names_in in READERS.items()
    }


def in_clear(raw: bytes, inner: bytes) -> bytes | None:
    """A message with a plaintext in it; None: it stays encrypted."""
    sink = io.BytesIO()
    try:
        parts = opened(raw, BytesContent(inner))
        smime.write_plaintext(BytesContent(raw), parts, sink, mark=MARK)
    except MessageError:
        return None
    return sink.getvalue()


NAMES = [b"Content-Type", b"content-disposition", b"Content-Description", b"Content-ID"]
NAMES += [b"Content-Transfer-Encoding", b"Content-Type ", b"Content-Type\t", b"Content-Language"]
NAMES += [b"Subject", b"MIME-Version", b"From ", b"", b"Content-Type\x00", b"C\xc3\xb6ntent-ID"]
PIECES = [
    b"text/plain",
    b"; name=x",
    b"x" * 60,
    b"=?utf-8?q?=0AFrom:_x?=",
    "выход".encode(),
    b"\xe4",
]
BREAKS = [b"\r", b"\n", b"\r\n", b"\r\r\n", b"\n\r", b"\r\n ", b"\n\t", b"\n \n ", b"\r\n\t\r\n "]
BREAKS += [b"\0", b"\x0b", b"\x0c", b"\x1b", b"\x1c", b"\x1d", b"\x1e", b"\x7f", b"\x08", b"\x85"]
BREAKS += [b"\xc2\x85", "\u2028".encode(), "\u2029".encode(), b"\n\n", b"\r\n\r\n", b" "]
FORGED = [b"From: mallory@example.org", b"X-Forged: 1", b"Subject:", b" Bcc: x", b":", b"", b"text"]


def random_header(chance: random.Random) -> bytes:
    lines = []
    for _ in range(chance.randint(1, 4)):
        value = b"".join(
            chance.choice(chance.choice([PIECES, PIECES, BREAKS, FORGED]))
            for _ in range(chance.randint(1, 6))
        )
        lines.append(chance.choice(NAMES) + b": " + value)
    return chance.choice([b"\r\n", b"\r\n", b"\n", b"\r", b"\n\n"]).join(lines)


@pytest.mark.parametrize(
    "count", [1500, pytest.param(20_000, marks=pytest.mark.all_only)], ids=["sample", "all"]
)
@pytest.mark.parametrize("line_end", [b"\r\n", b"\n"], ids=["CRLF", "LF"])
def test_the_header_of_a_plaintext_forges_and_hides_no_field(
    line_end: bytes, count: int, envelope: bytes
) -> None:
    chance = random.Random(7)
    raw = stored(envelope, line_end)
    before = seen(raw)
    assert before["compat32"] == Counter(["from", "subject", "date"])
    taken = 0
    for _ in range(count):
        inner = random_header(chance) + chance.choice([b"\r\n\r\n", b"\n\n", b""]) + b"text\r\n"
        new = in_clear(raw, inner)
        if new is None:
            continue
        taken += 1
        after = seen(new)
        for reader, fields in before.items():
            assert after[reader] == fields, (reader, inner)
    assert count // 20 < taken < count


STAYS = {
    "bare CR": b"Content-Type: text/plain\rFrom: x",
    "CR CR LF": b"Content-Type: text/plain;\r\r\n name=x",
    "NUL": b"Content-Type: text/plain\0",
    "ESC": b"Content-Description: \x1b[2J",
    "VT": b"Content-Description: a\x0bFrom: x",
    "FF": b"Content-Description: a\x0cFrom: x",
    "DEL": b"Content-ID: <a\x7f>",
    "a line of white space": b"Content-Type: text/plain;\r\n \r\n name=x",
    "NEL in Latin-1": b"Content-Description: a\x85From: x",
    "NEL": "Content-Description: a\u0085From: x".encode(),
    "a line separator": "Content-Description: a\u2028From: x".encode(),
    "a paragraph separator": "Content-Description: a\u2029From: x".encode(),
    "a space before the colon": b"Content-Type : text/plain",
    "a line too long": b"Content-Description: " + b"x" * 1000,
    "a field too large": b"Content-Description: " + b"\r\n ".join([b"x" * 900] * 220),
    "two types": b"Content-Type: text/plain\r\nContent-Type: text/html",
    "two encodings": b"Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: base64",
    "a protected header with ESC": b"Subject: a\x1b[2J\r\nContent-Type: text/plain",
}


@pytest.mark.parametrize("name", STAYS)
def test_what_some_would_misread_stays_encrypted_and_the_field_is_named(
    name: str, envelope: bytes
) -> None:
    raw, inner = stored(envelope, b"\n"), STAYS[name] + b"\r\n\r\ntext\r\n"
    field = re.match(rb"[!-9;-~]+", inner)
    assert field is not None
    parts = opened(raw, BytesContent(inner))
    with pytest.raises(UnsupportedMessage, match=r"^the field .* of its plaintext ") as caught:
        smime.write_plaintext(BytesContent(raw), parts, io.BytesIO(), mark=MARK)
    assert field[0].decode().lower() in caught.value.message.lower()
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    "inner",
    [
        b"Content-Type: text/plain;\n\r name=x\n\ntext\n",
        b"Content-Type: text/plain\nno field\n\ntext\n",
        b"From: a@example.org\n\nMIME-Version: 1.0\n\nContent-Type: text/plain\n\n\n\ntext\n\n",
    ],
    ids=["LF CR", "no field", "doubled line ends"],
)
def test_so_does_a_plaintext_whose_header_ends_elsewhere_for_some(
    inner: bytes, envelope: bytes
) -> None:
    assert in_clear(stored(envelope, b"\n"), inner) is None


@pytest.mark.parametrize(
    "header",
    [
        b"Content-Type: text/plain;\r\n\tcharset=utf-8;\r\n name=" + b"x" * 900,
        b'Content-Disposition: attachment; filename="Gr\xfc\xdfe.pdf"',
        'Content-Disposition: attachment; filename="Grüße.pdf"'.encode(),
        b"Content-ID: <a@b>\r\nContent-ID:  <a@b>",
    ],
    ids=["folded", "Latin-1", "UTF-8", "the same twice"],
)
def test_what_all_read_alike_is_put_in_clear(header: bytes, envelope: bytes) -> None:
    new = in_clear(stored(envelope, b"\r\n"), header + b"\r\n\r\ntext\r\n")
    assert new is not None
    assert header in new


def test_half_of_a_letter_that_ends_a_line_in_latin_1_is_no_harm_in_what_lies_there(
    envelope: bytes,
) -> None:
    raw = "Subject: выход\n".encode() + stored(envelope, b"\n")
    assert in_clear(raw, b"Content-Type: text/plain\r\n\r\ntext\r\n") is not None


@pytest.mark.parametrize(
    "line",
    [b"X-A : b", b"X-A: b\x85c", "X-A: b\u2028c".encode(), "X-A: b\u2029".encode()],
    ids=["a space before the colon", "NEL in Latin-1", "a line separator", "a paragraph separator"],
)
def test_so_does_what_stands_in_a_header_that_some_end_sooner(line: bytes, envelope: bytes) -> None:
    raw = line + b"\n" + stored(envelope, b"\n")
    assert in_clear(raw, b"Content-Type: text/html\r\n\r\ntext\r\n") is None
