"""Writes one message of an ordinary kind into the box, in one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from making.box import Box
from making.entities import around, base64_lines, crlf, header, joined, mime_fields
from making.envelopes import Envelope, Mint

CLEAR = ("clear", "clear")
SIGNED = ("signed", "signed")
READABLE = ("encrypted", "readable")
MISSING = ("encrypted", "missing-key")
MALFORMED = ("malformed", "malformed")
UNSUPPORTED = ("unsupported", "unsupported")


@dataclass(frozen=True)
class Place:
    """Where and how a message lies."""

    when: str
    """Internal date with its offset, ISO 8601."""
    folder: str = "INBOX"
    flags: str = "seen"
    keywords: Sequence[str] = ()
    sizes: str = "S"
    """Sizes that the file name carries: S, W, both or none."""
    stored_crlf: bool = False

    @property
    def received(self) -> datetime:
        return datetime.fromisoformat(self.when)


@dataclass(frozen=True)
class Story:
    """The box, and what is needed to fill it."""

    box: Box
    mint: Mint

    def put(
        self,
        place: Place,
        raw: bytes,
        note: str,
        *covers: str,
        states: tuple[str, str],
        envelope: Envelope | None = None,
    ) -> None:
        """A message whose bytes are made already."""
        stored = crlf(raw) if place.stored_crlf else raw
        covers = (*covers, *["stored-crlf"] * place.stored_crlf)
        self.box.add(
            place.when, stored, note, *covers, folder=place.folder, flags=place.flags,
            keywords=place.keywords, sizes=place.sizes, states=states, envelope=envelope,
        )  # fmt: skip

    def plain(
        self,
        place: Place,
        sender: str,
        subject: str,
        entity: str | bytes,
        note: str,
        *covers: str,
        states: tuple[str, str] = CLEAR,
        extra: Sequence[str] = (),
    ) -> None:
        """A message that is not encrypted."""
        raw = entity.encode() if isinstance(entity, str) else entity
        fields = header(sender, subject, place.received, to=_other(sender), extra=extra)
        self.put(place, around(fields, raw), note, states[0], *covers, states=states)

    def sealed(
        self,
        place: Place,
        sender: str,
        subject: str,
        envelope: Envelope,
        note: str,
        *covers: str,
        states: tuple[str, str] = READABLE,
        fields: Sequence[str | bytes] | None = None,
        mime: Sequence[str] | None = None,
        extra: Sequence[str] = (),
        to: str = "",
        width: int = 64,
    ) -> None:
        """An encrypted message.

        Args:
            fields: all header fields but ``mime`` instead of the usual ones.
            mime: Content-* fields instead of the usual ones.
            extra: header fields after the usual ones.
            width: characters in a line of base64.
        """
        if fields is None:
            to = to or _other(sender)
            fields = [*header(sender, subject, place.received, to=to), "MIME-Version: 1.0", *extra]
        content = [*(mime_fields() if mime is None else mime)]
        raw = joined([*fields, *content], base64_lines(envelope.cms, width))
        self.put(place, raw, note, *covers, states=states, envelope=envelope)


def _other(sender: str) -> str:
    return "workshop" if sender == "owner" else "owner"
