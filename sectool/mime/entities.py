"""Walks the entities of a message in one pass and says where each lies (RFC 2046).

Descends into multiparts and forwarded messages with bounded depth and count.
It decodes no body and judges none.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import BinaryIO

from sectool.errors import LimitExceeded
from sectool.mime.content_type import (
    ParameterizedValue,
    parse_content_type,
    parse_disposition,
)
from sectool.mime.header import HeaderBlock, read_header
from sectool.mime.limits import DEFAULT_LIMITS, Limits
from sectool.mime.lines import Delimiter, LineScanner
from sectool.mime.lookahead import (
    BOUNDARY_LOOK_AHEAD,
    LOOK_AHEAD,
    block_ahead,
    boundary_ahead,
    holds_delimiter,
    is_message_ahead,
    may_begin_field,
)
from sectool.mime.transfer_encoding import Layer, declared_layers, looks_like_cms
from sectool.values import dataclass

FORWARDED = frozenset({"message/rfc822", "message/global", "message/news"})
"""Media types whose body is a message."""
_MAIL_FILES = (b".eml", b".emlx", b".msg", b".mht", b".mhtml", b".mbox", b".mbx", b".mai", b".nws")
_MAIL_TYPES = frozenset({"text/rfc822-headers", "text/rfc822", "application/mbox"})
_NO_MAIL = frozenset({"message/partial", "message/external-body", "message/delivery-status"})
_MOST_TYPES = 8
_BEGINNING = 512
_BEHIND_END = "it stands behind the end of a multipart"
_OTHER_BOUNDARY = "it stands in a multipart whose boundary is not the one that its header names"
_MAIL_FILE = "it stands in an attached file that is not labelled as a message"
_IDENTITY_ENCODINGS = ("", "7bit", "8bit", "binary")


@dataclass(eq=False)
class Entity:
    """An entity that is not descended into, or a multipart at its beginning."""

    path: str
    """Section as IMAP numbers it (RFC 9051 section 6.4.5); empty for the root."""
    header: HeaderBlock
    content_type: ParameterizedValue | None
    """None where it is absent or cannot be read."""
    body_end: int
    """Offset after the body, without the line end that belongs to a delimiter;
    for a multipart its own beginning."""
    is_message: bool
    """Whether it is the whole of the message or of a forwarded one."""
    is_signed: bool
    """Whether it lies below a multipart/signed."""
    is_signed_body: bool = False
    """Whether it is all that a multipart/signed signs which is the body of a message, or of
    such a multipart."""
    is_multipart: bool = False
    """Whether it was descended into: its parts follow."""
    beginning: bytes = b""
    """Some hundred bytes of its body, as they are stored."""
    oddity: str = ""
    """Why not every reader finds it, in words; empty where all do."""

    @property
    def media_type(self) -> str:
        """Lower case, or empty."""
        return self.content_type.value if self.content_type else ""

    @property
    def main_type(self) -> str:
        """What stands before the slash of the media type, or empty."""
        return self.content_type.main_type if self.content_type else ""

    @cached_property
    def file_name(self) -> bytes:
        """Lower case, or empty."""
        disposition = self.header.first(b"content-disposition")
        if disposition is not None:
            name = parse_disposition(disposition).parameters.get("filename", b"")
            if name:
                return name.lower()
        return self.parameters.get("name", b"").lower()

    @property
    def is_named_as_mail(self) -> bool:
        """Whether its name or its type says that it is a file with mail."""
        return is_mail_file_name(self.file_name) or self.media_type in _MAIL_TYPES

    @property
    def parameters(self) -> Mapping[str, bytes]:
        """Of the Content-Type."""
        return self.content_type.parameters if self.content_type else {}

    @cached_property
    def encoding(self) -> str:
        """Value of the Content-Transfer-Encoding, or empty."""
        return (self.header.first(b"content-transfer-encoding") or b"").decode("latin-1")

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The transfer encoding that is declared, where there is one to decode."""
        return declared_layers(self.encoding)

    @property
    def is_encoded(self) -> bool:
        """Whether a transfer encoding other than the identity is declared."""
        return self.encoding.strip(' "\t').lower() not in _IDENTITY_ENCODINGS


@dataclass(slots=True)
class Extent:
    """An entity from its header to its end, with all the parts it has."""

    header: HeaderBlock
    enclosing: tuple[bytes, ...]
    """Boundaries of the multiparts around it, outermost first, with their two hyphens."""
    around: tuple[HeaderBlock, ...]
    """Headers of the entities around it, outermost first."""
    oddity: str
    """Why not every reader finds it, in words; empty where it is found as RFC 2046 has it."""
    end: int
    """Offset after the body, without the line end that belongs to a delimiter."""


@dataclass(slots=True)
class _Multipart:
    boundary: bytes
    """With its two leading hyphens."""
    prefix: str
    """What stands before the numbers of its parts."""
    depth: int
    is_signed: bool
    is_digest: bool
    signs_body: bool
    """Whether it is a multipart/signed that is the body of a message."""
    oddity: str
    count: int = 0
    is_closed: bool = False
    """Whether its final delimiter was passed; what follows is looked at all the same."""


@dataclass(frozen=True, slots=True)
class _Beginning:
    """Where an entity begins, before its header is read."""

    path: str
    prefix: str
    """What stands before the numbers of its parts, should it have some."""
    depth: int
    is_message: bool
    is_signed: bool
    default_type: str = "text/plain"
    is_signed_body: bool = False
    oddity: str = ""


class EntityWalker:
    """One walk over one message.

    Args:
        stream: at the first byte of the message.
        size: bytes of the message.
        limits: bounds on depth, count and size.
        header: of the message, where it was read before.
    """

    def __init__(
        self,
        stream: BinaryIO,
        size: int,
        limits: Limits = DEFAULT_LIMITS,
        header: HeaderBlock | None = None,
    ) -> None:
        self._scanner = LineScanner(stream)
        self._known_header = header
        self._size = size
        self._limits = limits
        self._open: list[_Multipart] = []
        self._entities = 0
        self._header_bytes = 0
        self._sought: frozenset[str] = frozenset()
        self._found: dict[str, Extent] = {}
        self._unended: list[Extent] = []
        self._chain: list[tuple[int, HeaderBlock]] = []
        """Headers down to the present entity, each with how many multiparts were open then."""
        self._latest: Delimiter | None = None
        self._is_doubled = False

    def find(self, paths: Collection[str]) -> dict[str, Extent]:
        """Of the entities with each path the outermost one; instead of ``walk``.

        The body of a forwarded message and the first part of that body have one path.

        Raises:
            LimitExceeded: a bound was reached.
        """
        self._sought = frozenset(paths)
        for _ in self.walk():
            pass
        return self._found

    def walk(self) -> Iterator[Entity]:
        """The entities in order: a multipart before its parts, a leaf when its end is known.

        Raises:
            LimitExceeded: a bound was reached; what was given before stands.
        """
        place: _Beginning | None = _Beginning("", "", 0, is_message=True, is_signed=False)
        while place is not None or self._open:
            leaf = (yield from self._enter(place)) if place is not None else None
            delimiter = None
            if self._open:
                delimiter = self._scanner.find_delimiter(self._boundaries())
            end = delimiter.start if delimiter else self._size
            self._end_extents(delimiter, end)
            if leaf is not None:
                leaf.body_end = max(end, leaf.header.body_start)
                yield leaf
            place = self._after(delimiter)

    def _begin_extent(self, place: _Beginning, header: HeaderBlock) -> None:
        path = place.path
        if path in self._sought and path not in self._found:
            around = tuple(outer for _, outer in self._chain)
            boundaries = self._boundaries()
            self._found[path] = Extent(header, boundaries, around, place.oddity, self._size)
            self._unended.append(self._found[path])
        if self._sought:
            self._chain.append((len(self._open), header))

    def _end_extents(self, delimiter: Delimiter | None, end: int) -> None:
        latest, self._latest = self._latest, delimiter
        if latest and delimiter and delimiter.line_start == latest.end:
            # "--inner--" and "--outer" on lines that follow each other: the line end between
            # them belongs to the outer one (RFC 2046 section 5.1.1), though the inner was
            # read with it.
            end = latest.line_end
        if delimiter:
            self._chain = [one for one in self._chain if one[0] <= delimiter.index]
        for extent in [*self._unended]:
            if delimiter is None or delimiter.index < len(extent.enclosing):
                extent.end = max(end, extent.header.body_start)
                self._unended.remove(extent)

    def _boundaries(self) -> tuple[bytes, ...]:
        return tuple(multipart.boundary for multipart in self._open)

    def _after(self, delimiter: Delimiter | None) -> _Beginning | None:
        """Closes what ends at a delimiter; the place of the part that begins there, if one does."""
        if delimiter is None:
            self._open.clear()
            return None
        # Multiparts inside that were never ended end here.
        del self._open[delimiter.index + 1 :]
        multipart = self._open[-1]
        if delimiter.is_final:
            self._close(multipart)
            if not self._is_part_behind_end():
                return None
        multipart.count += 1
        path = f"{multipart.prefix}{multipart.count}"
        return _Beginning(
            oddity=multipart.oddity or (_BEHIND_END if multipart.is_closed else ""),
            path=path,
            prefix=f"{path}.",
            depth=multipart.depth,
            is_message=False,
            is_signed=multipart.is_signed,
            default_type="message/rfc822" if multipart.is_digest else "text/plain",
            is_signed_body=multipart.signs_body and multipart.count == 1,
        )

    def _close(self, multipart: _Multipart) -> None:
        """Ends a multipart; a program may have put further parts of it behind."""
        multipart.is_closed = True
        if multipart.boundary in self._boundaries()[:-1]:
            # The delimiter lines that follow are those of the multipart around it.
            self._open.pop()

    def _is_part_behind_end(self) -> bool:
        """Whether the fields of a part follow at once, without a delimiter line."""
        if not may_begin_field(self._scanner.peek(_BEGINNING)):
            return False
        block = block_ahead(self._scanner.peek_part(LOOK_AHEAD, self._boundaries()))
        return block.speaks_of_a_body and block.is_ended

    def _enter(self, place: _Beginning) -> Generator[Entity, None, Entity | None]:
        """Reads headers down to a leaf, which is the result, or to a multipart, which is opened."""
        while True:
            entity = self._read(place)
            media_type = entity.media_type
            if entity.header.first(b"content-type") is None:
                media_type = place.default_type
            if media_type in FORWARDED:
                if entity.is_encoded:
                    return entity
                place = self._forwarded(place)
                continue
            if not media_type.startswith("multipart/"):
                if not self._is_mail_file(entity):
                    return entity
                place = self._forwarded(place, oddity=place.oddity or _MAIL_FILE)
                continue
            boundary, oddity = self._boundary(entity)
            if not boundary:
                return entity
            self._push(replace(place, oddity=place.oddity or oddity), media_type, boundary)
            entity.is_multipart = True
            yield entity
            return None

    def _is_mail_file(self, entity: Entity) -> bool:
        """Whether a message begins here under the label of a file, or of a text."""
        if entity.is_encoded or not may_begin_field(self._scanner.peek(_BEGINNING)):
            return False
        head = self._scanner.peek_part(LOOK_AHEAD, self._boundaries())
        if not is_message_ahead(head):
            return False
        if entity.main_type in {"application", "message"} or entity.is_named_as_mail:
            return entity.media_type not in _NO_MAIL
        return block_ahead(head).begins_what_it_says

    def _boundary(self, entity: Entity) -> tuple[bytes, str]:
        """The boundary of a multipart, and what is odd about it; empty: it cannot be entered."""
        declared = entity.parameters.get("boundary", b"")
        if entity.is_encoded and b"--" + declared in self._boundaries():
            return b"", ""  # what follows is of the multipart around it
        if declared and holds_delimiter(self._scanner.peek(_BEGINNING), declared):
            return declared, ""
        head = self._scanner.peek_part(BOUNDARY_LOOK_AHEAD, self._boundaries())
        if declared and holds_delimiter(head, declared):
            return declared, ""
        if found := boundary_ahead(head, self._boundaries()):
            return found, _OTHER_BOUNDARY
        return b"" if entity.is_encoded else declared, ""

    def _read(self, place: _Beginning) -> Entity:
        self._entities += 1
        if self._entities > self._limits.entities:
            raise LimitExceeded(f"the message has more than {self._limits.entities} parts")
        if place.depth > self._limits.depth:
            raise LimitExceeded(f"parts are nested more than {self._limits.depth} deep")
        if header := self._known_header:
            self._known_header = None
            self._scanner.skip(header.body_start)
        else:
            header = read_header(
                self._scanner,
                self._boundaries(),
                self._limits,
                is_message=place.is_message,
                is_doubled=self._is_doubled,
                begins_message=place.default_type in FORWARDED,
            )
        if self._entities == 1:
            self._is_doubled = header.is_doubled
        self._begin_extent(place, header)
        self._header_bytes += header.body_start - header.start
        if self._header_bytes > self._limits.total_header_size:
            raise LimitExceeded(
                f"the headers of all parts are longer than {self._limits.total_header_size} bytes"
            )
        return Entity(
            path=place.path,
            header=header,
            content_type=self._content_type(header),
            body_end=header.body_start,
            is_message=place.is_message,
            is_signed=place.is_signed,
            is_signed_body=place.is_signed_body,
            beginning=self._scanner.peek(_BEGINNING),
            oddity=place.oddity,
        )

    def _content_type(self, header: HeaderBlock) -> ParameterizedValue | None:
        """Of several Content-Type fields the one that the body is of; else the first."""
        values = [field.value for field in header.fields if field.name == b"content-type"]
        types = [parse_content_type(value, self._limits) for value in values[:_MOST_TYPES]]
        if len(types) < 2:
            return types[0] if types else None
        head = self._scanner.peek_part(BOUNDARY_LOOK_AHEAD, self._boundaries())
        for one in filter(None, types):
            if one.main_type == "application" and looks_like_cms(head):
                return one
            boundary = one.parameters.get("boundary")
            if one.main_type == "multipart" and boundary and holds_delimiter(head, boundary):
                return one
        return types[0]

    def _forwarded(self, place: _Beginning, oddity: str = "") -> _Beginning:
        # The body of a message that is no multipart is its part 1.
        outer = place.path or "1"
        return _Beginning(
            path=f"{outer}.1",
            prefix=f"{outer}.",
            depth=place.depth + 1,
            is_message=True,
            is_signed=place.is_signed,
            oddity=oddity or place.oddity,
        )

    def _push(self, place: _Beginning, media_type: str, boundary: bytes) -> None:
        if len(boundary) > self._limits.boundary_size:
            raise LimitExceeded(f"a boundary is longer than {self._limits.boundary_size} bytes")
        self._open.append(
            _Multipart(
                boundary=b"--" + boundary.rstrip(b" \t\r\n"),
                prefix=place.prefix,
                depth=place.depth + 1,
                is_signed=place.is_signed or media_type == "multipart/signed",
                is_digest=media_type == "multipart/digest",
                signs_body=media_type == "multipart/signed"
                and (place.is_message or place.is_signed_body),
                oddity=place.oddity,
            )
        )


def is_mail_file_name(name: bytes) -> bool:
    """Whether a file of that name, lower case, is mail."""
    return name.endswith(_MAIL_FILES)
