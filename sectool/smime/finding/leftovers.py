"""Looks through what the walk of a message left: texts, attachments, what lies between parts.

Nothing of it can be put back in its place, so that what is found is counted and not taken.
"""

from __future__ import annotations

import binascii
import io
from collections.abc import Callable, Iterator
from dataclasses import field, replace
from functools import partial
from typing import BinaryIO

from sectool.errors import LimitExceeded
from sectool.message import Content
from sectool.mime.entities import Entity, is_mail_file_name
from sectool.mime.limits import Limits
from sectool.mime.lookahead import is_message_ahead
from sectool.mime.transfer_encoding import Layer, looks_like_cms
from sectool.smime.finding import needles, recognition
from sectool.smime.finding.archives import (
    ENCRYPTION,
    ArchivedFile,
    CompoundFile,
    files_of_zip,
    names_in_zip,
    recipients_of_pdf,
    unpack_gzip,
)
from sectool.smime.finding.file_kinds import FileKind, is_text, kind_of
from sectool.smime.finding.net import BLOCK, OVERLAP, Catch, Opener, envelopes_in
from sectool.smime.finding.uuencode import holds_uuencoded_cms
from sectool.smime.parts import BodySource, Unreached
from sectool.values import dataclass

_CUT_OFF = "the beginning of an encrypted message is quoted, too little of it to be opened"
_UUENCODED = "an S/MIME message is uuencoded or in yEnc, which is not read"
_PGP = "inline PGP: only S/MIME is opened"
_ENCRYPTION_FORMS = needles.encoded_forms(ENCRYPTION)
_PDF_ENDS = 64 * 1024
_ZIP_END = 32 * 1024
_SMALLEST_GAP = 64
_HEAD = 512
_OFFICE = (b"[content_types].xml", b"mimetype", b"_rels/", b"meta-inf/", b"docprops/")
"""How the first file of an office document, an e-book or a Java program is called."""
_NO_MAIL = (
    b".xml", b".rels", b".png", b".jpg", b".jpeg", b".gif", b".emf", b".wmf", b".class", b"/",
)  # fmt: skip
_PKCS7_FILES = (b".p7m", b".p7s", b".p7c", b".p7z", b".p7", b".pk7", b".cms", b".pem")
_OUTLOOK = "__properties_version1.0"
_MESSAGE_CLASSES = ("__substg1.0_001a001f", "__substg1.0_001a001e")
_CONTAINERS = frozenset({FileKind.ZIP, FileKind.GZIP, FileKind.COMPOUND, FileKind.PDF})
_NOT_READ = frozenset({FileKind.MEDIA, FileKind.KEYS, FileKind.SEALED})


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Bytes of the message that are looked through."""

    start: int
    end: int
    place: str
    """Where an envelope lies that is found in it, in words."""
    path: str = ""
    layers: tuple[Layer, ...] = ()
    kind: FileKind = FileKind.OTHER
    is_text: bool = True
    holds_text: bool = False
    """Whether base64 is around a text."""
    sets_state: bool = True
    is_document: bool = False
    """Whether it is a zip archive that begins as an office document does."""


@dataclass(slots=True)
class Leftovers:
    """Collects during a walk what is looked through behind it."""

    content: Content
    """The message, or what was in it."""
    limits: Limits
    unreached: list[Unreached] = field(default_factory=list)
    noticed: list[str] = field(default_factory=list)
    """What is no encrypted message and odd, for a person."""
    hidden: list[str] = field(default_factory=list)
    """Why there may be envelopes whose recipients nobody could read."""
    pgp: str = ""
    uninspected: int = 0
    """Archives and mail stores that cannot be looked into."""
    _stretches: list[_Stretch] = field(default_factory=list)
    _done: list[tuple[int, int]] = field(default_factory=list)

    def leave_out(self, entity: Entity) -> None:
        """Takes note that an entity was looked into by others."""
        self._done.append((entity.header.start, entity.body_end))

    def add(self, entity: Entity) -> None:
        """Takes a body that was not taken for CMS."""
        self.leave_out(entity)
        head = beginning_of(entity)
        layers = entity.layers
        is_body = entity.main_type in {"", "text", "message", "multipart"}
        kind = kind_of(head)
        if is_text(head) and (kind is not FileKind.PDF or (is_body and not layers)):
            kind = FileKind.OTHER  # a text may begin with any letters
        if kind is FileKind.SEALED:
            self.uninspected += 1
        if kind in _NOT_READ:
            return
        where = f"part {entity.path}" if entity.path else "the message"
        self._stretches.append(
            _Stretch(
                start=entity.header.body_start,
                end=entity.body_end,
                place=f"in the text of {where}" if is_body else f"in the attachment {where}",
                path=entity.path,
                layers=layers,
                kind=kind,
                is_text=is_body,
                holds_text=layers == (Layer.BASE64,) and is_text(head),
                is_document=kind is FileKind.ZIP and head[30:].lower().startswith(_OFFICE),
            )
        )

    def search(self) -> None:
        """Looks through all that was collected, and through what lies between it."""
        try:
            for stretch in self._suspects():
                self._look(stretch)
        except LimitExceeded as error:
            self.hidden.append(error.message)

    # --- a first look, forward and fast ---

    def _suspects(self) -> list[_Stretch]:
        """Those of which more must be read."""
        stretches = sorted([*self._stretches, *self._gaps()], key=lambda one: one.start)
        with self.content.open() as stream:
            reader = _Forward(stream)
            return [stretch for stretch in stretches if self._is_suspect(stretch, reader)]

    def _gaps(self) -> Iterator[_Stretch]:
        position = 0
        place = "between the parts of the message or behind them"
        for start, end in [*sorted(self._done), (self.content.size, self.content.size)]:
            if start - position >= _SMALLEST_GAP:
                yield _Stretch(position, start, place)
            position = max(position, end)

    def _is_suspect(self, stretch: _Stretch, reader: _Forward) -> bool:
        if stretch.kind is FileKind.PDF:
            return _is_encrypted_pdf(stretch, reader)
        if stretch.is_document:
            return not _is_ordinary_document(stretch, reader)
        if stretch.holds_text or stretch.kind in {*_CONTAINERS, FileKind.TAR}:
            return True
        is_long_text = stretch.is_text and stretch.end - stretch.start > self.limits.armour_search
        for window in reader.windows(stretch.start, stretch.end):
            if is_long_text:
                self._look_for_old_kinds(window)
            if needles.may_hold_envelope(window):
                return True
        return False

    def _look_for_old_kinds(self, window: bytes) -> None:
        """What is looked for in the beginning of every text, in the rest of a long one."""
        if (b"\nbegin " in window or b"\n=ybegin " in window) and holds_uuencoded_cms(window):
            self.hidden.append(_UUENCODED)
        if b"-----BEGIN PGP" in window and recognition.holds_pgp_message(window):
            self.pgp = _PGP

    # --- a second look ---

    def _look(self, stretch: _Stretch) -> None:
        source = BodySource(self.content, stretch.start, stretch.end, stretch.layers)
        if stretch.kind in _CONTAINERS:
            with source.open() as stream:
                data = stream.read(self.limits.archive_size + 1)
            self._look_at_file(stretch, data, 0)
        elif not self._look_at_bytes(stretch, source.open) and stretch.layers:
            # The encoding that is named need not be the one that is there.
            raw = BodySource(self.content, stretch.start, stretch.end, ())
            self._look_at_bytes(stretch, raw.open)

    def _look_at_bytes(self, stretch: _Stretch, opener: Opener) -> bool:
        """Whether there are envelopes, which are taken down."""
        found = False
        for catch in envelopes_in(opener, self.limits):
            found = True
            self._take(stretch, catch)
        return found

    def _take(self, stretch: _Stretch, catch: Catch) -> None:
        if catch.is_head:
            self.noticed.append(_CUT_OFF)
            return
        seen = catch.seen
        reason = f"an encrypted message lies {stretch.place}; it is not taken"
        self.unreached.append(
            Unreached(stretch.path, reason, seen.recipients, seen.is_complete, stretch.sets_state)
        )

    def _look_at_file(self, stretch: _Stretch, data: bytes, depth: int) -> None:
        kind = kind_of(data[:_HEAD])
        if kind is FileKind.SEALED or (
            kind in _CONTAINERS
            and (len(data) > self.limits.archive_size or depth > self.limits.archive_depth)
        ):
            self.uninspected += 1
        elif kind is FileKind.PDF:
            place = replace(stretch, place=f"{stretch.place}, a PDF", sets_state=False)
            for seen in recipients_of_pdf(data, self.limits):
                self._take(place, Catch(seen))
        elif kind is FileKind.ZIP:
            self._look_at_zip(stretch, data, depth)
        elif kind is FileKind.GZIP:
            place = replace(stretch, place=f"{stretch.place}, compressed", is_text=False)
            self._unpacked(place, partial(unpack_gzip, data), depth)
        elif kind is FileKind.COMPOUND:
            self._look_at_compound_file(stretch, data)
        elif kind is not FileKind.MEDIA and kind is not FileKind.KEYS:
            self._look_at_bytes(replace(stretch, is_text=False), partial(io.BytesIO, data))

    def _unpacked(self, stretch: _Stretch, unpack: Callable[[], bytes], depth: int) -> None:
        try:
            data = unpack()
        except LimitExceeded:
            self.uninspected += 1
            return
        self._look_at_file(stretch, data, depth + 1)

    def _look_at_zip(self, stretch: _Stretch, data: bytes, depth: int) -> None:
        try:
            files = files_of_zip(data, self.limits)
        except LimitExceeded:
            self.uninspected += 1
            return
        is_document = bool(files) and files[0].name.startswith(_OFFICE)
        what = "a document or program" if is_document else "an archive"
        inside = replace(
            stretch,
            place=f"{stretch.place}, {what}",
            is_text=False,
            sets_state=stretch.sets_state and not is_document,
        )
        self.uninspected += any(not one.is_readable for one in files)
        for one in files:
            if one.is_readable and _may_hold_mail(one, is_document=is_document):
                self._unpacked(inside, one.unpack, depth)

    def _look_at_compound_file(self, stretch: _Stretch, data: bytes) -> None:
        try:
            streams = list(CompoundFile(data, self.limits).streams())
        except LimitExceeded:
            self.uninspected += 1
            return
        is_mail = any(name == _OUTLOOK for name, _ in streams)
        inside = replace(
            stretch,
            place=f"{stretch.place}, {'a message of Outlook' if is_mail else 'a document'}",
            is_text=False,
            sets_state=stretch.sets_state and is_mail,
        )
        found = False
        for _, raw in streams:
            found |= self._look_at_bytes(inside, partial(io.BytesIO, raw))
        if is_mail and not found and any(_is_smime_class(*one) for one in streams):
            reason = f"an S/MIME message lies {inside.place}; it is not taken"
            self.unreached.append(Unreached(stretch.path, reason))


class _Forward:
    """Reads stretches of a stream in their order; the stream may end before they do."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._offset = 0

    def windows(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes from ``start`` to ``end`` in blocks, each with the end of the one before."""
        self._pass_to(start)
        before = b""
        while self._offset < end:
            block = self._stream.read(min(BLOCK, end - self._offset))
            if not block:
                return
            self._offset += len(block)
            yield before + block if before else block
            before = block[-OVERLAP:]

    def _pass_to(self, offset: int) -> None:
        if self._stream.seekable():
            self._stream.seek(offset)
            self._offset = offset
        while self._offset < offset:
            block = self._stream.read(min(BLOCK, offset - self._offset))
            if not block:
                return
            self._offset += len(block)


def beginning_of(entity: Entity) -> bytes:
    """Some hundred bytes that a body begins with, decoded."""
    layers = entity.layers
    beginning = entity.beginning[: entity.body_end - entity.header.body_start]
    if layers == (Layer.BASE64,):
        text = beginning.translate(None, b" \t\r\n")
        try:
            return binascii.a2b_base64(text[: len(text) & ~3])
        except binascii.Error:
            return b""
    if layers == (Layer.QUOTED_PRINTABLE,):
        return binascii.a2b_qp(beginning)
    return beginning


def _is_encrypted_pdf(stretch: _Stretch, reader: _Forward) -> bool:
    """Whether its first or last bytes name an encryption."""
    ends = (
        (stretch.start, min(stretch.end, stretch.start + _PDF_ENDS)),
        (max(stretch.start, stretch.end - _PDF_ENDS), stretch.end),
    )
    for start, end in ends:
        for window in reader.windows(start, end):
            if ENCRYPTION in window or needles.may_hold(window, _ENCRYPTION_FORMS):
                return True
    return False


def _is_ordinary_document(stretch: _Stretch, reader: _Forward) -> bool:
    """Whether the directory at the end of an archive lists only what holds no mail."""
    *_, tail = [b"", *reader.windows(max(stretch.start, stretch.end - _ZIP_END), stretch.end)]
    if stretch.layers == (Layer.BASE64,):
        # Its last group ends the text, so that the groups are counted from there.
        text = tail.translate(None, b" \t\r\n")
        try:
            tail = binascii.a2b_base64(text[len(text) % 4 :])
        except binascii.Error:
            return False
    names = names_in_zip(tail)
    return bool(names) and all(name.endswith(_NO_MAIL) for name in names)


def _may_hold_mail(one: ArchivedFile, *, is_document: bool) -> bool:
    if is_document:
        return not one.name.endswith(_NO_MAIL)
    if is_mail_file_name(one.name) or one.name.endswith(_PKCS7_FILES):
        return True
    head = one.head(_HEAD)
    kind = kind_of(head)
    return (
        kind in _CONTAINERS
        or kind in {FileKind.SEALED, FileKind.TAR}
        or looks_like_cms(head)
        or is_message_ahead(head)
    )


def _is_smime_class(name: str, raw: bytes) -> bool:
    """Whether a stream of a message says that it is encrypted or opaque ([MS-OXOSMIME])."""
    if name.lower() not in _MESSAGE_CLASSES:
        return False
    words = raw.replace(b"\0", b"").decode("latin-1").lower().split(".")
    return words[:1] == ["ipm"] and "smime" in words and "multipartsigned" not in words
