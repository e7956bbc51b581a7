"""Looks for CMS envelopes in bytes and texts that the walk of a message did not take for CMS.

Whatever a part is called, and whatever stands around it: an envelope counts where its
ContentInfo can be followed to the RecipientInfos. A forward search at the speed of the
library's own comes first; only where it hits, a text is cleaned and read.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from sectool import cms
from sectool.cms.envelope import encrypted_content_blocks, read_envelope
from sectool.errors import LimitExceeded, MalformedMessage
from sectool.smime import needles
from sectool.smime.limits import Limits
from sectool.smime.transfer import Base64Decoder, stream_of

Opener = Callable[[], BinaryIO]

BLOCK = 256 * 1024
OVERLAP = 256
"""Of two windows: more than the head of an envelope takes in base64."""
_LONGEST_LINE = 64 * 1024

_TAG = re.compile(rb"<(?![^<>]{0,200};base64,)[^<>]{0,1000}>")
_REFERENCE = re.compile(rb"&(#[0-9]{1,5}|#[xX][0-9A-Fa-f]{1,4}|[A-Za-z]{2,8});")
_NAMED = {b"gt": b">", b"lt": b"<", b"amp": b"&", b"plus": b"+", b"equals": b"=", b"sol": b"/"}
_MARGINS = re.compile(
    rb"^[ \t]{0,8}[A-Za-z]{1,4}>[ \t>|\xa0]*|^[ \t>|\xa0\"'*]+|[ \t\xa0\"',.;]+\r?$", re.MULTILINE
)
"""Quotation marks before lines, with a name or not, and those around the strings of a program."""
_ESCAPES = re.compile(rb"\\[nrt\\]+|\\(?=/)|\xe2\x80[\x8b-\x8d]")
"""Line ends and slashes as they stand in JSON, and spaces without a width."""
_LINE_ENDS = b"\r\n\t\0\x0b\x0c"
_RUN = re.compile(rb"[A-Za-z0-9+/=]*")
_MARKUP = re.compile(rb"[<&]")
_ESCAPED = re.compile(rb"[\\\x80]")


@dataclass(frozen=True, slots=True)
class Catch:
    """An envelope that was found."""

    seen: cms.RecipientsSeen
    is_cut: bool
    """Whether less of it is there than it says, and not all of its RecipientInfos."""
    is_hopeless: bool = False
    """Whether no recipient can be named, and no envelope is there that goes on behind them."""


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

    A blank inside a line stays: it is between words.
    """

    def __init__(self, opener: Opener) -> None:
        self._opener = opener

    def blocks(self) -> Iterator[bytes]:
        rest = b""
        with self._opener() as stream:
            while block := stream.read(BLOCK):
                text = rest + block.translate(None, b"\0")
                end = text.rfind(b"\n") + 1
                if not end and len(text) > _LONGEST_LINE:
                    end = len(text)
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


def _cleaned(text: bytes) -> bytes:
    if _MARKUP.search(text):
        text = _REFERENCE.sub(_character, _TAG.sub(b"\n", text))
    if _ESCAPED.search(text):
        text = _ESCAPES.sub(b"", text)
    return _MARGINS.sub(b"", text).translate(None, _LINE_ENDS)


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
    for block in body.blocks():
        begin += max(len(window) - OVERLAP, 0)
        window = window[-OVERLAP:] + block
        for start, skipped in body.starts(window):
            hints += 1
            if hints > limits.envelope_hints:
                raise LimitExceeded("too much in the message looks like an encrypted message")
            if begin + start <= reached:
                continue
            reached = begin + start
            catch = _follow(body, reached, skipped)
            if catch is None:
                continue
            found += 1
            if found > limits.envelopes_unreached:
                raise LimitExceeded("the message holds too many envelopes to look at")
            yield catch


def _follow(body: _Bytes | _Text, offset: int, skipped: int) -> Catch | None:
    source = _Source(body, offset, skipped)
    seen = cms.read_recipients(source)
    if not seen.is_envelope:
        return None
    if seen.is_complete:
        is_patched = not source.goes_on_behind_recipients(seen.content_type)
        return Catch(seen, is_cut=False, is_hopeless=is_patched and not source.is_cut())
    is_hopeless = not seen.recipients and not source.goes_on()
    return Catch(seen, source.is_cut(), is_hopeless)


class _Source:
    """CMS that begins somewhere in a body."""

    def __init__(self, body: _Bytes | _Text, offset: int, skipped: int) -> None:
        self._body = body
        self._offset = offset
        self._skipped = skipped

    def open(self) -> BinaryIO:
        """A new stream from its first byte."""
        decoded = self._body.decoded(_from(self._body.blocks(), self._offset))
        stream = stream_of(io.BytesIO(), decoded)
        stream.read(self._skipped)
        return stream

    def goes_on_behind_recipients(self, content_type: str) -> bool:
        """Whether encrypted content follows; where it does not, other text took its place."""
        if content_type not in {cms.ENVELOPED_DATA, cms.AUTH_ENVELOPED_DATA}:
            return True
        try:
            with self.open() as stream:
                next(encrypted_content_blocks(stream, cms.DEFAULT_LIMITS), b"")
        except MalformedMessage:
            return False
        return True

    def goes_on(self) -> bool:
        """Whether it is a whole envelope but for what its RecipientInfos are."""
        try:
            with self.open() as stream:
                read_envelope(stream, with_recipients=False)
        except MalformedMessage:
            return False
        return True

    def is_cut(self) -> bool:
        """Whether less is there than its outer length says; so, too, where that says nothing."""
        with self.open() as stream:
            head = stream.read(2)
            if len(head) < 2 or head[1] <= 0x80:
                return True
            left = int.from_bytes(stream.read(head[1] - 0x80), "big")
            while left > 0 and (block := stream.read(min(left, BLOCK))):
                left -= len(block)
            return left > 0


def _from(blocks: Iterator[bytes], offset: int) -> Iterator[bytes]:
    for block in blocks:
        if offset < len(block):
            yield block[offset:]
        offset = max(offset - len(block), 0)
