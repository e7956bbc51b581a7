"""Content transfer encodings, both ways, streamed (RFC 2045 section 6).

The declared encoding is a hint: which layers cover a body is decided by what
is found. It knows nothing of MIME structure.
"""

from __future__ import annotations

import binascii
import io
import re
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import BinaryIO, Protocol

from sectool.budget import Work, current
from sectool.message import Content, Sink

BLOCK = 256 * 1024
"""Encoded bytes read at a time."""
HEAD_SIZE = 4096
"""Encoded bytes that decide on the layers and on what a body holds."""
_MOST_LAYERS = 3

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_WHITE_SPACE = b" \t\r\n"
_NOT_ALPHABET = bytes(set(range(256)) - set(_ALPHABET))
_NOT_ALPHABET_OR_PADDING = bytes(set(_NOT_ALPHABET) - set(b"="))
_PLAIN = _ALPHABET + _WHITE_SPACE
_ARMOUR_BEGIN = b"-----BEGIN "
_ARMOUR_LABELS = (
    b"PKCS7-----",
    b"CMS-----",
    b"PKCS #7 SIGNED DATA-----",
    # As gpgsm writes them.
    b"ENCRYPTED MESSAGE-----",
    b"SIGNED MESSAGE-----",
)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LONGEST_QUOTED_LINE = 64 * 1024

STRAY_CHARACTERS = "characters outside the base64 alphabet were skipped"
MISSING_PADDING = "the base64 padding is missing"
INCOMPLETE_BASE64 = "the base64 text ends inside a group"
PADDING_INSIDE = "the base64 was encoded piece by piece, with padding inside"
AFTER_PADDING = "text after the base64 padding was ignored"


class Layer(StrEnum):
    """One encoding around a body."""

    BASE64 = "base64"
    QUOTED_PRINTABLE = "quoted-printable"
    ARMOUR = "pem"
    """Base64 between the lines of RFC 7468."""


class _Decoder(Protocol):
    def update(self, block: bytes) -> bytes: ...

    def finish(self) -> bytes: ...


class Base64Decoder:
    """Skips what is not of the alphabet, as RFC 2045 section 6.8 says, and notes it.

    Args:
        note: takes the description of each kind of defect met.
    """

    def __init__(self, note: Callable[[str], object]) -> None:
        self._note = note
        self._rest = b""
        self._padded = False
        """Whether padding came last, so that what follows is a piece of its own."""
        self._ended = False

    def update(self, block: bytes) -> bytes:
        """Decodes the whole groups of what has come so far."""
        if self._ended:
            if block.strip():
                self._note(AFTER_PADDING)
            return b""
        if self._padded or b"=" in block:
            words = self._words_behind(block)
            if words < len(block):
                self._note(AFTER_PADDING)
                text = self._rest + block[:words].translate(None, _WHITE_SPACE)
                return self._decode_pieces(text) + self._last_group()
        text = self._rest + block.translate(None, _WHITE_SPACE)
        if not self._padded:
            whole = len(text) & ~3
            decoded = _decode_groups(memoryview(text)[:whole])
            if decoded is not None:
                self._rest = text[whole:]
                return decoded
        return self._decode_pieces(text)

    def finish(self) -> bytes:
        """Decodes a last group that lacks its padding."""
        if self._ended:
            return b""
        decoded = self._decode_pieces(self._rest)
        if len(self._rest) > 1:
            self._note(MISSING_PADDING)
        return decoded + self._last_group()

    def _decode_pieces(self, text: bytes) -> bytes:
        """Decodes text without strays, of which each run up to padding was encoded by itself."""
        if text.translate(None, _ALPHABET + b"="):
            if self._padded or b"=" in text:
                text = self._up_to_text_behind(text)
            if text.translate(None, _ALPHABET + b"="):
                self._note(STRAY_CHARACTERS)
                text = text.translate(None, _NOT_ALPHABET_OR_PADDING)
        *runs, last = text.split(b"=")
        decoded: list[bytes] = []
        piece = b""
        for run in runs:
            self._begin_run(run)
            piece += run
            # A pad sign can only follow two or three characters of a group.
            if len(piece) % 4 >= 2:
                decoded.append(binascii.a2b_base64(piece + b"=" * (-len(piece) % 4)))
                piece, self._padded = b"", True
            elif run or not self._padded:
                self._note(STRAY_CHARACTERS)
        self._begin_run(last)
        piece += last
        whole = len(piece) & ~3
        decoded.append(binascii.a2b_base64(piece[:whole]))
        self._rest = piece[whole:]
        return b"".join(decoded)

    def _words_behind(self, block: bytes) -> int:
        """Where a line of several words follows the padding, which is a text; else the end."""
        begin = 0 if self._padded else block.find(b"=")
        for line in _LINE.finditer(block, begin):
            if len(line[0].split()) > 1 and (self._padded or line.start() > begin):
                return line.start()
        return len(block)

    def _begin_run(self, run: bytes) -> None:
        if run and self._padded:
            self._note(PADDING_INSIDE)
            self._padded = False

    def _up_to_text_behind(self, text: bytes) -> bytes:
        """Leaves out a text that follows the padding, as a footer does, from its first stray."""
        begin = 0 if self._padded else text.find(b"=")
        stray = len(text[begin:]) - len(text[begin:].lstrip(_ALPHABET + b"="))
        if not text[begin + stray :].translate(None, _NOT_ALPHABET):
            return text
        self._note(AFTER_PADDING)
        self._ended = True
        return text[: begin + stray]

    def _last_group(self) -> bytes:
        rest, self._rest = self._rest, b""
        self._ended = True
        if len(rest) == 1:
            self._note(INCOMPLETE_BASE64)
            return b""
        return binascii.a2b_base64(rest + b"=" * (-len(rest) % 4))


class ArmourDecoder:
    """Base64 between a BEGIN and an END line (RFC 7468)."""

    def __init__(self, note: Callable[[str], object]) -> None:
        self._note = note
        self._base64 = Base64Decoder(note)
        self._line = b""
        self._inside = False
        self._ended = False

    def update(self, block: bytes) -> bytes:
        """Decodes what has come of the text between the lines."""
        if self._ended:
            self._look_behind(block)
            return b""
        text = self._line + block
        if not self._inside:
            begin, end, text = text.partition(b"\n")
            if not end:
                self._line = begin[-BLOCK:]
                return b""
            self._inside = True
        found = text.find(b"-----")
        if found >= 0:
            self._ended = True
            self._look_behind(text[found:].partition(b"\n")[2])
            return self._base64.update(text[:found]) + self._base64.finish()
        # Fewer than five hyphens at the end may be the beginning of the END line.
        keep = len(text) - len(text.rstrip(b"-"))
        self._line = text[len(text) - keep :]
        return self._base64.update(text[: len(text) - keep])

    def _look_behind(self, text: bytes) -> None:
        if text.strip(_WHITE_SPACE):
            self._note(AFTER_PADDING)

    def finish(self) -> bytes:
        """Decodes a last group where the END line is missing."""
        return b"" if self._ended else self._base64.finish()


class QuotedPrintableDecoder:
    """RFC 2045 section 6.7; what is not a legal escape stays as it is."""

    def __init__(self, _note: Callable[[str], object]) -> None:
        self._line = b""

    def update(self, block: bytes) -> bytes:
        """Decodes the whole lines of what has come so far."""
        text = self._line + block
        end = text.rfind(b"\n") + 1
        if not end and len(text) > _LONGEST_QUOTED_LINE:
            # An escape must not be torn; there is no soft line break near.
            end = len(text) - 3 + max(text[-3:].find(b"="), 0)
        self._line = text[end:]
        return binascii.a2b_qp(text[:end])

    def finish(self) -> bytes:
        """Decodes the last line."""
        return binascii.a2b_qp(self._line)


def _decode_groups(text: memoryview) -> bytes | None:
    """Decodes whole groups; None where some of the text is not of the alphabet."""
    try:
        decoded = binascii.a2b_base64(text)
    except binascii.Error:
        return None
    # Whatever was skipped, or was padding, is missing from the length.
    return decoded if len(decoded) * 4 == len(text) * 3 else None


_DECODERS: dict[Layer, Callable[[Callable[[str], object]], _Decoder]] = {
    Layer.BASE64: Base64Decoder,
    Layer.ARMOUR: ArmourDecoder,
    Layer.QUOTED_PRINTABLE: QuotedPrintableDecoder,
}


class _BlockStream(io.RawIOBase):
    """The blocks of a generator as a stream; owns what they come from."""

    def __init__(self, source: BinaryIO, blocks: Iterator[bytes]) -> None:
        super().__init__()
        self._source = source
        self._blocks = blocks
        self._block = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        target = memoryview(buffer)  # type: ignore[arg-type]  # the buffer protocol
        while not self._block:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._block = memoryview(block)
        count = min(len(target), len(self._block))
        target[:count] = self._block[:count]
        self._block = self._block[count:]
        return count

    def close(self) -> None:
        self._source.close()
        super().close()


def open_decoded(
    content: Content,
    start: int,
    end: int,
    layers: Sequence[Layer],
    note: Callable[[str], object] = lambda _: None,
) -> BinaryIO:
    """A stream over a decoded range of a content; the caller closes it.

    Args:
        content: the stored bytes.
        start: offset of the first encoded byte.
        end: offset after the last.
        layers: outermost first.
        note: takes descriptions of defects met on the way.
    """
    stream = content.open()
    try:
        _pass(stream, start)
    except BaseException:
        stream.close()
        raise
    blocks = _blocks(stream, end - start)
    for layer in layers:
        blocks = _decoded(blocks, _DECODERS[layer](note))
    return stream_of(stream, blocks)


def stream_of(source: BinaryIO, blocks: Iterator[bytes]) -> BinaryIO:
    """A stream over blocks that come from ``source``, which it closes."""
    return io.BufferedReader(_BlockStream(source, blocks), BLOCK)


def _pass(stream: BinaryIO, count: int) -> None:
    if stream.seekable():
        stream.seek(count)
        return
    budget = current()
    for block in _blocks(stream, count):
        budget.spend(Work.READING, len(block))


def _blocks(stream: BinaryIO, count: int) -> Iterator[bytes]:
    while count > 0 and (block := stream.read(min(count, BLOCK))):
        count -= len(block)
        yield block


def _decoded(blocks: Iterator[bytes], decoder: _Decoder) -> Iterator[bytes]:
    for block in blocks:
        yield decoder.update(block)
    yield decoder.finish()


# --- which layers ------------------------------------------------------------


def find_layers(content: Content, start: int, end: int, declared: str) -> tuple[Layer, ...]:
    """The layers that cover a body which may be CMS, outermost first.

    Args:
        content: the stored bytes.
        start: offset of the body.
        end: offset after it.
        declared: value of Content-Transfer-Encoding.
    """
    end = min(end, start + HEAD_SIZE)
    with open_decoded(content, start, end, ()) as stream:
        head = stream.read(HEAD_SIZE)
    layers: list[Layer] = []
    layer = _declared_layer(declared)
    if layer is Layer.BASE64 and head.lstrip().startswith(_ARMOUR_BEGIN):
        layer = Layer.ARMOUR
    if layer is None or looks_like_ber(head):
        layer = _evident_layer(head)
    while layer is not None and len(layers) < _MOST_LAYERS:
        layers.append(layer)
        decoder = _DECODERS[layer](lambda _: None)
        head = decoder.update(head) + decoder.finish()
        layer = _evident_layer(head)
    return tuple(layers)


def find_text_before(content: Content, start: int, end: int) -> tuple[int, tuple[Layer, ...]]:
    """How many bytes of text stand before the base64 or armour of a body, and its layers.

    Args:
        content: the stored bytes.
        start: offset of the body.
        end: offset after it.

    Returns:
        Zero where no line in sight begins it.
    """
    with open_decoded(content, start, min(end, start + HEAD_SIZE), ()) as stream:
        head = stream.read(HEAD_SIZE)
    for match in _LINE_OF_CMS.finditer(head):
        layer = _evident_layer(head[match.start() :])
        if layer is not None:
            return match.start(), (layer,)
    return 0, ()


def declared_layers(declared: str) -> tuple[Layer, ...]:
    """The layers that a Content-Transfer-Encoding names: one or none."""
    layer = _declared_layer(declared)
    return () if layer is None else (layer,)


def _declared_layer(declared: str) -> Layer | None:
    word = declared.strip().strip('"').lower()
    layers = (Layer.BASE64, Layer.QUOTED_PRINTABLE)
    return next((layer for layer in layers if word.startswith(layer)), None)


def looks_like_ber(head: bytes) -> bool:
    """Whether a constructed SEQUENCE of a long or indefinite form may begin here."""
    return head[:1] == b"\x30" and 0x80 <= (head[1] if len(head) > 1 else 0) <= 0x88


def looks_like_cms(head: bytes) -> bool:
    """Whether CMS may begin here, plain or under an encoding that is evident."""
    return looks_like_ber(head) or _evident_layer(head) is not None


_LINE = re.compile(rb"[^\r\n]+")
_LINE_OF_CMS = re.compile(rb"^(?=MI|-----BEGIN )", re.MULTILINE)
_ARMOUR_LINE = re.compile(rb"-----BEGIN [^\r\n]{1,40}-----[ \t]*\r?\n")
_BASE64_RUN = re.compile(rb"[A-Za-z0-9+/=\s]*")
_LENGTH_FORMS = range(0x81, 0x89)


def reaches_end_of_cms(head: bytes, in_sight: int) -> bool:
    """Whether CMS begins here and goes on to its end, or out of sight.

    Text that quotes the first lines of CMS holds less of it than CMS says it is.

    Args:
        head: what follows.
        in_sight: bytes of it; CMS that goes on for longer is taken for whole.
    """
    if not looks_like_cms(head):
        return False
    if looks_like_ber(head):
        return True
    text = head.lstrip()
    if match := _ARMOUR_LINE.match(text):
        text = text[match.end() :]
    run = _BASE64_RUN.match(text)[0]  # type: ignore[index]  # always matches
    if len(run) >= in_sight:
        return True
    decoder = Base64Decoder(lambda _: None)
    cms = decoder.update(run) + decoder.finish()
    if len(cms) > 1 and cms[1] in _LENGTH_FORMS:
        size = cms[1] - 0x80
        return len(cms) >= 2 + size + int.from_bytes(cms[2 : 2 + size], "big")
    # Of indefinite length: its contents end in the octets that say so.
    return cms.rstrip(b"\0") + bytes(4) <= cms


def _evident_layer(head: bytes) -> Layer | None:
    text = head.removeprefix(_BYTE_ORDER_MARK).lstrip()
    if text.startswith(_ARMOUR_BEGIN):
        is_ours = text[len(_ARMOUR_BEGIN) :].startswith(_ARMOUR_LABELS)
        return Layer.ARMOUR if is_ours else None
    # 0x30 0x80 to 0x84 is "MI" in base64; a shorter CMS envelope does not exist.
    if text.startswith(b"MI") and not text[:64].translate(None, _PLAIN + b"="):
        return Layer.BASE64
    return None


# --- encoding ----------------------------------------------------------------


class Base64Writer:
    """Writes base64 in lines of 76 columns.

    Args:
        sink: takes the text.
        line_end: CRLF or LF.
        ends_last_line: False where the line end after the text belongs to what
            follows, as before a delimiter line.
    """

    _GROUP = 57

    def __init__(self, sink: Sink, line_end: bytes, *, ends_last_line: bool) -> None:
        self._sink = sink
        self._line_end = line_end
        self._ends_last_line = ends_last_line
        self._rest = b""
        self._between = b""

    def write(self, data: bytes, /) -> int:
        """Encodes the whole lines of what has come so far."""
        rest = self._rest + bytes(data)
        whole = len(rest) - len(rest) % self._GROUP
        self._rest = rest[whole:]
        self._lines(rest[:whole])
        return len(data)

    def finish(self) -> None:
        """Writes the last line."""
        self._lines(self._rest)
        self._rest = b""
        if self._ends_last_line:
            self._sink.write(self._between)

    def _lines(self, data: bytes) -> None:
        if not data:
            return
        text = binascii.b2a_base64(data, newline=False)
        lines = self._line_end.join(text[start : start + 76] for start in range(0, len(text), 76))
        self._sink.write(self._between + lines)
        self._between = self._line_end
