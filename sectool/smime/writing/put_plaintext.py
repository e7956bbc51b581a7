"""Puts plaintexts in the place of CMS, with the line ends of the store (RFC 8551 section 3.3).

The fields of the inner entity that describe its body come where those of the
encrypted body stood, which are the ones that an encryption replaces again. A
header that cannot be held so without loss or a second Subject, as protected
headers are (RFC 9788), stays whole: the inner entity is then the only part of a
multipart. A plaintext that might not be read in its own
part is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sectool.errors import UnsupportedMessage
from sectool.message import Content, Sink
from sectool.mime.entities import EntityWalker
from sectool.mime.header import CONTENT_FIELDS, HeaderBlock, read_header
from sectool.mime.lines import LineScanner, StoreLines
from sectool.mime.ranges import ForwardReader
from sectool.outcome import PlaintextDigest
from sectool.smime.finding.find_again import places_to_find_again
from sectool.smime.parts import Place, WholeEntity, fields_named, root_entity
from sectool.smime.writing.containment import check_containment, check_fields
from sectool.smime.writing.plaintext_mark import MARK_FIELD, Mark
from sectool.smime.writing.put_envelope import copy_to, write_header, write_separator

_MIME_VERSION = b"mime-version"
MARKS = frozenset({MARK_FIELD})
"""Names of the fields that a new mark replaces."""


@dataclass(frozen=True, slots=True)
class DecryptedPart:
    """An encrypted part and what goes in its place."""

    place: Place
    """As the inventory of the message, or a look into the plaintext, gave it."""
    inner: Content
    """The inner entity, a MIME entity."""
    inner_sha256: PlaintextDigest
    """Of it, as it was taken down when it was decrypted."""


@dataclass(frozen=True, slots=True)
class Form:
    """How a plaintext stands in the place of an encrypted part."""

    header: HeaderBlock
    """Of the inner entity."""
    replaced: frozenset[bytes]
    """Names, lower case, of the fields of the part that go."""
    fields: tuple[tuple[bytes, bytes], ...]
    """Those that come: name, lower case, and all lines with the store's line ends."""
    boundary: bytes = b""
    """Of the multipart around the inner entity; empty where its fields are among those."""

    @property
    def written(self) -> frozenset[bytes]:
        """Names of the fields that a written header has in the place of those replaced."""
        return self.replaced | {name for name, _ in self.fields}


def form_of(part: DecryptedPart, line_end: bytes, mark: Mark | None) -> Form:
    """How the plaintext of a part is to stand in its place.

    Args:
        part: the part.
        line_end: of the store.
        mark: for the header of the message; None: it is no message.

    Raises:
        UnsupportedMessage: it begins with white space, or a field of its header may be misread.
        LimitExceeded: its header is longer than is looked at.
    """
    with part.inner.open() as stream:
        scanner = LineScanner(stream)
        if scanner.peek(1) in {b" ", b"\t"}:
            raise UnsupportedMessage("its plaintext begins with a space and would be misread")
        inner = read_header(scanner)
    check_fields(inner, part.inner.size)
    outer = part.place.header
    replaced, fields = CONTENT_FIELDS, list[tuple[bytes, bytes]]()
    if mark is not None and not part.place.path:
        replaced |= MARKS
        fields.append((MARK_FIELD, mark.field(line_end)))
        if outer.first(_MIME_VERSION) is None:
            fields.append((_MIME_VERSION, b"MIME-Version: 1.0" + line_end))
    kept = {(field.name, field.value) for field in outer.fields if field.name not in CONTENT_FIELDS}
    if not _is_representable(kept, inner):
        # No text holds its own digest.
        boundary = b"sectool-" + part.inner.digest[:40].encode()
        multipart = b'Content-Type: multipart/mixed; boundary="' + boundary + b'"' + line_end
        return Form(inner, replaced, (*fields, (b"content-type", multipart)), boundary)
    fields += [
        (field.name, _converted(field.raw, line_end))
        for field in inner.fields
        if field.name in CONTENT_FIELDS
    ]
    return Form(inner, replaced, tuple(fields))


def _is_representable(kept: Collection[tuple[bytes, bytes]], inner: HeaderBlock) -> bool:
    """Whether all that the inner header says can stand beside these fields, and go again."""
    if sum(len(field.raw) for field in inner.fields) != inner.end - inner.start:
        return False  # lines that are no field
    return all(
        field.name in CONTENT_FIELDS
        or field.name == _MIME_VERSION
        or (field.name, field.value) in kept
        for field in inner.fields
    )


def write_plaintext(
    content: Content,
    parts: Sequence[DecryptedPart],
    sink: Sink,
    *,
    mark: Mark | None = None,
) -> None:
    """Writes a message with plaintexts in the place of encrypted parts.

    Args:
        content: the stored message, or a plaintext in which envelopes lie.
        parts: in the order of the message, at least one; all bytes outside are copied.
        sink: takes the new message.
        mark: put into the header of the message in place of any that it has; None: it
            is no message, but a plaintext.

    Raises:
        UnsupportedMessage: an inner entity begins with white space, so that it would
            continue the header line before it; or it might not be read in its own part;
            or the path of a part will not lead to it again.
        LimitExceeded: there are more parts or longer headers than is looked at.
        MessageChanged: a content became shorter meanwhile.
    """
    places = places_to_find_again(content, [part.place for part in parts])
    for place, part in zip(places, parts, strict=True):
        check_containment(content, place, part.inner)
    with content.open() as stream:
        reader = ForwardReader(stream)
        if mark is not None and places[0].path:
            header = root_entity(content).header
            marks = fields_named(header, MARKS)
            write_header(reader, marks, header, sink, mark.field(header.line_end))
        for place, part in zip(places, parts, strict=True):
            form = form_of(part, place.line_end, mark)
            _write_part(reader, place, part.inner, form, sink)
        copy_to(reader, content.size, sink)


def _write_part(
    reader: ForwardReader,
    place: WholeEntity,
    inner: Content,
    form: Form,
    sink: Sink,
) -> None:
    end = place.line_end
    binary = binary_bodies(inner)
    replaced = fields_named(place.header, form.replaced)
    write_header(reader, replaced, place.header, sink, b"".join(raw for _, raw in form.fields))
    write_separator(reader, place, sink, end)
    if form.boundary:
        sink.write(b"--" + form.boundary + end)
        _write_converted(inner, 0, binary, end, sink)
        sink.write(end + b"--" + form.boundary + b"--" + end * place.is_last)
    else:
        _write_converted(inner, form.header.body_start, binary, end, sink)
    reader.pass_to(place.body_end)


def _converted(raw: bytes, line_end: bytes) -> bytes:
    """Header lines with other line ends; the last one has its end."""
    lines = StoreLines(line_end)
    text = lines.update(raw) + lines.finish()
    return text if text.endswith(line_end) else text + line_end


def binary_bodies(inner: Content) -> list[tuple[int, int]]:
    """Where bodies lie whose bytes are no lines (RFC 2045 section 2.9)."""
    with inner.open() as stream:
        return [
            (entity.header.body_start, entity.body_end)
            for entity in EntityWalker(stream, inner.size).walk()
            if not entity.is_multipart and _is_binary(entity.header)
        ]


def _is_binary(header: HeaderBlock) -> bool:
    value = header.first(b"content-transfer-encoding") or b""
    return value.strip(b' "\t').lower() == b"binary"


def _write_converted(
    inner: Content, start: int, binary: Sequence[tuple[int, int]], line_end: bytes, sink: Sink
) -> None:
    """Copies an entity from ``start``: text with the store's line ends, binary bodies as is."""
    with inner.open() as stream:
        reader = ForwardReader(stream)
        reader.pass_to(start)
        for body_start, body_end in [*binary, (inner.size, inner.size)]:
            lines = StoreLines(line_end)
            for block in reader.blocks_to(body_start):
                sink.write(lines.update(block))
            sink.write(lines.finish())
            copy_to(reader, body_end, sink)
