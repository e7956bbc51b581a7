"""Puts plaintexts in the place of CMS, with the line ends of the store (RFC 8551 section 3.3).

The fields of the inner entity that describe its body come where those of the
encrypted body stood, which are the ones that an encryption replaces again. A
header that cannot be held so without loss or a second Subject, as protected
headers are (RFC 9788), stays whole: the inner entity is then the only part of a
multipart. A plaintext that might not be read in its own
part is refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from sectool.errors import UnsupportedMessage
from sectool.message import COPY_BLOCK, Content, Sink
from sectool.mime.entities import EntityWalker
from sectool.mime.header import CONTENT_FIELDS, Field, HeaderBlock, read_header
from sectool.mime.lines import LineScanner, StoreLines
from sectool.mime.ranges import ForwardReader
from sectool.outcome import PlaintextDigest
from sectool.smime.finding.find_again import places_to_find_again
from sectool.smime.parts import Place, WholeEntity, fields_named, root_entity
from sectool.smime.writing.plaintext_mark import MARK_FIELD, Mark
from sectool.smime.writing.put_envelope import copy_to, write_header, write_separator
from sectool.values import dataclass

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


# --- that a plaintext stays in its own part -------------------------------------------------------
# Someone may have put old ciphertext into a message of his own, so that a mail program
# shows its plaintext in the middle of his text and tells him of it (EFAIL). Where any
# reader might take what is around a plaintext for something else than we do, it stays
# encrypted. So it does where some might see other fields in its own header than we do:
# whoever encrypted it would write into the header of the message around it.


_MISREAD = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|\n[ \t]+\r?(?:\n|$)|\n\r?\n")
"""Control characters, of which some end a line to some readers, and lines of white space,
which end the header to some."""

_BREAKS = re.compile("[\x85\u2028\u2029]")
"""Characters that end a line to those who read a header as text (Unicode, UAX 14)."""

_BREAKING = re.compile(rb"\x85|\xe2\x80[\xa8\xa9]")
"""The same in Latin-1 and in UTF-8."""

_LONGEST_LINE = 998
"""Octets of a header line without its end (RFC 5322 section 2.1.1)."""
_LARGEST_FIELD = 16 * 1024
"""Octets of a field with all its lines."""

_MBOX_LINE = re.compile(rb"From [^\r\n]*\r?\n")
_DAMAGED = "a header around it is damaged: some mail programs would show it among other text"
_TWICE = "a header around it says its type twice: some mail programs would show it in other text"
_ONCE = (b"content-type", b"content-transfer-encoding")


def check_containment(content: Content, place: WholeEntity, inner: Content) -> None:
    """Holds that a plaintext in this place is read there, and as a part of its own, by everybody.

    Args:
        content: the message, or the plaintext that an envelope lies in.
        place: of the encrypted part in it.
        inner: what is to stand there.

    Raises:
        UnsupportedMessage: it may be read otherwise.
    """
    if place.oddity:
        raise UnsupportedMessage(f"{place.oddity}: some mail programs would not see it there")
    for header in (*place.around, place.header):
        if not _is_read_alike(content, header):
            raise UnsupportedMessage(_DAMAGED)
    for header in place.around:
        names = Counter(field.name for field in header.fields)
        if any(names[name] > 1 for name in _ONCE):
            raise UnsupportedMessage(_TWICE)
    if place.enclosing and _holds_delimiter(inner, place.enclosing):
        raise UnsupportedMessage("its plaintext would end the multipart that it stands in")


def check_fields(header: HeaderBlock, size: int) -> None:
    """Holds that everybody reads the header of a plaintext alike, and its fields anywhere.

    Args:
        header: of an inner entity; its Content-* fields may go into the header of a message.
        size: bytes of the whole entity.

    Raises:
        UnsupportedMessage: a mail program may see other fields there, or none.
    """
    if header.fields and header.body_start == header.end < size:
        raise UnsupportedMessage("the header of its plaintext ends in a line that is no field")
    said: dict[bytes, list[bytes]] = {}
    for field in header.fields:
        fault = _fault_of(field)
        words = field.value.split()
        if field.name in CONTENT_FIELDS and said.setdefault(field.name, words) != words:
            fault = fault or "is there twice and says two things"
        if fault:
            name = field.name[:40].decode("ascii").title()
            raise UnsupportedMessage(f"the field {name} of its plaintext {fault}")


def _fault_of(field: Field) -> str:
    """What some mail programs might misread a field of a plaintext for; empty: nothing."""
    if _is_misread(field):
        return "holds a control character, a line of white space or a broken line end"
    if field.name not in CONTENT_FIELDS:
        return ""
    # Some take every header for Latin-1, in which half of a letter may end a line.
    if _BREAKING.search(field.raw):
        return "holds a character that ends a line to some mail programs"
    if len(field.raw) > _LARGEST_FIELD:
        return f"is longer than {_LARGEST_FIELD} octets"
    if max(map(len, field.raw.splitlines())) > _LONGEST_LINE:
        return f"has a line of more than {_LONGEST_LINE} octets"
    return ""


def _is_misread(field: Field) -> bool:
    """Whether some mail programs see in these lines another field, or the end of the header."""
    # RFC 5322 section 4.5 allowed white space there once; to many such a line is no field.
    if field.raw.partition(b":")[0].endswith((b" ", b"\t")):
        return True
    if _MISREAD.search(field.raw):
        return True
    text = field.raw.decode("utf-8", "replace")
    if "\ufffd" in text:
        text += field.raw.decode("latin-1")
    return _BREAKS.search(text) is not None


def _is_read_alike(content: Content, header: HeaderBlock) -> bool:
    if any(map(_is_misread, header.fields)):
        return False
    begin = header.fields[0].start if header.fields else header.end
    if sum(len(field.raw) for field in header.fields) != header.end - begin:
        return False  # lines that are no field
    return begin == header.start or _is_mbox_line(content, header.start, begin)


def _is_mbox_line(content: Content, start: int, end: int) -> bool:
    with content.open() as stream:
        reader = ForwardReader(stream)
        reader.pass_to(start)
        return _MBOX_LINE.fullmatch(b"".join(reader.blocks_to(end))) is not None


def _holds_delimiter(inner: Content, boundaries: tuple[bytes, ...]) -> bool:
    # RFC 2046 section 5.1.1: that a line begins so is enough for a delimiter line. What
    # ends a line is not the same to all that read mail.
    delimiters = [end + boundary for boundary in boundaries for end in (b"\n", b"\r")]
    size = max(map(len, delimiters))
    return any(one in text for text in _overlapping(inner, size) for one in delimiters)


def _overlapping(inner: Content, size: int) -> Iterator[bytes]:
    """All bytes in blocks, each with as many of those before it."""
    # What it begins with will stand at the start of a line.
    before = b"\n"
    with inner.open() as stream:
        while block := stream.read(COPY_BLOCK):
            yield before + block
            before = (before + block)[-size:]
