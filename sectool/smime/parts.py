"""What is known of one encrypted part or of a root entity, and its CMS as a source.

The offsets are into the stored bytes; those of parts are found elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from enum import StrEnum
from functools import cached_property
from typing import BinaryIO

from sectool import cms
from sectool.errors import MalformedMessage
from sectool.message import IN_MEMORY, BytesContent, Content, digest_stream
from sectool.mime.header import CONTENT_FIELDS, HeaderBlock, header_of
from sectool.mime.transfer_encoding import Layer, decode, open_decoded
from sectool.values import dataclass


class Placement(StrEnum):
    """How an encrypted part stands in its message."""

    ROOT = "root"
    """It is the whole body of the message."""
    FORWARDED = "forwarded"
    """It is the whole body of a message inside the message."""
    WRAPPED = "wrapped"
    """It stands among other parts, as gateways leave it, and attackers put it."""
    LIST_FOOTER = "list-footer"
    """It stands among other parts as a mailing list leaves it that adds a footer."""
    DOCUMENT = "document"
    """It stands among other parts as a file that somebody encrypted and attached."""
    BESIDE_SIGNATURE = "beside-signature"
    """It stands among other parts, and a detached signature of one of them may be over it."""
    SEALED = "sealed"
    """It is all that a clear signature covers, or the body of a message that is covered."""
    SEALED_AMONG_OTHERS = "sealed-among-others"
    """It stands among other parts, and all of them below a clear signature."""
    SEALED_OPAQUE = "sealed-opaque"
    """It is all that an opaque signature covers, whose SignedData stands in its place."""

    @property
    def is_under_signature(self) -> bool:
        """Whether a signature would be void if it changed."""
        return self in _UNDER_SIGNATURE


_UNDER_SIGNATURE = frozenset(
    {Placement.SEALED, Placement.SEALED_AMONG_OTHERS, Placement.SEALED_OPAQUE}
)


@dataclass(frozen=True, slots=True)
class PartSelection:
    """Which encrypted parts get new recipients of those that open."""

    break_signatures: bool = False
    """Also those under a signature, which becomes void."""
    leave_attachments: bool = False
    """Not those that are files which somebody encrypted and attached."""

    @property
    def names(self) -> list[str]:
        """The names of the choices made, as the options have them."""
        choices = {
            "break-signatures": self.break_signatures,
            "leave-attachments": self.leave_attachments,
        }
        return [name for name, chosen in choices.items() if chosen]

    def why_left(self, part: EncryptedPart) -> str:
        """Why a part is left where it is, in words; empty: it is taken."""
        placement, what = part.placement, _named(part)
        if placement.is_under_signature and not self.break_signatures:
            opaque = placement is Placement.SEALED_OPAQUE
            cover = "an opaque signature" if opaque else "a signature"
            return f"{what} lies under {cover}; to take it and void that: --break-signatures"
        if placement is Placement.BESIDE_SIGNATURE:
            return f"{what} stands beside a detached signature, which may be over it"
        if placement is Placement.DOCUMENT and self.leave_attachments:
            return f"{what} is an encrypted attachment, left by --leave-attachments"
        return ""


@dataclass(frozen=True, slots=True)
class ClearSelection:
    """Which encrypted parts may stand in the mailbox in clear.

    Old ciphertext in a stranger's surroundings is how readers were made to send its
    text away (EFAIL), so that this is no matter of what opens.
    """

    nested: bool = False
    """Also the whole bodies of messages inside, and of what was encrypted."""
    wrapped: bool = False
    """Also those beside a mailing list's short footer."""

    def why_left(self, part: EncryptedPart) -> str:
        """Why a part stays encrypted, in words; empty: its plaintext may stand there."""
        if part.placement is Placement.ROOT:
            return ""
        if part.placement is Placement.LIST_FOOTER:
            if self.wrapped:
                return ""
            return "it stands beside the footer of a mailing list; to open it: --wrapped"
        if part.placement in {Placement.FORWARDED, Placement.SEALED}:
            return "" if self.nested else f"only a part of it is encrypted; {TO_OPEN_NESTED}"
        return f"{_named(part)} is not the whole body of a message"


TO_OPEN_NESTED = "to open that too: --nested"


def _named(part: EncryptedPart) -> str:
    return f"the encrypted part {part.path}".rstrip()


NOTHING_ELSE = PartSelection()


@dataclass(frozen=True, slots=True)
class Place:
    """An entity of a stored message that something else may be put in the place of."""

    path: str
    """Section as IMAP numbers it; empty for the root entity."""
    header: HeaderBlock
    """Of the entity; ``header.start`` is where the entity begins."""
    body_start: int
    body_end: int
    """Without the line end that belongs to a delimiter line."""
    is_last: bool
    """Whether nothing follows it in the message."""
    line_end: bytes
    """As the header of the message has it: CRLF or LF."""


@dataclass(frozen=True, slots=True)
class EncryptedPart(Place):
    """One EnvelopedData or AuthEnvelopedData and where it lies in the stored bytes."""

    placement: Placement
    source: BodySource
    """Its CMS."""
    defects: tuple[str, ...]
    """What is odd about the encoding, for a person."""
    envelope: cms.EnvelopeDescription
    signed: CoveredPart | None = None
    """Under an opaque signature: the part in what is signed; the rest of this is of the
    SignedData."""

    @property
    def word(self) -> str:
        """What its place counts as in the identity of its message."""
        return part_word(self.path, self.placement)

    @property
    def content_fields(self) -> tuple[tuple[int, int], ...]:
        """Where the fields lie that describe the encrypted body, as offsets from and to."""
        return content_fields(self.header)


@dataclass(frozen=True, slots=True)
class CoveredPart:
    """An encrypted part in a content that exists only decoded, so that nothing can replace it."""

    path: str
    """Section of the entity that holds the content, ``~``, and the section therein."""
    content: Content
    """What ``part`` lies in."""
    part: EncryptedPart
    reason: str
    """What is around it."""


@dataclass(frozen=True, slots=True)
class Unreached:
    """An envelope, whole or not, that is counted and never taken: it cannot be put back."""

    path: str
    """Section of the entity it lies in, or is."""
    reason: str
    """Where it lies or what is wrong with it, in words."""
    recipients: tuple[cms.RecipientDescription, ...] = ()
    """As far as they could be read."""
    is_complete: bool = False
    """Whether those are all of them."""
    sets_state: bool = True
    """False: it lies in a file of another format, so that the message is what it is without it."""
    is_over_limit: bool = False
    """Whether a bound of ours, and not damage, kept it from being read."""


def part_word(path: str, placement: str) -> str:
    """What the place of an encrypted part counts as in the identity of its message.

    Args:
        path: section as IMAP numbers it.
        placement: how it stands there.
    """
    return f"{path}~" if placement == Placement.SEALED_OPAQUE else path


def content_fields(
    header: HeaderBlock, further: frozenset[bytes] = frozenset()
) -> tuple[tuple[int, int], ...]:
    """Where the fields of ``CONTENT_FIELDS`` lie, in order, as offsets from and to.

    Args:
        header: of an entity.
        further: names, lower case, of fields that count as well.
    """
    return fields_named(header, CONTENT_FIELDS | further)


def fields_named(header: HeaderBlock, names: frozenset[bytes]) -> tuple[tuple[int, int], ...]:
    """Where the fields with these names, lower case, lie, in order, as offsets from and to."""
    return tuple((one.start, one.end) for one in header.fields if one.name in names)


@dataclass(frozen=True, slots=True)
class WholeEntity(Place):
    """An entity of a message with all its parts, encrypted or not."""

    enclosing: tuple[bytes, ...] = ()
    """Boundaries of the multiparts around it, outermost first, with their two hyphens."""
    around: tuple[HeaderBlock, ...] = ()
    """Headers of the entities around it, outermost first."""
    oddity: str = ""
    """Why not every reader finds it, in words; empty where all do."""


def root_entity(content: Content) -> WholeEntity:
    """The place of the root entity of any message, such as one in clear.

    Args:
        content: the stored message.

    Raises:
        MalformedMessage: its header is beyond all bounds, or there is none.
    """
    header = header_of(content, is_message=True)
    if not header.fields:
        raise MalformedMessage("the message has no header")
    return WholeEntity("", header, header.body_start, content.size, True, header.line_end)


@dataclass(frozen=True)
class BodySource:
    """A decoded body that can be opened again and again; one in memory is decoded once."""

    content: Content
    start: int
    end: int
    layers: tuple[Layer, ...]
    """Encodings around it as found, outermost first."""
    defects: set[str] = field(default_factory=set)
    """Grows as it is decoded."""

    def open(self) -> BinaryIO:
        """A new stream over the decoded bytes; the caller closes it."""
        return self._held.open() if self._held else open_decoded(*self._place)

    def beginning(self, count: int, *, is_needed: bool) -> bytes:
        """The first decoded bytes.

        Args:
            count: how many.
            is_needed: whether all of it will be wanted, so that it is decoded as a whole.
        """
        where = (self.content, self.start, self.end, self.layers)
        with self.open() if is_needed else open_decoded(*where) as stream:
            return stream.read(count)

    @property
    def is_in_memory(self) -> bool:
        """Whether it is small, and of what is in memory."""
        return isinstance(self.content, BytesContent) and self.end - self.start <= IN_MEMORY

    @cached_property
    def _held(self) -> BytesContent | None:
        return BytesContent(decode(*self._place)) if self.is_in_memory else None

    @property
    def _place(self) -> tuple[Content, int, int, tuple[Layer, ...], Callable[[str], object]]:
        return self.content, self.start, self.end, self.layers, self.defects.add


_UNKNOWN_SIZE = 1 << 62


@dataclass(frozen=True, slots=True)
class NestedContent:
    """Bytes that exist only decoded, to be walked like a message.

    Its size is an upper bound: finding the true one would mean decoding all of it.
    """

    opener: Callable[[], BinaryIO]

    @property
    def size(self) -> int:
        """More than any content has."""
        return _UNKNOWN_SIZE

    @property
    def digest(self) -> str:
        """SHA-256 of all bytes, lower-case hexadecimal."""
        with self.open() as stream:
            return digest_stream(stream)

    def open(self) -> BinaryIO:
        """A new stream from the first byte; the caller closes it."""
        return self.opener()
