"""What FETCH tells of messages (RFC 9051 section 7.5.2)."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import field
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

from sectool.mailbox.imap.connection import Take
from sectool.mailbox.imap.reader import BadAnswer, Data, Numbers, Spooled, Status, Value
from sectool.message import Flags
from sectool.values import dataclass

LAST_UID = 2**32 - 1

MOST_FLAGS = 1000
"""Of one message."""

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DATE = re.compile(rb" ?(\d{1,2})-([A-Za-z]{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)")
_BODY = re.compile(r"BODY\[\](?:<(\d{1,10})>)?", re.IGNORECASE)
_IDENTITIES = ("X-GM-MSGID", "EMAILID")
"""What names one message wherever it is shown (RFC 8474, and Gmail's own)."""


@dataclass(slots=True)
class Fetched:
    """What was told of one message; None: nothing."""

    flags: Flags = field(default_factory=Flags)
    tells_flags: bool = False
    """Whether it has those flags, or they were not told."""
    internal_date: datetime | None = None
    size: int | None = None
    body: Spooled | bytes | None = None
    """Of the message from ``origin`` on, as far as it was asked for."""
    origin: int = 0
    identity: str = ""
    change: int | None = None
    """Number of the last change of its flags (RFC 7162)."""


@dataclass(slots=True)
class Collected:
    """What is told of the messages that a command asks for; of others nothing is taken."""

    wanted: Container[int]
    """UIDs."""
    messages: dict[int, Fetched] = field(default_factory=dict)
    """By UID."""

    @property
    def take(self) -> Take:
        """Given each untagged response."""
        return self._take

    def _take(self, response: Data | Numbers | Status) -> None:
        if not isinstance(response, Data) or response.name != "FETCH":
            return
        items = dict(_items(response.values))
        uid = _number(items.get("UID"))
        # Without a UID it tells of flags that somebody changed, and not of what was asked.
        if uid is not None and uid in self.wanted:
            _add(self.messages.setdefault(uid, Fetched()), items)


def _items(values: list[Value]) -> Iterator[tuple[str, Value]]:
    (pairs,) = values if len(values) == 1 else (None,)
    if not isinstance(pairs, list) or len(pairs) % 2:
        raise BadAnswer("the server told of a message what cannot be read")
    for name, value in zip(pairs[::2], pairs[1::2], strict=True):
        if not isinstance(name, str):
            raise BadAnswer("the server told of a message what cannot be read")
        yield name.upper(), value


def _add(message: Fetched, items: Mapping[str, Value]) -> None:
    for name, value in items.items():
        if name == "FLAGS" and isinstance(value, list):
            if len(value) > MOST_FLAGS:
                raise BadAnswer("the server tells of too many flags")
            message.flags = flags_of([one for one in value if isinstance(one, str)])
            message.tells_flags = True
        elif name == "INTERNALDATE" and isinstance(value, bytes):
            message.internal_date = date_of(value)
        elif name == "RFC822.SIZE":
            message.size = _number(value)
        elif name == "MODSEQ":
            message.change = _number(value[0] if isinstance(value, list) and value else None)
        elif name in _IDENTITIES:
            told = value[0] if isinstance(value, list) and value else value
            message.identity = told if isinstance(told, str) else ""
        elif (
            (body := _BODY.fullmatch(name))
            and isinstance(value, bytes | Spooled)
            and message.body is None
        ):
            message.body, message.origin = value, int(body[1] or 0)


def _number(value: Value) -> int | None:
    is_number = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19
    return int(value) if is_number else None  # type: ignore[arg-type]  # it is a string


def flags_of(names: list[str]) -> Flags:
    """Flags as a server names them; that of recent mail is none that stays."""
    system = {name[1:].lower() for name in names if name.startswith("\\")} - {"recent", "*"}
    return Flags(frozenset(system), frozenset(one for one in names if not one.startswith("\\")))


def date_text(date: datetime) -> str:
    """An internal date as ``date_of`` reads it, with its zone."""
    offset = date.utcoffset() or timedelta()
    if offset % timedelta(minutes=1):
        date, offset = date.astimezone(UTC), timedelta()
    minutes = offset // timedelta(minutes=1)
    zone = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}{abs(minutes) % 60:02d}"
    month = _MONTHS[date.month - 1].title()
    return f"{date.day:02d}-{month}-{date.year:04d} {date:%H:%M:%S} {zone}"


@lru_cache(maxsize=1024)  # each message of a batch is looked at again and again
def date_of(text: bytes) -> datetime | None:
    """An internal date with its zone; None where it is none."""
    found = _DATE.fullmatch(text)
    if found is None or found[2].decode("ascii").lower() not in _MONTHS:
        return None
    month = _MONTHS.index(found[2].decode("ascii").lower()) + 1
    day, year, hour, minute, second, *_ = (int(found[n]) for n in (1, 3, 4, 5, 6))
    offset = timedelta(hours=int(found[8]), minutes=int(found[9]))
    try:
        zone = timezone(-offset if found[7] == b"-" else offset) if offset else UTC
        return datetime(year, month, day, hour, minute, second, tzinfo=zone)
    except ValueError:
        return None
