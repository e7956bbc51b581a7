"""A plaintext in the place of its CMS: nothing is lost, and nothing is told twice."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from sectool import smime
from sectool.errors import MalformedMessage, MessageError, UnsupportedMessage
from sectool.message import BytesContent, Content, FileContent
from sectool.outcome import PlaintextDigest
from sectool.smime.identity import identities_in_clear

MARK = smime.Mark("0b0e-1", 7)
OUTER = (
    b"From: a@example.org|Subject: ...|Content-Type: application/pkcs7-mime|"
    b"X-Sectool-Id: theirs|Content-Transfer-Encoding: base64|Date: today||"
)


def stored(envelope: bytes, line_end: bytes) -> bytes:
    text = base64.encodebytes(envelope).replace(b"\n", line_end)
    return OUTER.replace(b"|", line_end) + text


def opened(raw: bytes, *inner: Content) -> list[smime.DecryptedPart]:
    parts = smime.take_inventory(BytesContent(raw)).parts
    return [
        smime.DecryptedPart(part, content, PlaintextDigest(content.digest))
        for part, content in zip(parts, inner, strict=True)
    ]


def decrypted(raw: bytes, *inner: bytes) -> bytes:
    sink = io.BytesIO()
    parts = opened(raw, *map(BytesContent, inner))
    smime.write_plaintext(BytesContent(raw), parts, sink, mark=MARK)
    return sink.getvalue()


def checked(written: bytes, path: Path, raw: bytes, *inner: bytes) -> None:
    path.write_bytes(written)
    new = FileContent(path, known_digest=hashlib.sha256(written).hexdigest())
    parts = opened(raw, *map(BytesContent, inner))
    smime.check_plaintext(new, BytesContent(raw), parts, mark=MARK)


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n"], ids=["CRLF", "LF"])
def test_the_plaintext_stands_in_the_outer_header_with_the_line_ends_of_the_store(
    line_end: bytes, envelope: bytes, tmp_path: Path
) -> None:
    inner = (
        b"MIME-Version: 1.0\r\nContent-Type: text/plain;\r\n charset=utf-8\r\n\r\none\r\ntwo\r\n"
    )
    raw = stored(envelope, line_end)
    wanted = (
        b"From: a@example.org|Subject: ...|X-Sectool-Id: v=1; job=0b0e-1; message=7|"
        b"MIME-Version: 1.0|Content-Type: text/plain;| charset=utf-8|Date: today||one|two|"
    ).replace(b"|", line_end)
    assert decrypted(raw, inner) == wanted
    checked(wanted, tmp_path / "new", raw, inner)


def test_a_binary_body_keeps_its_bytes(envelope: bytes) -> None:
    binary = b"\x00\r\n\n\r\x01\r\n"
    inner = b"Content-Type: image/x\r\nContent-Transfer-Encoding: binary\r\n\r\n" + binary
    assert decrypted(stored(envelope, b"\n"), inner).endswith(b"\n\n" + binary)


def test_a_header_that_cannot_stand_in_the_outer_one_stays_whole(
    envelope: bytes, tmp_path: Path
) -> None:
    inner = b"Subject: secret\r\nContent-Type: text/plain\r\n\r\nhello\r\n"
    raw = stored(envelope, b"\n")
    written = decrypted(raw, inner)
    header, _, body = written.partition(b"\n\n")
    assert header.count(b"\nSubject:") == 1
    assert b"\nSubject: secret\nContent-Type: text/plain\n\nhello\n" in body
    checked(written, tmp_path / "new", raw, inner)


def test_a_text_without_header_gets_its_blank_line(envelope: bytes, tmp_path: Path) -> None:
    raw = stored(envelope, b"\n")
    written = decrypted(raw, b"just text\r\n")
    assert written.endswith(b"Date: today\n\njust text\n")
    checked(written, tmp_path / "new", raw, b"just text\r\n")


def test_a_plaintext_that_begins_with_a_space_is_refused(envelope: bytes) -> None:
    with pytest.raises(UnsupportedMessage, match="begins with a space"):
        decrypted(stored(envelope, b"\n"), b" folded: into\r\n\r\nthe line before\r\n")


@pytest.mark.parametrize("damage", [(b"two", b"tow"), (b"today", b"never"), (b"plain", b"html")])
def test_a_copy_that_reads_back_otherwise_is_not_taken(
    damage: tuple[bytes, bytes], envelope: bytes, tmp_path: Path
) -> None:
    inner = b"Content-Type: text/plain\r\n\r\none\r\ntwo\r\n"
    raw = stored(envelope, b"\n")
    written = decrypted(raw, inner).replace(*damage)
    with pytest.raises(MalformedMessage):
        checked(written, tmp_path / "new", raw, inner)


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw.replace(b"\n", b"\r\n"),
        lambda raw: b"X-Added: 1\n" + raw,
        lambda raw: raw + b"\n\n",
        lambda raw: raw.replace(b"text/plain;\n charset", b"text/plain; charset"),
    ],
    ids=["line ends", "header", "end", "folding"],
)
def test_a_plaintext_copy_is_known_whatever_a_server_does_to_it(
    change: Callable[[bytes], bytes], inventory_of: Callable[[bytes], smime.Inventory]
) -> None:
    raw = b"From: a@b.c\nContent-Type: text/plain;\n charset=utf-8\n\none\n\ntwo\n"
    before, after = inventory_of(raw), inventory_of(change(raw))
    assert before.as_copy is not None
    assert after.as_copy is not None
    assert before.as_copy.content == after.as_copy.content
    assert before.as_copy.author == after.as_copy.author
    other = inventory_of(raw.replace(b"one", b"eno"))
    assert other.as_copy is not None
    assert other.as_copy.content != before.as_copy.content


def test_line_ends_in_the_middle_count() -> None:
    def of(raw: bytes) -> str:
        content = BytesContent(raw)
        return identities_in_clear(content, smime.root_entity(content).header)[1].content

    texts = [b"one\n\ntwo", b"one\ntwo", b"one\r\rtwo", b"one\r\ntwo\r", b"one\ntwo\n\r"]
    assert len({of(b"A: b\n\n" + text) for text in texts}) == len(texts)


@dataclass(frozen=True)
class Misplaced:
    """A content whose stream is right from where it begins, and wrong wherever it is moved to."""

    raw: bytes

    @property
    def size(self) -> int:
        return len(self.raw)

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.raw).hexdigest()

    def open(self) -> io.BytesIO:
        before = b"something else that stands before it\r\n"
        stream = io.BytesIO(before + self.raw)
        stream.seek(len(before))
        return stream


def test_a_plaintext_that_was_misread_while_it_was_written_is_not_taken(
    envelope: bytes, tmp_path: Path
) -> None:
    inner = Misplaced(b"Content-Type: text/plain\r\n\r\none\r\ntwo\r\n")
    raw = stored(envelope, b"\r\n")
    content, parts = BytesContent(raw), opened(raw, inner)
    path = tmp_path / "new"
    with path.open("wb") as stream:
        smime.write_plaintext(content, parts, stream, mark=MARK)
    new = FileContent(path, known_digest=hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(MessageError, match="as it was decrypted"):
        smime.check_plaintext(new, content, parts, mark=MARK)


# --- the proof of what is encrypted again ------------------------------------------------


def test_a_message_is_told_from_one_that_differs_by_more_than_envelopes(envelope: bytes) -> None:
    cms = b"Content-Type: application/pkcs7-mime\n\n" + base64.encodebytes(envelope)
    start = b'Subject: x\nContent-Type: multipart/mixed; boundary="outer"\n\n--outer\n'
    forward = b"Content-Type: message/rfc822\n\nSubject: y\n"
    text = b"\n--outer\n\nprecious\n--outer--\n"
    raw = start + forward + cms + text
    inventory = smime.take_inventory(BytesContent(raw))
    words = [(part.word, part.envelope.digest) for part in inventory.parts]

    def is_same(changed: bytes, paths: int = 1) -> bool:
        content = BytesContent(changed)
        parts = smime.take_inventory(content).parts
        return smime.differs_by_envelopes_only(content, parts, words * paths, inventory.identity)

    assert is_same(raw)
    assert is_same(b"X-Added: yes\n" + raw.replace(b"\n", b"\r\n"))
    assert is_same(raw + b"\n\n")
    assert is_same(raw.removesuffix(b"\n"))
    assert not is_same(raw.replace(b"precious", b"worthless"))
    assert not is_same(start + b"\nprecious\n--outer\n" + forward + cms + b"\n--outer--\n")
    assert not is_same(start + cms + text)
    assert not is_same(start + forward + cms + b"\n--outer\n" + cms + text, paths=2)
