"""Holds a message with plaintexts in it against what it was written from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from sectool import cms
from sectool.errors import MalformedMessage, MessageError
from sectool.message import Content, FileContent
from sectool.mime.header import HeaderBlock
from sectool.mime.lines import CanonicalLines, LineScanner
from sectool.mime.ranges import ForwardReader
from sectool.smime.finding.find_again import places_of
from sectool.smime.parts import Place, WholeEntity, fields_named, root_entity
from sectool.smime.signing.signatures import check_signature
from sectool.smime.writing.plaintext_mark import Mark
from sectool.smime.writing.put_plaintext import MARKS, DecryptedPart, Form, form_of


def check_plaintext(
    written: FileContent,
    content: Content,
    parts: Sequence[DecryptedPart],
    *,
    mark: Mark | None = None,
) -> None:
    """Reads back what ``write_plaintext`` wrote.

    Args:
        written: what was written.
        content: what it was written from.
        parts: as they were written.
        mark: as it was written.

    Raises:
        MalformedMessage: it is not what was there before with the plaintexts in the place
            of the encrypted parts; or a signature over the whole of a plaintext verified
            before and does not any more.
        MessageError: a plaintext does not read as it was decrypted.
    """
    places = places_of(written, [part.place.path for part in parts])
    forms = [form_of(part, place.line_end, mark) for place, part in zip(places, parts, strict=True)]
    before = [(part.place, form.replaced) for part, form in zip(parts, forms, strict=True)]
    after = [(place, form.written) for place, form in zip(places, forms, strict=True)]
    marks = MARKS if mark is not None and places[0].path else frozenset[bytes]()
    if _around(written, after, marks) != _around(content, before, marks):
        raise MalformedMessage("it would differ from the stored one by more than plaintext")
    if marks and len(fields_named(root_entity(written).header, marks)) != 1:
        raise MalformedMessage("the new message is not marked")
    for place, part, form in zip(places, parts, forms, strict=True):
        _check_description(place.header, form)
        _check_part(written, place, part, form)


def _around(
    content: Content, places: Sequence[tuple[Place, frozenset[bytes]]], marks: frozenset[bytes]
) -> str:
    """SHA-256 of all bytes but the bodies of parts and some fields.

    Args:
        content: a message or plaintext.
        places: in order, each with the names of fields of its header that do not count.
        marks: names of fields of the first header that do not, where no place begins there.
    """
    left_out = list(fields_named(root_entity(content).header, marks) if marks else ())
    for place, names in places:
        left_out += fields_named(place.header, names)
        # The blank line is made where it is missing.
        left_out.append((place.header.end, place.body_end))
    sha256 = hashlib.sha256()
    with content.open() as stream:
        reader = ForwardReader(stream)
        for start, end in [*left_out, (content.size, content.size)]:
            for block in reader.blocks_to(start):
                sha256.update(block)
            reader.pass_to(end)
    return sha256.hexdigest()


def _check_description(header: HeaderBlock, form: Form) -> None:
    found = [(field.name, field.raw) for field in header.fields if field.name in form.written]
    if found != [*form.fields]:
        raise MalformedMessage("the new message does not describe its plaintext")


def _check_part(written: FileContent, place: WholeEntity, part: DecryptedPart, form: Form) -> None:
    inner = part.inner
    start, end = _entity_in(written, place, form)
    inner_start = 0 if form.boundary else form.header.body_start
    # Not only against what was read to write it: that may have been misread.
    if _whole_sha256(inner, inner_start) != part.inner_sha256:
        raise MessageError("the plaintext does not read as it was decrypted")
    if _digest(written, start, end) != _digest(inner, inner_start, inner.size):
        raise MalformedMessage("it would not be the same there")
    before = check_signature(inner, content_type=cms.ID_DATA)
    if before is None or not before.is_valid:
        return
    if not form.boundary:
        start = place.header.start
    whole = FileContent(written.path, start, end - start)
    after = check_signature(whole, content_type=cms.ID_DATA)
    if after is None or not after.is_valid:
        raise MalformedMessage("the signature over it would not verify there")


def _entity_in(written: Content, place: WholeEntity, form: Form) -> tuple[int, int]:
    """Where the inner entity, or its body, stands in the message."""
    if not form.boundary:
        return place.body_start, place.body_end
    with written.open() as stream:
        stream.seek(place.body_start)
        scanner = LineScanner(stream)
        boundaries = (b"--" + form.boundary,)
        first = scanner.find_delimiter(boundaries)
        start = scanner.offset
        last = scanner.find_delimiter(boundaries)
    if first is None or last is None or not last.is_final:
        raise MalformedMessage("it would not be the same there")
    if place.body_start + last.start > place.body_end:
        raise MalformedMessage("it would not be the same there")
    return place.body_start + start, place.body_start + last.start


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
