"""Walks the entities of a message in one pass and says where each lies (RFC 2046).

Descends into multiparts and forwarded messages with bounded depth and count.
It decodes no body and judges none.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

from sectool.errors import LimitExceeded
from sectool.smime.content_type import ParameterizedValue, parse_content_type
from sectool.smime.fields import HeaderBlock, read_header
from sectool.smime.limits import DEFAULT_LIMITS, Limits
from sectool.smime.lines import Delimiter, LineScanner

FORWARDED = frozenset({"message/rfc822", "message/global", "message/news"})
"""Media types whose body is a message."""
_IDENTITY_ENCODINGS = (b"", b"7bit", b"8bit", b"binary")


@dataclass(frozen=True, slots=True)
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

    @property
    def media_type(self) -> str:
        """Lower case, or empty."""
        return self.content_type.value if self.content_type else ""

    @property
    def parameters(self) -> dict[str, bytes]:
        """Of the Content-Type."""
        return self.content_type.parameters if self.content_type else {}

    @property
    def is_encoded(self) -> bool:
        """Whether a transfer encoding other than the identity is declared."""
        return not _is_identity(self.header)


@dataclass(slots=True)
class Extent:
    """An entity from its header to its end, with all the parts it has."""

    header: HeaderBlock
    enclosing: tuple[bytes, ...]
    """Boundaries of the multiparts around it, outermost first, with their two hyphens."""
    around: tuple[HeaderBlock, ...]
    """Headers of the entities around it, outermost first."""
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
    count: int = 0


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


class EntityWalker:
    """One walk over one message.

    Args:
        stream: at the first byte of the message.
        size: bytes of the message.
        limits: bounds on depth, count and size.
    """

    def __init__(self, stream: BinaryIO, size: int, limits: Limits = DEFAULT_LIMITS) -> None:
        self._scanner = LineScanner(stream)
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
                yield replace(leaf, body_end=max(end, leaf.header.body_start))
            place = self._after(delimiter)

    def _begin_extent(self, path: str, header: HeaderBlock) -> None:
        if path in self._sought and path not in self._found:
            around = tuple(outer for _, outer in self._chain)
            self._found[path] = Extent(header, self._boundaries(), around, self._size)
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
            self._open.pop()
            return None
        multipart.count += 1
        path = f"{multipart.prefix}{multipart.count}"
        return _Beginning(
            path=path,
            prefix=f"{path}.",
            depth=multipart.depth,
            is_message=False,
            is_signed=multipart.is_signed,
            default_type="message/rfc822" if multipart.is_digest else "text/plain",
            is_signed_body=multipart.signs_body and multipart.count == 1,
        )

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
            boundary = entity.parameters.get("boundary", b"")
            if not media_type.startswith("multipart/") or not boundary:
                return entity
            self._push(place, media_type, boundary)
            yield replace(entity, is_multipart=True)
            return None

    def _read(self, place: _Beginning) -> Entity:
        self._entities += 1
        if self._entities > self._limits.entities:
            raise LimitExceeded(f"the message has more than {self._limits.entities} parts")
        if place.depth > self._limits.depth:
            raise LimitExceeded(f"parts are nested more than {self._limits.depth} deep")
        header = read_header(self._scanner, self._boundaries(), self._limits)
        self._begin_extent(place.path, header)
        self._header_bytes += header.body_start - header.start
        if self._header_bytes > self._limits.total_header_size:
            raise LimitExceeded(
                f"the headers of all parts are longer than {self._limits.total_header_size} bytes"
            )
        value = header.first(b"content-type")
        return Entity(
            path=place.path,
            header=header,
            content_type=None if value is None else parse_content_type(value, self._limits),
            body_end=header.body_start,
            is_message=place.is_message,
            is_signed=place.is_signed,
            is_signed_body=place.is_signed_body,
        )

    def _forwarded(self, place: _Beginning) -> _Beginning:
        # The body of a message that is no multipart is its part 1.
        outer = place.path or "1"
        return _Beginning(
            path=f"{outer}.1",
            prefix=f"{outer}.",
            depth=place.depth + 1,
            is_message=True,
            is_signed=place.is_signed,
        )

    def _push(self, place: _Beginning, media_type: str, boundary: bytes) -> None:
        if len(boundary) > self._limits.boundary_size:
            raise LimitExceeded(f"a boundary is longer than {self._limits.boundary_size} bytes")
        self._open.append(
            _Multipart(
                boundary=b"--" + boundary.rstrip(b" \t"),
                prefix=place.prefix,
                depth=place.depth + 1,
                is_signed=place.is_signed or media_type == "multipart/signed",
                is_digest=media_type == "multipart/digest",
                signs_body=media_type == "multipart/signed"
                and (place.is_message or place.is_signed_body),
            )
        )


def _is_identity(header: HeaderBlock) -> bool:
    value = header.first(b"content-transfer-encoding") or b""
    return value.strip(b' "\t').lower() in _IDENTITY_ENCODINGS
