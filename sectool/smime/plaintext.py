"""Puts plaintexts in the place of CMS, with the line ends of the store (RFC 8551 section 3.3).

Header fields of the inner entity that describe a body come where those of the
encrypted body stood. A header that cannot be held so without loss or a second
Subject, as protected headers are (RFC 9788), stays whole: the inner entity is
then the only part of a multipart. A plaintext that would end a multipart around
it is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from sectool.errors import UnsupportedMessage
from sectool.message import COPY_BLOCK, Content, Sink
from sectool.smime.entities import EntityWalker
from sectool.smime.fields import CONTENT_FIELDS, Field, HeaderBlock, read_header
from sectool.smime.limits import DEFAULT_LIMITS, Limits
from sectool.smime.lines import LineScanner, StoreLines
from sectool.smime.mark import MARK_FIELD, Mark
from sectool.smime.parts import Place, WholeEntity, content_fields, fields_named, root_entity
from sectool.smime.places import places_to_find_again
from sectool.smime.ranges import ForwardReader
from sectool.smime.splice import copy_to, write_header, write_separator

MIME_VERSION = b"mime-version"
MARKS = frozenset({MARK_FIELD})
"""Names of the fields that a new mark replaces."""


@dataclass(frozen=True, slots=True)
class DecryptedPart:
    """An encrypted part and what goes in its place."""

    place: Place
    """As the inventory of the message, or a look into the plaintext, gave it."""
    inner: Content
    """The inner entity, a MIME entity."""
    inner_sha256: str
    """Of it, as it was taken down when it was decrypted."""


@dataclass(frozen=True, slots=True)
class Form:
    """How an inner entity stands in a message."""

    header: HeaderBlock
    """Of the inner entity."""
    fields: tuple[Field, ...] = ()
    """The inner fields that are spliced in."""
    boundary: bytes = b""
    """Of the multipart around it; empty where its fields are spliced in."""

    @property
    def multipart(self) -> bytes:
        """What the Content-Type says where the inner entity stays whole."""
        return b'multipart/mixed; boundary="' + self.boundary + b'"'


def form_of(outer: HeaderBlock, inner: Content, limits: Limits) -> Form:
    """How an inner entity is to stand in the place of what has this header.

    Args:
        outer: header of the encrypted part.
        inner: the inner entity.
        limits: bounds on hostile input.

    Raises:
        UnsupportedMessage: it begins with white space.
        LimitExceeded: its header is longer than is looked at.
    """
    with inner.open() as stream:
        scanner = LineScanner(stream)
        if scanner.peek(1) in {b" ", b"\t"}:
            raise UnsupportedMessage("its plaintext begins with a space and would be misread")
        header = read_header(scanner, limits=limits)
    kept = {(field.name, field.value) for field in outer.fields if field.name not in CONTENT_FIELDS}
    if not _is_representable(kept, header):
        # No text holds its own digest.
        return Form(header, boundary=b"sectool-" + inner.digest[:40].encode())
    described = (field for field in header.fields if _describes(field))
    return Form(header, tuple(one for one in described if (one.name, one.value) not in kept))


def _is_representable(kept: Collection[tuple[bytes, bytes]], inner: HeaderBlock) -> bool:
    """Whether all that the inner header says can stand beside these fields, once."""
    if sum(len(field.raw) for field in inner.fields) != inner.end - inner.start:
        return False  # lines that are no field
    names = {name for name, _ in kept}
    return all(
        field.name in CONTENT_FIELDS
        or field.name == MIME_VERSION
        or (field.name, field.value) in kept
        or (_describes(field) and field.name not in names)
        for field in inner.fields
    )


def _describes(field: Field) -> bool:
    return field.name.startswith(b"content-")


def write_plaintext(
    content: Content,
    parts: Sequence[DecryptedPart],
    sink: Sink,
    *,
    mark: Mark | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> None:
    """Writes a message with plaintexts in the place of encrypted parts.

    Args:
        content: the stored message, or a plaintext in which envelopes lie.
        parts: in the order of the message; every byte outside of them is copied.
        sink: takes the new message.
        mark: put into the header of the message in place of any that it has; None: it
            is no message, but a plaintext.
        limits: bounds on hostile input.

    Raises:
        UnsupportedMessage: an inner entity begins with white space, so that it would
            continue the header line before it, or holds a delimiter line of a multipart
            around it; or the path of a part will not lead to it again.
        LimitExceeded: there are more parts or longer headers than is looked at.
        MessageChanged: a content became shorter meanwhile.
    """
    places = places_to_find_again(content, [part.place for part in parts], limits)
    for place, part in zip(places, parts, strict=True):
        _check_delimiters(place, part.inner)
    with content.open() as stream:
        reader = ForwardReader(stream)
        if mark is not None and all(place.path for place in places):
            header = root_entity(content).header
            marks = fields_named(header, MARKS)
            write_header(reader, marks, header, sink, mark.field(header.line_end))
        for place, part in zip(places, parts, strict=True):
            _write_part(reader, place, part.inner, sink, mark=mark, limits=limits)
        copy_to(reader, content.size, sink)


def _check_delimiters(place: WholeEntity, inner: Content) -> None:
    """Holds that no reader sees the end of a multipart in what will stand inside of it."""
    for boundary in place.enclosing:
        if any(_begins_line(boundary, text) for text in _overlapping(inner, len(boundary))):
            raise UnsupportedMessage("its plaintext would end the multipart that it stands in")


def _overlapping(inner: Content, size: int) -> Iterator[bytes]:
    """All bytes in blocks, each with as many of those before it, and one more."""
    # What it begins with will stand at the start of a line.
    before = b"\n"
    with inner.open() as stream:
        while block := stream.read(COPY_BLOCK):
            yield before + block
            before = (before + block)[-size - 1 :]


def _begins_line(boundary: bytes, text: bytes) -> bool:
    # RFC 2046 section 5.1.1: that a line begins so is enough for a delimiter line. What
    # ends a line is not the same to all that read mail.
    return any(end + boundary in text for end in (b"\n", b"\r"))


def _write_part(
    reader: ForwardReader,
    place: WholeEntity,
    inner: Content,
    sink: Sink,
    *,
    mark: Mark | None,
    limits: Limits,
) -> None:
    form = form_of(place.header, inner, limits)
    end = place.line_end
    binary = binary_bodies(inner, limits)
    is_message = mark is not None and not place.path
    replaced = content_fields(place.header, MARKS if is_message else frozenset())
    fields = _new_fields(place, form, mark if is_message else None)
    write_header(reader, replaced, place.header, sink, fields)
    write_separator(reader, place, sink, end)
    if form.boundary:
        sink.write(b"--" + form.boundary + end)
        _write_converted(inner, 0, binary, end, sink)
        sink.write(end + b"--" + form.boundary + b"--" + end * place.is_last)
    else:
        _write_converted(inner, form.header.body_start, binary, end, sink)
    reader.pass_to(place.body_end)


def _new_fields(place: Place, form: Form, mark: Mark | None) -> bytes:
    end = place.line_end
    lines = [mark.field(end)] if mark else []
    if mark and place.header.first(MIME_VERSION) is None:
        lines.append(b"MIME-Version: 1.0" + end)
    if form.boundary:
        lines.append(b"Content-Type: " + form.multipart + end)
    else:
        lines += [_converted(field.raw, end) for field in form.fields]
    return b"".join(lines)


def _converted(raw: bytes, line_end: bytes) -> bytes:
    """Header lines with other line ends; the last one has its end."""
    lines = StoreLines(line_end)
    text = lines.update(raw) + lines.finish()
    return text if text.endswith(line_end) else text + line_end


def binary_bodies(inner: Content, limits: Limits) -> list[tuple[int, int]]:
    """Where bodies lie whose bytes are no lines (RFC 2045 section 2.9)."""
    with inner.open() as stream:
        return [
            (entity.header.body_start, entity.body_end)
            for entity in EntityWalker(stream, inner.size, limits).walk()
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
