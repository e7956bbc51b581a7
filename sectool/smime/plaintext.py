"""Puts a plaintext in the place of its CMS, with the line ends of the store (RFC 8551 section 3.3).

Header fields of the inner entity that describe a body come where those of the
encrypted body stood. A header that cannot be held so without loss or a second
Subject, as protected headers are (RFC 9788), stays whole: the inner entity is
then the only part of a multipart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sectool import cms
from sectool.errors import MalformedMessage, UnsupportedMessage
from sectool.message import Content, FileContent, Sink
from sectool.smime.entities import EntityWalker
from sectool.smime.fields import CONTENT_FIELDS, Field, HeaderBlock, read_header
from sectool.smime.limits import DEFAULT_LIMITS, Limits
from sectool.smime.lines import CanonicalLines, LineScanner, StoreLines
from sectool.smime.mark import MARK_FIELD, Mark
from sectool.smime.parts import Place, content_fields, root_entity
from sectool.smime.ranges import ForwardReader
from sectool.smime.signatures import check_signature
from sectool.smime.splice import copy_to, write_header, write_separator

_MIME_VERSION = b"mime-version"
_REPLACED = frozenset({MARK_FIELD})


@dataclass(frozen=True, slots=True)
class _Form:
    """How an inner entity is to stand in a message."""

    header: HeaderBlock
    """Of the inner entity."""
    boundary: bytes
    """Of the multipart around it; empty where its fields are spliced in."""

    @property
    def fields(self) -> list[Field]:
        """The inner fields that are spliced in."""
        return [field for field in self.header.fields if _describes(field)]


def _describes(field: Field) -> bool:
    return field.name.startswith(b"content-")


def _form(outer: HeaderBlock, inner: Content, limits: Limits) -> _Form:
    with inner.open() as stream:
        scanner = LineScanner(stream)
        if scanner.peek(1) in {b" ", b"\t"}:
            raise UnsupportedMessage("its plaintext begins with a space and would be misread")
        header = read_header(scanner, limits=limits)
    if _is_representable(outer, header):
        return _Form(header, b"")
    # No text holds its own digest.
    return _Form(header, b"sectool-" + inner.digest[:40].encode())


def _is_representable(outer: HeaderBlock, inner: HeaderBlock) -> bool:
    """Whether all that the inner header says can stand in the outer one, once."""
    if sum(len(field.raw) for field in inner.fields) != inner.end - inner.start:
        return False  # lines that are no field
    kept = {(field.name, field.value) for field in outer.fields if field.name not in CONTENT_FIELDS}
    names = {name for name, _ in kept}
    return all(
        field.name in CONTENT_FIELDS
        or field.name == _MIME_VERSION
        or (field.name, field.value) in kept
        or (_describes(field) and field.name not in names)
        for field in inner.fields
    )


def write_plaintext(
    content: Content,
    part: Place,
    inner: Content,
    sink: Sink,
    *,
    mark: Mark | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> None:
    """Writes a message with a plaintext in the place of one encrypted part.

    Args:
        content: the stored message.
        part: of its inventory; every byte outside it is copied.
        inner: the inner entity of that part, a MIME entity.
        sink: takes the new message.
        mark: put into the header of the message in place of any that it has.
        limits: bounds on hostile input.

    Raises:
        UnsupportedMessage: the inner entity begins with white space, so that it
            would continue the header line before it.
        LimitExceeded: the inner entity has more parts or longer headers than is looked at.
        MessageChanged: a content became shorter meanwhile.
    """
    form = _form(part.header, inner, limits)
    end = part.line_end
    binary = binary_bodies(inner, limits)
    with content.open() as stream:
        reader = ForwardReader(stream)
        replaced = content_fields(part.header, _REPLACED if mark else frozenset())
        fields = _new_fields(part, form, mark)
        write_header(reader, replaced, part.header, sink, fields)
        write_separator(reader, part, sink, end)
        if form.boundary:
            sink.write(b"--" + form.boundary + end)
            _write_converted(inner, 0, binary, end, sink)
            sink.write(end + b"--" + form.boundary + b"--" + end)
        else:
            _write_converted(inner, form.header.body_start, binary, end, sink)
        reader.pass_to(part.body_end)
        copy_to(reader, content.size, sink)


def _new_fields(part: Place, form: _Form, mark: Mark | None) -> bytes:
    end = part.line_end
    lines = [mark.field(end)] if mark else []
    if not part.path and part.header.first(_MIME_VERSION) is None:
        lines.append(b"MIME-Version: 1.0" + end)
    if form.boundary:
        lines.append(b'Content-Type: multipart/mixed; boundary="' + form.boundary + b'"' + end)
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


# --- proof ----------------------------------------------------------------------------


def check_plaintext(
    written: FileContent,
    part: Place,
    inner: Content,
    *,
    inner_sha256: str,
    limits: Limits = DEFAULT_LIMITS,
) -> None:
    """Reads a message back that ``write_plaintext`` wrote with a mark, and holds it against both.

    Args:
        written: what was written.
        part: the root entity that was replaced in the stored message.
        inner: the inner entity.
        inner_sha256: of it, as it was taken down when it was decrypted.
        limits: bounds on hostile input.

    Raises:
        MalformedMessage: it is not the plaintext in the outer header; or a signature
            over the whole plaintext verified before and does not any more.
    """
    form = _form(part.header, inner, limits)
    header = root_entity(written).header
    _check_header(header, part.header, form)
    start, end = _entity_in(written, header, form)
    inner_start = 0 if form.boundary else form.header.body_start
    # Not only against what was read to write it: that may have been misread.
    if _whole_sha256(inner, inner_start) != inner_sha256:
        raise MalformedMessage("the plaintext does not read as it was decrypted")
    if _digest(written, start, end) != _digest(inner, inner_start, inner.size):
        raise MalformedMessage("the new message does not hold the plaintext that was written")
    before = check_signature(inner, content_type=cms.ID_DATA, limits=limits)
    if before is None or not before.is_valid:
        return
    whole = written if not form.boundary else FileContent(written.path, start, end - start)
    after = check_signature(whole, content_type=cms.ID_DATA, limits=limits)
    if after is None or not after.is_valid:
        raise MalformedMessage("the signature inside would not verify any more in the mailbox")


def _check_header(new: HeaderBlock, old: HeaderBlock, form: _Form) -> None:
    replaced = CONTENT_FIELDS | _REPLACED
    added = {field.name for field in form.fields} - {field.name for field in old.fields}
    if old.first(_MIME_VERSION) is None:
        added.add(_MIME_VERSION)
    if form.boundary:
        added = added & {_MIME_VERSION}
    kept = [field.raw for field in old.fields if field.name not in replaced]
    if [field.raw for field in new.fields if field.name not in replaced | added] != kept:
        raise MalformedMessage("the new message does not have the header of the old one")
    if len([field for field in new.fields if field.name == MARK_FIELD]) != 1:
        raise MalformedMessage("the new message is not marked")
    if not form.boundary:
        names = {field.name for field in form.fields}
        described = [(field.name, field.value) for field in new.fields if field.name in names]
        if described != [(field.name, field.value) for field in form.fields]:
            raise MalformedMessage("the new message does not describe its plaintext")


def _entity_in(written: Content, header: HeaderBlock, form: _Form) -> tuple[int, int]:
    """Where the inner entity, or its body, stands in the message."""
    if not form.boundary:
        return header.body_start, written.size
    with written.open() as stream:
        scanner = LineScanner(stream)
        read_header(scanner)
        boundaries = (b"--" + form.boundary,)
        first = scanner.find_delimiter(boundaries)
        start = scanner.offset
        last = scanner.find_delimiter(boundaries)
    if first is None or last is None or not last.is_final:
        raise MalformedMessage("the new message does not hold the plaintext that was written")
    return start, last.start


def _whole_sha256(content: Content, middle: int) -> str:
    """SHA-256 of all bytes, those from ``middle`` on read as they are for the mailbox."""
    sha256 = hashlib.sha256()
    for start, end in ((0, middle), (middle, content.size)):
        with content.open() as stream:
            reader = ForwardReader(stream)
            reader.pass_to(start)
            for block in reader.blocks_to(end):
                sha256.update(block)
    return sha256.hexdigest()


def _digest(content: Content, start: int, end: int) -> str:
    """SHA-256 with line ends as CRLF."""
    sha256 = hashlib.sha256()
    for block in _canonical(content, start, end):
        sha256.update(block)
    return sha256.hexdigest()


def _canonical(content: Content, start: int, end: int) -> Iterator[bytes]:
    lines = CanonicalLines()
    with content.open() as stream:
        reader = ForwardReader(stream)
        reader.pass_to(start)
        for block in reader.blocks_to(end):
            yield lines.update(block)
    yield lines.finish()
