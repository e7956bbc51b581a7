"""Tells from what follows whether a header goes on, a message begins or a boundary is another.

Programs that deliver, filter and convert mail put lines where none belong. What
stands behind them says what was meant: only that decides, never the line itself.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from sectool.mime.lines import match_delimiter
from sectool.mime.transfer_encoding import reaches_end_of_cms
from sectool.values import dataclass

LOOK_AHEAD = 16 * 1024
"""Bytes in which a header is looked for."""
BOUNDARY_LOOK_AHEAD = 64 * 1024
"""Bytes in which the first delimiter line of a multipart is looked for."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

# RFC 5322 section 3.6.8, and the white space before the colon of its section 4.5.
FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:")
_MBOX_LINE = re.compile(rb">?From ")
_LEADING_LINES = 8
_LEADING_SIZE = 1024
_SURE = 3
"""Fields of an author that make a message of what stands behind words."""
_BLANK_LINES = re.compile(rb"[\r\n]*")
_DOUBLED = re.compile(rb"([!-9;-~]+)[ \t]*:[^\r\n]*(\r?\n)\2(?:[ \t][^\r\n]*\2\2)*", re.DOTALL)
_DOUBLED_FIELDS = 3
_BOUNDARY_LINE = re.compile(
    rb"(?:^|\n)--([^\r\n]{0,249}[^ \t\r\n])[ \t]*\r?\n"
    rb"(?=content-[a-z-]{2,30}[ \t]*:|mime-version[ \t]*:)",
    re.IGNORECASE,
)
_BOUNDARY = re.compile(rb"boundary[ \t]*=[ \t]*[\"']?([^\"';\s]{1,250})", re.IGNORECASE)

_CONTENT = b"content-"
_MIME_VERSION = b"mime-version"
_OF_A_MESSAGE = frozenset(
    {
        b"from", b"to", b"cc", b"date", b"subject", b"message-id", b"sender", b"reply-to",
        b"received", b"return-path", b"delivered-to", b"in-reply-to", b"references",
        _MIME_VERSION, b"content-type", b"content-transfer-encoding",
    }
)  # fmt: skip
_OF_AN_AUTHOR = frozenset({b"from", b"date", b"message-id", b"to", b"cc", b"subject", b"sender"})
_TRACE = frozenset(
    {
        b"received", b"return-path", b"delivered-to", b"envelope-to", b"envelope-from",
        b"received-spf", b"authentication-results", b"delivery-date", b"status", b"lines",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class BlockAhead:
    """Lines that may be a header, and what stands behind them."""

    names: tuple[bytes, ...]
    """Of the fields, lower case."""
    content_types: tuple[bytes, ...]
    """Values of its Content-Type fields, lower case, unfolded."""
    behind: bytes
    """What follows the blank line; empty where that is not in sight."""
    is_ended: bool
    """Whether a blank line ends it."""

    @property
    def speaks_of_a_body(self) -> bool:
        """Whether nothing but a body is described, and by one field at least."""
        return bool(self.names) and all(
            name.startswith((_CONTENT, b"x-")) or name == _MIME_VERSION for name in self.names
        )

    @property
    def begins_what_it_says(self) -> bool:
        """Whether CMS stands behind it, or the multipart that it names."""
        if reaches_end_of_cms(self.behind, LOOK_AHEAD // 2):
            return True
        for value in self.content_types:
            match = _BOUNDARY.search(value) if value.startswith(b"multipart/") else None
            if match and b"--" + match[1] in self.behind.lower():
                return True
        return False


def block_ahead(head: bytes) -> BlockAhead:
    """The fields at the beginning of ``head``, after blank lines."""
    position = _BLANK_LINES.match(head).end()  # type: ignore[union-attr]  # always matches
    names: list[bytes] = []
    types: list[bytes] = []
    latest = b""
    for start, line in _lines(head, position):
        if not line.strip(b"\r\n"):
            return BlockAhead(tuple(names), tuple(types), head[start + len(line) :], True)
        if match := FIELD.match(line):
            latest = match[1].lower()
            names.append(latest)
            if latest == b"content-type":
                types.append(line[match.end() :].strip().lower())
        elif line[:1] in {b" ", b"\t"} and names:
            if latest == b"content-type":
                types[-1] += line.rstrip(b"\r\n").lower()
        elif not _MBOX_LINE.match(line) or names:
            return BlockAhead(tuple(names), tuple(types), head[start:], False)
    return BlockAhead(tuple(names), tuple(types), b"", len(head) < LOOK_AHEAD)


def _lines(head: bytes, position: int) -> Iterator[tuple[int, bytes]]:
    while position < len(head):
        end = head.find(b"\n", position) + 1 or len(head)
        yield position, head[position:end]
        position = end


def may_begin_field(head: bytes) -> bool:
    """Whether a field begins here, perhaps after blank lines; costs next to nothing."""
    return FIELD.match(head.lstrip(b"\r\n")) is not None or _MBOX_LINE.match(head) is not None


def is_message_ahead(head: bytes) -> bool:
    """Whether a message with a header begins here, perhaps after an mbox line."""
    if not may_begin_field(head[:512]):
        return False
    block = block_ahead(head)
    known = _OF_A_MESSAGE.intersection(block.names)
    if len(known) >= 2:
        return block.is_ended or not block.behind
    return block.speaks_of_a_body and block.begins_what_it_says


def leading_size(head: bytes) -> int:
    """Bytes before the header of a message that are no part of it; zero in sound mail.

    Blank lines, a byte order mark, what a program said before it wrote the message.
    """
    position = len(BYTE_ORDER_MARK) if head.startswith(BYTE_ORDER_MARK) else 0
    if FIELD.match(head, position):
        return position
    is_said = False
    for count, (start, line) in enumerate(_lines(head, position)):
        if count > _LEADING_LINES or start > _LEADING_SIZE:
            return 0
        is_blank_behind = head.startswith((b"\n", b"\r\n"), start + len(line))
        if start == position and _MBOX_LINE.match(line) and not is_blank_behind:
            return position
        if FIELD.match(line):
            names = block_ahead(head[start:]).names if is_said else ()
            is_sure = not is_said or len(_OF_AN_AUTHOR.intersection(names)) >= _SURE
            return start if is_sure and is_message_ahead(head[start:]) else 0
        is_said |= bool(line.strip())
    return 0


def goes_on_behind_blank(names: Collection[bytes], content_types: list[bytes], head: bytes) -> bool:
    """Whether a header goes on behind a blank line.

    Args:
        names: of its fields so far, lower case.
        content_types: values of its Content-Type so far.
        head: what follows.
    """
    if not may_begin_field(head[:512]):
        return False
    if any(one.lower().startswith((b"message/", b"multipart/")) for one in content_types):
        return False
    block = block_ahead(head)
    if block.speaks_of_a_body:
        return block.begins_what_it_says
    # What a program put on top of a whole message, with a blank line behind.
    is_put_on_top = bool(names) and all(name in _TRACE or name.startswith(b"x-") for name in names)
    return is_put_on_top and len(_OF_AN_AUTHOR.intersection(block.names)) >= 2


def doubled_line_end(head: bytes) -> bytes:
    """The line end of a message of which every one is there twice; empty in all others."""
    position, found = 0, set[bytes]()
    line_end = b""
    while len(found) < _DOUBLED_FIELDS:
        match = _DOUBLED.match(head, position)
        if match is None or (name := match[1].lower()) not in _OF_A_MESSAGE | _TRACE:
            return b""
        if not found and name.startswith(_CONTENT):
            return b""  # a plaintext, and what it says
        found.add(name + b"%d" % position)
        line_end, position = match[2], match.end()
    return line_end * 2


def holds_delimiter(head: bytes, boundary: bytes) -> bool:
    """Whether a delimiter line of a multipart stands in ``head``."""
    delimiter = b"--" + boundary
    position = 0 if head.startswith(delimiter) else head.find(b"\n" + delimiter) + 1
    while position or head.startswith(delimiter):
        end = head.find(b"\n", position)
        line = head[position:] if end < 0 else head[position:end]
        if match_delimiter(line, delimiter.rstrip(b" \t")) is not None:
            return True
        position = head.find(b"\n" + delimiter, position) + 1
        if not position:
            return False
    return False


def boundary_ahead(head: bytes, others: Collection[bytes]) -> bytes:
    """The boundary that the lines of a multipart have, whatever its header says; empty: none.

    Args:
        head: the beginning of its body.
        others: boundaries of the multiparts around, with their two hyphens.
    """
    match = _BOUNDARY_LINE.search(head)
    if match is None or match[1].startswith(b"-BEGIN ") or b"--" + match[1] in others:
        return b""
    return match[1]
