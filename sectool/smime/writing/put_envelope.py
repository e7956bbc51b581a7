"""Puts new CMS in the place of old; every other byte is copied (RFC 8551 section 3.3).

Replaced are an entity's fields that describe the encrypted body, and the body.
Messages are never parsed and generated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from sectool import cms
from sectool.message import Content, Sink
from sectool.mime.base64_text import Base64Writer
from sectool.mime.header import HeaderBlock, header_of
from sectool.mime.ranges import ForwardReader
from sectool.smime.parts import (
    EncryptedPart,
    Place,
    Placement,
    content_fields,
    fields_named,
    root_entity,
)

AnyPlace = TypeVar("AnyPlace", bound=Place)

_SMIME_TYPES = {
    cms.ENVELOPED_DATA: "enveloped-data",
    cms.AUTH_ENVELOPED_DATA: "authEnveloped-data",
}


def smime_type_of(content_type: str) -> str:
    """The ``smime-type`` parameter for an envelope (RFC 8551 section 3.2.2).

    Args:
        content_type: of the envelope, dotted: EnvelopedData or AuthEnvelopedData.
    """
    return _SMIME_TYPES[content_type]


def outer_header(content: Content, part: EncryptedPart) -> bytes:
    """The header of the stored message less the fields that describe an encrypted body.

    Every other line is as it is stored; the blank line is not among them.

    Args:
        content: the stored message.
        part: of its inventory; for one inside a forwarded message the header is
            still that of the stored message.
    """
    header = header_of(content, is_message=True)
    with content.open() as stream:
        raw = stream.read(header.end)
    for start, end in reversed(content_fields(header)):
        raw = raw[:start] + raw[end:]
    return raw if not raw or raw.endswith(b"\n") else raw + part.line_end


def write_spliced(
    content: Content,
    parts: Sequence[AnyPlace],
    sink: Sink,
    write_cms: Callable[[AnyPlace, Sink], object],
    *,
    smime_type: str,
    without: frozenset[bytes] = frozenset(),
    is_message: bool = True,
) -> None:
    """Writes the message with new CMS for each of the parts.

    Args:
        content: the stored message.
        parts: of its inventory, in order, those left out stay as they are; or the
            ``places_of`` a message that is not encrypted.
        sink: takes the new message.
        write_cms: called once for each part, in order, with a sink for its CMS.
        smime_type: ``enveloped-data`` or ``authEnveloped-data``.
        without: names, lower case, of further fields of the message that go.
        is_message: False for a plaintext, which needs no MIME-Version.

    Raises:
        MessageChanged: the content became shorter than its inventory says.
    """
    with content.open() as stream:
        reader = ForwardReader(stream)
        if without and parts and parts[0].path:
            copy_without(reader, fields_named(root_entity(content).header, without), sink)
        for part in parts:
            end = part.line_end
            fields = _new_fields(part, smime_type, is_message=is_message)
            left_out = without if not part.path else frozenset[bytes]()
            replaced = content_fields(part.header, left_out)
            if is_document(part):
                # It stays a file of its name, whatever it is encoded in now.
                replaced = fields_named(part.header, frozenset({b"content-transfer-encoding"}))
                fields = b"Content-Transfer-Encoding: base64" + end
            write_header(reader, replaced, part.header, sink, fields)
            write_separator(reader, part, sink, end)
            encoder = Base64Writer(sink, end, ends_last_line=part.is_last)
            write_cms(part, encoder)
            encoder.finish()
            reader.pass_to(part.body_end)
        copy_to(reader, content.size, sink)


def is_document(place: Place) -> bool:
    """Whether a place is that of a file which somebody encrypted and attached."""
    return isinstance(place, EncryptedPart) and place.placement is Placement.DOCUMENT


def digest_around(content: Content, parts: Sequence[Place]) -> str:
    """SHA-256 of what ``write_spliced`` leaves as it is, lower-case hexadecimal.

    Args:
        content: before or after.
        parts: of its inventory, in order: those that are, or were, replaced.

    Raises:
        MessageChanged: the content became shorter than its inventory says.
    """
    around = cms.HashingSink(cms.DISCARD)
    with content.open() as stream:
        reader = ForwardReader(stream)
        for part in parts:
            copy_without(reader, content_fields(part.header), around)
            copy_to(reader, part.header.end, around)
            # The blank line is made where it is missing.
            reader.pass_to(part.body_end)
        copy_to(reader, content.size, around)
    return around.digest()


def _new_fields(part: Place, smime_type: str, *, is_message: bool) -> bytes:
    lines = [
        f"Content-Type: application/pkcs7-mime; smime-type={smime_type};",
        ' name="smime.p7m"',
        "Content-Transfer-Encoding: base64",
        'Content-Disposition: attachment; filename="smime.p7m"',
    ]
    if is_message and not part.path and part.header.first(b"mime-version") is None:
        lines.insert(0, "MIME-Version: 1.0")
    return b"".join(line.encode("ascii") + part.line_end for line in lines)


def write_header(
    reader: ForwardReader,
    replaced: Sequence[tuple[int, int]],
    header: HeaderBlock,
    sink: Sink,
    new_fields: bytes,
) -> None:
    """Copies a header up to its end, with the new fields where the first one replaced was.

    Where the header would end in a damaged line then, they stand where the last one was, or
    behind that line: readers take it for part of the header only where a field follows it.
    """
    behind = (header.end, header.end)
    if not replaced or _ends_damaged(header):
        replaced = (*replaced, behind)
    place = replaced[-1 if _would_end_damaged(header, replaced) else 0]
    for start, end in replaced:
        copy_to(reader, start, sink)
        if (start, end) == place:
            sink.write(new_fields)
        reader.pass_to(end)
    copy_to(reader, header.end, sink)


def _ends_damaged(header: HeaderBlock) -> bool:
    """Whether a line that is no field comes last."""
    return bool(header.fields) and header.fields[-1].end != header.end


def _would_end_damaged(header: HeaderBlock, replaced: Sequence[tuple[int, int]]) -> bool:
    """Whether a line that is no field comes last once these fields are gone."""
    if _ends_damaged(header):
        return True
    end = header.fields[-1].end if header.fields else header.end
    for one in reversed(header.fields):
        if one.end != end or (one.start, one.end) not in replaced:
            return one.end != end
        end = one.start
    return False


def write_separator(reader: ForwardReader, part: Place, sink: Sink, line_end: bytes) -> None:
    """Copies the blank line after a header; makes it where it is missing."""
    if part.body_start > part.header.end:
        copy_to(reader, part.body_start, sink)
    else:
        # The blank line was missing.
        sink.write(line_end)


def copy_without(reader: ForwardReader, ranges: Sequence[tuple[int, int]], sink: Sink) -> None:
    """Copies up to the last of these ranges, without them."""
    for start, end in ranges:
        copy_to(reader, start, sink)
        reader.pass_to(end)


def copy_to(reader: ForwardReader, end: int, sink: Sink) -> None:
    """Copies up to an offset."""
    for block in reader.blocks_to(end):
        sink.write(block)
