"""Looks for CMS envelopes in bytes and texts that the walk of a message did not take for CMS.

Whatever a part is called, and whatever stands around it: an envelope counts where its
ContentInfo can be followed to the RecipientInfos. A forward search at the speed of the
library's own comes first; only where it hits, a text is cleaned and read.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import BinaryIO

from sectool import cms
from sectool.budget import Work, current
from sectool.cms.description import goes_on_behind_recipients
from sectool.errors import LimitExceeded
from sectool.mime.base64_text import Base64Decoder
from sectool.mime.limits import Limits
from sectool.mime.transfer_encoding import stream_of
from sectool.smime.finding import needles
from sectool.values import dataclass

Opener = Callable[[], BinaryIO]

BLOCK = 256 * 1024
OVERLAP = 256
"""Of two windows: more than the head of an envelope takes in base64."""
_AHEAD = 8 * 1024
"""Bytes after the beginning of an envelope that tell it from something else."""
_LONGEST_LINE = 64 * 1024

_LONGEST_TAG = 1000
_TAG = re.compile(rb"<(?![^<>]{0,200};base64,)[^<>]{0,%d}>" % _LONGEST_TAG)
"""Not one that holds the base64 itself."""
_REFERENCE = re.compile(rb"&(#[0-9]{1,5}|#[xX][0-9A-Fa-f]{1,4}|[A-Za-z]{2,8});")
_NAMED = {b"gt": b">", b"lt": b"<", b"amp": b"&", b"plus": b"+", b"equals": b"=", b"sol": b"/"}
_MARGIN = re.compile(rb"^(?:[A-Za-z]{0,8}[>|]|[ \t:#%*\xa0\"'])+", re.MULTILINE)
"""Quotation marks before lines, with a name or not, and those around the strings of a program."""
_BEHIND_LINE = b" \t\xa0\"',.;\r"
_ESCAPED = re.compile(rb"\\+[rnt]|\\+(?=/)|\xe2\x80[\x8b-\x8d]")
"""Line ends and slashes as they stand in JSON, and spaces without a width."""
_LINE_ENDS = b"\r\n\t\0\x0b\x0c"
_NOT_ASCII = bytes(range(128, 256))
"""Blanks of other charsets, and those without width."""
_RUN = re.compile(rb"[A-Za-z0-9+/=]*(?:[ >|]{1,8}[A-Za-z0-9+/]{16,}=*)*")
"""Base64, also where a blank took the place of each line end."""
_MARKUP = re.compile(rb"[<&]")
_ESCAPE_AHEAD = re.compile(rb"[\\\x80]")


@dataclass(frozen=True, slots=True)
class Catch:
    """An envelope that was found."""

    seen: cms.RecipientsSeen
    is_head: bool = False
    """Whether it ends, or turns into something else, before its first recipient is whole, so
    that no key opens it."""


def envelopes_in(opener: Opener, limits: Limits) -> Iterator[Catch]:
    """Envelopes in a body, as they are and in base64, in this order.

    Args:
        opener: opens the decoded body anew.
        limits: bounds on hostile input.

    Raises:
        LimitExceeded: there are too many, or too much that looks like one.
    """
    with opener() as stream:
        if not any(needles.may_hold_envelope(window) for window in windows(stream)):
            return
    yield from _search(_Bytes(opener), limits)
    yield from _search(_Text(opener), limits)


def several_in(openers: Iterable[Opener], limits: Limits) -> list[cms.RecipientsSeen]:
    """The envelopes of a body that holds more than one; none where it does not.

    Args:
        openers: of the body as it is stored, and decoded.
        limits: bounds on hostile input.

    Raises:
        LimitExceeded: as ``envelopes_in``.
    """
    for opener in openers:
        found = [one.seen for one in envelopes_in(opener, limits) if not one.is_head]
        if len(found) > 1:
            return found
    return []


def windows(stream: BinaryIO) -> Iterator[bytes]:
    """A stream in blocks, each with some bytes of the one before."""
    before = b""
    while block := stream.read(BLOCK):
        yield before + block if before else block
        before = block[-OVERLAP:]


class _Bytes:
    """A body as it is."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener

    def blocks(self) -> Iterator[bytes]:
        with self._opener() as stream:
            while block := stream.read(BLOCK):
                yield block

    @staticmethod
    def starts(window: bytes) -> Iterator[tuple[int, int]]:
        return ((start, 0) for start in needles.starts_in_bytes(window))

    @staticmethod
    def decoded(blocks: Iterator[bytes]) -> Iterator[bytes]:
        return blocks


class _Text:
    """A body as text, without what stands between the characters of base64 in it.

    A blank inside a line stays: it may be between words.
    """

    def __init__(self, opener: Opener) -> None:
        self._opener = opener

    def blocks(self) -> Iterator[bytes]:
        rest = b""
        with self._opener() as stream:
            while block := stream.read(BLOCK):
                text = rest + block.translate(None, b"\0" + _NOT_ASCII)
                end = text.rfind(b"\n") + 1
                if not end and len(text) > _LONGEST_LINE:
                    end = _before_markup(text)
                rest = text[end:]
                yield _cleaned(text[:end])
        yield _cleaned(rest)

    @staticmethod
    def starts(window: bytes) -> Iterator[tuple[int, int]]:
        return needles.starts_in_base64(window)

    @staticmethod
    def decoded(blocks: Iterator[bytes]) -> Iterator[bytes]:
        decoder = Base64Decoder(lambda _: None)
        for block in blocks:
            run = _RUN.match(block)[0]  # type: ignore[index]  # always matches
            yield decoder.update(run)
            if len(run) < len(block):
                break
        yield decoder.finish()


def _before_markup(text: bytes) -> int:
    """Where text can be parted: before markup at its end that may go on."""
    last = max(text.rfind(b"<", -_LONGEST_TAG), text.rfind(b"&", -_LONGEST_TAG))
    return len(text) if last <= 0 or b">" in text[last:] else last


def _cleaned(text: bytes) -> bytes:
    if _MARKUP.search(text):
        text = _REFERENCE.sub(_character, _TAG.sub(b"\n", text))
    if _ESCAPE_AHEAD.search(text):
        text = _ESCAPED.sub(b"", text)
    # No expression for the ends of lines: it would look from each of many blanks for one.
    lines = _MARGIN.sub(b"", text).split(b"\n")
    return b"".join([line.rstrip(_BEHIND_LINE) for line in lines]).translate(None, _LINE_ENDS)


def _character(match: re.Match[bytes]) -> bytes:
    name = match[1]
    if not name.startswith(b"#"):
        return _NAMED.get(name.lower(), b" ")
    digits, base = (name[2:], 16) if name[1:2] in b"xX" else (name[1:], 10)
    number = int(digits, base)
    return bytes((number,)) if number < 128 else b" "


def _search(body: _Bytes | _Text, limits: Limits) -> Iterator[Catch]:
    """Follows each beginning once."""
    window, begin, reached, hints, found = b"", 0, -1, 0, 0
    for block in chain(body.blocks(), [None]):
        begin += max(len(window) - 2 * _AHEAD, 0)
        window = window[-2 * _AHEAD :] + (block or b"")
        for start, skipped in body.starts(window):
            if block is not None and start > len(window) - _AHEAD:
                break  # the next window shows more of it
            if begin + start <= reached:
                continue
            reached = begin + start
            hints += 1
            if hints > limits.envelope_hints:
                raise LimitExceeded("too much in the message looks like an encrypted message")
            ahead = window[start : start + 2 * _AHEAD]
            catch = _follow(body, reached, skipped, ahead, is_rest=block is None)
            if catch is None:
                continue
            found += 1
            if found > limits.envelopes_unreached:
                raise LimitExceeded("the message holds too many envelopes to look at")
            yield catch


def _follow(
    body: _Bytes | _Text, offset: int, skipped: int, ahead: bytes, *, is_rest: bool
) -> Catch | None:
    """Reads an envelope that may begin at an offset, from the body where that is needed.

    Nearly always what lies ahead in the window tells, and to come to the same place in the
    body means to decode all before it.

    Args:
        body: it may lie in.
        offset: where it may begin.
        skipped: decoded bytes before its first.
        ahead: what lies there.
        is_rest: whether that is all of the body.
    """
    source = _Source(body, lambda: iter((ahead,)), skipped)
    seen = cms.read_recipients(source)
    is_told = seen.is_complete and _names_somebody(seen)
    is_told |= not seen.is_envelope and len(ahead) >= _AHEAD
    if not (is_told or is_rest):
        current().spend(Work.READING, offset)
        source = _Source(body, lambda: _from(body.blocks(), offset), skipped)
        seen = cms.read_recipients(source)
    if not seen.is_envelope:
        return None
    return Catch(seen, is_head=not _names_somebody(seen) and not goes_on_behind_recipients(source))


def _names_somebody(seen: cms.RecipientsSeen) -> bool:
    return any(one.kind is not cms.RecipientKind.OTHER for one in seen.recipients)


class _Source:
    """CMS that begins somewhere in a body."""

    def __init__(
        self, body: _Bytes | _Text, blocks: Callable[[], Iterator[bytes]], skipped: int
    ) -> None:
        self._body = body
        self._blocks = blocks
        self._skipped = skipped

    def open(self) -> BinaryIO:
        """A new stream from its first byte."""
        stream = stream_of(io.BytesIO(), self._body.decoded(self._blocks()))
        stream.read(self._skipped)
        return stream


def _from(blocks: Iterator[bytes], offset: int) -> Iterator[bytes]:
    for block in blocks:
        if offset < len(block):
            yield block[offset:]
        offset = max(offset - len(block), 0)
