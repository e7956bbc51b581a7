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
from sectool.message import BytesContent, Content
from sectool.mime.base64_text import AFTER_PADDING, ALPHABET, WHITE_SPACE, Base64Decoder

BLOCK = 256 * 1024
"""Encoded bytes read at a time."""
HEAD_SIZE = 4096
"""Encoded bytes that decide on the layers and on what a body holds."""
_MOST_LAYERS = 3

_PLAIN = ALPHABET + WHITE_SPACE
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
_CMS_IN_BASE64 = b"MI"
"""0x30 0x80 to 0x84; a shorter CMS envelope does not exist."""
_LONGEST_QUOTED_LINE = 64 * 1024


class Layer(StrEnum):
    """One encoding around a body."""

    BASE64 = "base64"
    QUOTED_PRINTABLE = "quoted-printable"
    ARMOUR = "pem"
    """Base64 between the lines of RFC 7468."""


class _Decoder(Protocol):
    def update(self, block: bytes) -> bytes: ...

    def finish(self) -> bytes: ...


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
        if text.strip(WHITE_SPACE):
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


def decode(
    content: Content,
    start: int,
    end: int,
    layers: Sequence[Layer],
    note: Callable[[str], object] = lambda _: None,
) -> bytes:
    """As ``open_decoded``, all of it at once."""
    if isinstance(content, BytesContent):
        blocks = [content.raw[start:end]]
    else:
        with content.open() as stream:
            _pass(stream, start)
            blocks = [*_blocks(stream, end - start)]
    for layer in layers:
        blocks = [*filter(None, _decoded(iter(blocks), _DECODERS[layer](note)))]
    return blocks[0] if len(blocks) == 1 else b"".join(blocks)


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
    head = decode(content, start, min(end, start + HEAD_SIZE), ())
    layers: list[Layer] = []
    layer = _declared_layer(declared)
    if layer is Layer.BASE64 and head.lstrip().startswith(_ARMOUR_BEGIN):
        layer = Layer.ARMOUR
    if layer is None or looks_like_ber(head):
        layer = _evident_layer(head)
    while layer is not None and len(layers) < _MOST_LAYERS:
        layers.append(layer)
        if layer is Layer.BASE64 and head.lstrip().startswith(_CMS_IN_BASE64):
            break  # what begins as BER has no further layer
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
    head = decode(content, start, min(end, start + HEAD_SIZE), ())
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
    if text.startswith(_CMS_IN_BASE64) and not text[:64].translate(None, _PLAIN + b"="):
        return Layer.BASE64
    return None
