"""Says from the first bytes of a message that its root entity is encrypted, or nothing.

It says yes only where the whole inventory finds an envelope too, be it whole or damaged
further on, and so never clear or signed mail: it asks what that asks, of the same bytes.
"""

from __future__ import annotations

import binascii

from pybase64 import b64decode

from sectool import cms
from sectool.errors import LimitExceeded
from sectool.message import BytesContent
from sectool.mime.content_type import parse_content_type
from sectool.mime.entities import FORWARDED, Entity
from sectool.mime.header import HeaderBlock, sound_header
from sectool.mime.lookahead import LOOK_AHEAD
from sectool.mime.transfer_encoding import (
    HEAD_SIZE,
    Layer,
    QuotedPrintableDecoder,
    find_layers,
    looks_like_ber,
)
from sectool.smime.finding import recognition

GLANCE_SIZE = LOOK_AHEAD + HEAD_SIZE
"""Bytes of a message that are looked at: a header, and what tells the encoding of its body."""
_LINE_END = b"\r\n"


def glance(head: bytes, size: int) -> cms.EnvelopeHead | None:
    """What the root entity is encrypted to.

    Args:
        head: the first ``GLANCE_SIZE`` bytes of a message, or all there are.
        size: bytes of the whole message.

    Returns:
        None where it is not encrypted, or the head does not tell for sure.
    """
    is_odd = len(head) < min(GLANCE_SIZE, size) or recognition.foreign_storage(head)
    header = None if is_odd else sound_header(head)
    entity = None if header is None else _root_leaf(header, size)
    if entity is None or not recognition.is_candidate(entity):
        return None
    if recognition.foreign_encryption(entity) or recognition.partial_reason(entity):
        return None
    start = entity.header.body_start
    match find_layers(BytesContent(head), start, size, entity.encoding):
        case ():
            return _plain(head[start:], size - start)
        case (Layer.BASE64,):
            return _in_base64(head[start:], size - start)
        case (Layer.QUOTED_PRINTABLE,) if len(head) == size:
            decoder = QuotedPrintableDecoder(lambda _: None)
            decoded = decoder.update(head[start:]) + decoder.finish()
            return _plain(decoded, len(decoded))
    return None


def _root_leaf(header: HeaderBlock, size: int) -> Entity | None:
    """The root entity as the walk of a message has it; None where that goes on inside."""
    types = [field.value for field in header.fields if field.name == b"content-type"]
    try:
        content_type = parse_content_type(types[0]) if types else None
    except LimitExceeded:
        return None
    media_type = content_type.value if content_type else ""
    if len(types) > 1 or media_type in FORWARDED or media_type.startswith("multipart/"):
        return None
    return Entity(
        path="",
        header=header,
        content_type=content_type,
        body_end=size,
        is_message=True,
        is_signed=False,
    )


def _plain(head: bytes, size: int) -> cms.EnvelopeHead | None:
    """Of an envelope with nothing behind it.

    Args:
        head: its first bytes, or all.
        size: bytes of all, with what is behind.
    """
    envelope = cms.read_envelope_head(head) if looks_like_ber(head) else None
    if envelope is None or not 0 <= size - envelope.size <= len(_LINE_END):
        return None
    return envelope


def _in_base64(text: bytes, size: int) -> cms.EnvelopeHead | None:
    """Of base64 in lines of one length, which is as long as its envelope and no longer.

    Args:
        text: its first bytes, or all.
        size: bytes of all of it.
    """
    first = text[: text.find(b"\n") + 1]
    columns = len(first.rstrip(_LINE_END)) or size
    characters = text.translate(None, _LINE_END)
    try:
        decoded = b64decode(characters[: len(characters) & ~3], validate=True)
    except binascii.Error:
        return None
    envelope = cms.read_envelope_head(decoded) if looks_like_ber(decoded) else None
    if envelope is None:
        return None
    length = -(-envelope.size // 3) * 4
    line_ends = (length - 1) // columns * (len(first) - columns if first else 0)
    # The last line has an end or none, or a blank line behind it.
    return envelope if 0 <= size - length - line_ends <= 2 * len(_LINE_END) else None
