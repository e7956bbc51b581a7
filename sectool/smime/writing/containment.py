"""What holds before a plaintext is put where its CMS was: that it stays in its own part.

Someone may have put old ciphertext into a message of his own, so that a mail program
shows its plaintext in the middle of his text and tells him of it (EFAIL). Where any
reader might take what is around a plaintext for something else than we do, it stays
encrypted. So it does where some might see other fields in its own header than we do:
whoever encrypted it would write into the header of the message around it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from sectool.errors import UnsupportedMessage
from sectool.message import COPY_BLOCK, Content
from sectool.mime.header import CONTENT_FIELDS, Field, HeaderBlock
from sectool.mime.ranges import ForwardReader
from sectool.smime.parts import WholeEntity

_MISREAD = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|\n[ \t]+\r?(?:\n|$)|\n\r?\n")
"""Control characters, of which some end a line to some readers, and lines of white space,
which end the header to some."""

_BREAKS = re.compile("[\x85\u2028\u2029]")
"""Characters that end a line to those who read a header as text (Unicode, UAX 14)."""

_BREAKING = re.compile(rb"\x85|\xe2\x80[\xa8\xa9]")
"""The same in Latin-1 and in UTF-8."""

_LONGEST_LINE = 998
"""Octets of a header line without its end (RFC 5322 section 2.1.1)."""
_LARGEST_FIELD = 16 * 1024
"""Octets of a field with all its lines."""

_MBOX_LINE = re.compile(rb"From [^\r\n]*\r?\n")
_DAMAGED = "a header around it is damaged: some mail programs would show it among other text"
_TWICE = "a header around it says its type twice: some mail programs would show it in other text"
_ONCE = (b"content-type", b"content-transfer-encoding")


def check_containment(content: Content, place: WholeEntity, inner: Content) -> None:
    """Holds that a plaintext in this place is read there, and as a part of its own, by everybody.

    Args:
        content: the message, or the plaintext that an envelope lies in.
        place: of the encrypted part in it.
        inner: what is to stand there.

    Raises:
        UnsupportedMessage: it may be read otherwise.
    """
    if place.oddity:
        raise UnsupportedMessage(f"{place.oddity}: some mail programs would not see it there")
    for header in (*place.around, place.header):
        if not _is_read_alike(content, header):
            raise UnsupportedMessage(_DAMAGED)
    for header in place.around:
        names = Counter(field.name for field in header.fields)
        if any(names[name] > 1 for name in _ONCE):
            raise UnsupportedMessage(_TWICE)
    if place.enclosing and _holds_delimiter(inner, place.enclosing):
        raise UnsupportedMessage("its plaintext would end the multipart that it stands in")


def check_fields(header: HeaderBlock, size: int) -> None:
    """Holds that everybody reads the header of a plaintext alike, and its fields anywhere.

    Args:
        header: of an inner entity; its Content-* fields may go into the header of a message.
        size: bytes of the whole entity.

    Raises:
        UnsupportedMessage: a mail program may see other fields there, or none.
    """
    if header.fields and header.body_start == header.end < size:
        raise UnsupportedMessage("the header of its plaintext ends in a line that is no field")
    said: dict[bytes, list[bytes]] = {}
    for field in header.fields:
        fault = _fault_of(field)
        words = field.value.split()
        if field.name in CONTENT_FIELDS and said.setdefault(field.name, words) != words:
            fault = fault or "is there twice and says two things"
        if fault:
            name = field.name[:40].decode("ascii").title()
            raise UnsupportedMessage(f"the field {name} of its plaintext {fault}")


def _fault_of(field: Field) -> str:
    """What some mail programs might misread a field of a plaintext for; empty: nothing."""
    if _is_misread(field):
        return "holds a control character, a line of white space or a broken line end"
    if field.name not in CONTENT_FIELDS:
        return ""
    # Some take every header for Latin-1, in which half of a letter may end a line.
    if _BREAKING.search(field.raw):
        return "holds a character that ends a line to some mail programs"
    if len(field.raw) > _LARGEST_FIELD:
        return f"is longer than {_LARGEST_FIELD} octets"
    if max(map(len, field.raw.splitlines())) > _LONGEST_LINE:
        return f"has a line of more than {_LONGEST_LINE} octets"
    return ""


def _is_misread(field: Field) -> bool:
    """Whether some mail programs see in these lines another field, or the end of the header."""
    # RFC 5322 section 4.5 allowed white space there once; to many such a line is no field.
    if field.raw.partition(b":")[0].endswith((b" ", b"\t")):
        return True
    if _MISREAD.search(field.raw):
        return True
    text = field.raw.decode("utf-8", "replace")
    if "\ufffd" in text:
        text += field.raw.decode("latin-1")
    return _BREAKS.search(text) is not None


def _is_read_alike(content: Content, header: HeaderBlock) -> bool:
    if any(map(_is_misread, header.fields)):
        return False
    begin = header.fields[0].start if header.fields else header.end
    if sum(len(field.raw) for field in header.fields) != header.end - begin:
        return False  # lines that are no field
    return begin == header.start or _is_mbox_line(content, header.start, begin)


def _is_mbox_line(content: Content, start: int, end: int) -> bool:
    with content.open() as stream:
        reader = ForwardReader(stream)
        reader.pass_to(start)
        return _MBOX_LINE.fullmatch(b"".join(reader.blocks_to(end))) is not None


def _holds_delimiter(inner: Content, boundaries: tuple[bytes, ...]) -> bool:
    # RFC 2046 section 5.1.1: that a line begins so is enough for a delimiter line. What
    # ends a line is not the same to all that read mail.
    delimiters = [end + boundary for boundary in boundaries for end in (b"\n", b"\r")]
    size = max(map(len, delimiters))
    return any(one in text for text in _overlapping(inner, size) for one in delimiters)


def _overlapping(inner: Content, size: int) -> Iterator[bytes]:
    """All bytes in blocks, each with as many of those before it."""
    # What it begins with will stand at the start of a line.
    before = b"\n"
    with inner.open() as stream:
        while block := stream.read(COPY_BLOCK):
            yield before + block
            before = (before + block)[-size:]
