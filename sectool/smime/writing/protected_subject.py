"""The Subject that stands protected inside an envelope, and the one shown outside (RFC 9788).

A protected header says so itself: ``hp`` in the Content-Type of the innermost
entity, ``protected-headers="v1"`` in the drafts before, or a message/rfc822
with ``forwarded=no`` (RFC 8551 section 3.1). Outside stands a Subject that
tells nothing.
"""

from __future__ import annotations

import base64
import unicodedata
from collections.abc import Iterator
from email.errors import MessageError as EmailError
from email.header import decode_header, make_header
from typing import BinaryIO

from sectool import cms
from sectool.errors import LimitExceeded, MalformedMessage
from sectool.message import COPY_BLOCK, BytesContent, Content, digest_stream
from sectool.mime.content_type import ParameterizedValue, parse_content_type
from sectool.mime.header import CONTENT_FIELDS, Field, HeaderBlock, read_header
from sectool.mime.lines import LineScanner
from sectool.mime.ranges import ForwardReader
from sectool.mime.transfer_encoding import stream_of
from sectool.smime.identity import OBSCURED_SUBJECTS
from sectool.smime.parts import fields_named
from sectool.smime.signing.signatures import check_signature, signed_entity
from sectool.smime.writing.plaintext_mark import MARK_FIELD
from sectool.values import dataclass

_LONGEST = 16 * 1024
_LINE = 900
"""Columns of a header line; RFC 5322 allows 998."""
_UNSHOWN = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories of what ends a line to some readers, or is no text."""
_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""What makes a reader show the text behind it in another order (Unicode, UAX 9)."""
_WORD = 45
"""Octets that one encoded-word has room for, with UTF-8 and base64 (RFC 2047 section 2)."""


def protected_subject(plaintext: Content, content_type: str) -> bytes | None:
    """The protected Subject of a plaintext as a header may show it: one line of ASCII.

    Args:
        plaintext: of a whole message.
        content_type: of it, dotted, as its envelope says.

    Returns:
        None where none is protected, or more than one, or a signature over the plaintext
        does not verify, or no header could hold it.

    Raises:
        MessageChanged: the plaintext became shorter meanwhile.
        OSError: it cannot be read.
    """
    try:
        signed = signed_entity(plaintext, content_type=content_type)
        if signed is None and content_type != cms.ID_DATA:
            return None
        header = _protected_header(plaintext if signed is None else signed)
    except MalformedMessage:
        return None
    field = None if header is None else _only_subject(header)
    if field is None:
        return None
    if signed is not None:
        check = check_signature(plaintext, content_type=content_type)
        if check is None or not check.is_valid:
            return None
    return _as_ascii(field.value)


def _protected_header(payload: Content) -> HeaderBlock | None:
    with payload.open() as stream:
        scanner = LineScanner(stream)
        header = read_header(scanner)
        media_type = parse_content_type(header.first(b"content-type") or b"")
        if media_type is None:
            return None
        if media_type.value == "message/rfc822" and _is(media_type, "forwarded", b"no"):
            return read_header(scanner)
    protects = (
        _is(media_type, "hp", b"cipher")
        or _is(media_type, "hp", b"clear")
        or _is(media_type, "protected-headers", b"v1")
    )
    return header if protects else None


def _is(media_type: ParameterizedValue, name: str, value: bytes) -> bool:
    return media_type.parameters.get(name, b"").lower() == value


def _only_subject(header: HeaderBlock) -> Field | None:
    fields = [field for field in header.fields if field.name == b"subject"]
    return fields[0] if len(fields) == 1 else None


def _as_ascii(value: bytes) -> bytes | None:
    if not value or len(value) > _LONGEST:
        return None
    value = value.replace(b"\t", b" ")
    # Also what it would be shown as: an encoded-word may hold anything.
    if (shown := _decoded(value)) is None:
        return None
    text = value.decode("utf-8")
    if not all(map(_is_shown, text + shown)):
        return None
    return value if value.isascii() else b" ".join(_encoded_words(text))


def _is_shown(character: str) -> bool:
    return unicodedata.category(character) not in _UNSHOWN and character not in _DIRECTIONS


def _encoded_words(text: str) -> Iterator[bytes]:
    """A text as encoded-words, none of which ends inside a character (RFC 2047 section 5)."""
    word = b""
    for character in (*text, ""):
        octets = character.encode("utf-8")
        if not octets or len(word) + len(octets) > _WORD:
            yield b"=?utf-8?b?" + base64.b64encode(word) + b"?="
            word = b""
        word += octets


def _decoded(value: bytes) -> str | None:
    """What readers show of an unstructured field; None: it is in no charset."""
    try:
        return str(make_header(decode_header(value.decode("utf-8"))))
    except (UnicodeError, ValueError, LookupError, EmailError):
        return None


# --- outside -------------------------------------------------------------------------


def with_protected_subject(content: Content, subject: bytes) -> Content | None:
    """A stored message that shows its protected Subject; None: it shows one already.

    Args:
        content: the stored message.
        subject: as ``protected_subject`` gives it.
    """
    header = _header(content)
    field = None if header is None else _only_subject(header)
    if header is None or field is None or not _is_obscured(field):
        return None
    return _replaced(content, header, field, subject)


def with_obscured_subject(content: Content, subject: bytes, outer_header: bytes) -> Content | None:
    """A stored message with the Subject it had while encrypted; None: it does not show another.

    Args:
        content: the stored message.
        subject: the protected one.
        outer_header: what the message had at first.
    """
    header, before = _header(content), _header(BytesContent(outer_header))
    shown = None if header is None else _only_subject(header)
    obscured = None if before is None else _only_subject(before)
    if header is None or shown is None or obscured is None:
        return None
    if _decoded(shown.value) != _decoded(subject) or not _is_obscured(obscured):
        return None
    return _replaced(content, header, shown, obscured.value)


def with_header_of(original: Content, present: Content) -> Content | None:
    """An original with the header that its message has now; None: it says the same.

    Of the original are the fields that describe its body, and a Subject that tells nothing,
    since another may have been shown in its place.

    Args:
        original: as it was before it was replaced.
        present: the copy that took its place, to which its owner may have added.
    """
    then, now = _header(original), _header(present)
    if then is None or now is None:
        return None
    own = CONTENT_FIELDS | {b"mime-version"}
    subject = _only_subject(then)
    if subject is not None and _is_obscured(subject):
        own = own | {b"subject"}
    kept = _lines(present, now, own | {MARK_FIELD}, wanted=False)
    if _said(kept) == _said(_lines(original, then, own | {MARK_FIELD}, wanted=False)):
        return None
    kept = kept.replace(b"\r\n", b"\n").replace(b"\n", then.line_end)
    return _Replaced(original, 0, then.end, kept + _lines(original, then, own, wanted=True))


def _lines(
    content: Content, header: HeaderBlock, names: frozenset[bytes], *, wanted: bool
) -> bytes:
    """The lines of a header that are of some fields, or are not."""
    with content.open() as stream:
        raw = stream.read(header.end)
    parts, at = [], 0
    for start, end in fields_named(header, names):
        parts.append(raw[start:end] if wanted else raw[at:start])
        at = end
    rest = b"" if wanted else raw[at:]
    text = b"".join([*parts, rest])
    return text if not text or text.endswith(b"\n") else text + header.line_end


def _said(header: bytes) -> list[bytes]:
    """What the fields of a header say, whatever their order and their line ends."""
    unfolded = header.replace(b"\r\n", b"\n").replace(b"\n ", b" ").replace(b"\n\t", b" ")
    return sorted(b" ".join(line.split()) for line in unfolded.split(b"\n"))


def _is_obscured(field: Field) -> bool:
    return field.value.lower() in OBSCURED_SUBJECTS


def _header(content: Content) -> HeaderBlock | None:
    try:
        with content.open() as stream:
            return read_header(LineScanner(stream), is_message=True)
    except LimitExceeded:
        return None


def _replaced(
    content: Content, header: HeaderBlock, field: Field, subject: bytes
) -> Content | None:
    lines = _folded(b"Subject: " + subject, header.line_end)
    return None if lines is None else _Replaced(content, field.start, field.end, lines)


def _folded(line: bytes, line_end: bytes) -> bytes | None:
    """A header field in lines that are not too long; None where no space lets them be broken."""
    lines = []
    while len(line) > _LINE:
        at = line.rfind(b" ", len(b"Subject: "), _LINE)
        if at <= 0 or not line[:at].strip() or not line[at:].strip():
            return None
        lines.append(line[:at] + line_end)
        line = line[at:]
    return b"".join([*lines, line, line_end])


@dataclass(frozen=True, slots=True)
class _Replaced:
    """A content with other bytes in the place of some."""

    content: Content
    start: int
    end: int
    new: bytes

    @property
    def size(self) -> int:
        return self.content.size - (self.end - self.start) + len(self.new)

    @property
    def digest(self) -> str:
        with self.open() as stream:
            return digest_stream(stream)

    def open(self) -> BinaryIO:
        stream = self.content.open()
        return stream_of(stream, self._blocks(stream))

    def _blocks(self, stream: BinaryIO) -> Iterator[bytes]:
        reader = ForwardReader(stream)
        yield from reader.blocks_to(self.start)
        yield self.new
        reader.pass_to(self.end)
        while block := stream.read(COPY_BLOCK):
            yield block
