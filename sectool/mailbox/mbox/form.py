"""How a message stands in an mbox: separator lines, quoting, and the fields that are the store's.

RFC 4155 describes the format and leaves open what separates: the rule here is the one that mutt
and Dovecot share. A line that begins with ``From `` separates where it begins the file or comes
after an empty line, and has a date as asctime(3) writes it, or nothing, as Thunderbird does; and
where a header field comes next. Knows no file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from functools import lru_cache

from sectool.message import Flags

FROM = b"From "

LINE_LIMIT = 1024
"""Bytes of a separator line; a longer one separates nothing."""

HEADER_LIMIT = 1024 * 1024
"""Bytes in which a header block ends; a message without an empty line there has none."""

MARKS_LIMIT = 1000
"""Quotation marks before ``From `` that are read as quoting."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_MONTHS = b"jan feb mar apr may jun jul aug sep oct nov dec".split()
_TIME = re.compile(rb"(\d{1,2}):(\d\d)(?::(\d\d))?")
_ZONE = re.compile(rb"([+-])(\d\d)(\d\d)")
_FIELD = re.compile(rb"[!-9;-~]{1,200}[ \t]*:")
_FIELDS = re.compile(rb"[^\n]*\n(?:[ \t][^\n]*\n)*|[^\n]+")
_TO_QUOTE = re.compile(rb"^(?=>{0,%d}From )" % (MARKS_LIMIT - 1), re.MULTILINE)
_NUMBER = re.compile(rb"\d+")

_OF_THE_STORE = frozenset(
    {
        *(b"status", b"x-status", b"x-keywords"),
        *(b"x-mozilla-status", b"x-mozilla-status2", b"x-mozilla-keys"),
        *(b"x-uid", b"x-imap", b"x-imapbase", b"content-length"),
    }
)
"""Names, lower case, of the fields in which programs keep what they know of a message."""

_LOOKED_AT = _OF_THE_STORE | {b"subject", b"date"}

_SETS = 1000
"""Different sets of flags that are kept in memory, of which most messages share a few."""

_PSEUDO_SUBJECT = b"DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA"


# --- what separates -------------------------------------------------------------------


def separates(line: bytes, following: bytes, *, first: bool = False) -> bool:
    """Whether a line that begins with ``From ``, after an empty one, begins a message.

    Args:
        line: with its line end.
        following: what comes after it, as far as it may matter; empty at the end of the file.
        first: it begins the file, where nothing else can be meant.
    """
    is_before_a_field = _FIELD.match(following) is not None
    if first:
        return is_before_a_field or line_date(line) is not None
    if line.rstrip(b"\r\n- ") == b"From":
        return is_before_a_field
    ends = following[:1] in {b"", b"\n"} or following[:2] == b"\r\n"
    return (is_before_a_field or ends or following[:6] == b">From ") and bool(line_date(line))


def line_date(line: bytes) -> datetime | None:
    """The date of a separator line, in UTC where it names no zone as ``+0100``."""
    words = line[len(FROM) :].split()[-8:]
    month = year = day = 0
    clock: re.Match[bytes] | None = None
    zone = UTC
    for word in words:
        lower = word[:3].lower()
        if not month and len(word) == 3 and lower in _MONTHS:
            month = _MONTHS.index(lower) + 1
        elif (found := _TIME.fullmatch(word)) is not None:
            clock = found
        elif (found := _ZONE.fullmatch(word)) is not None:
            minutes = int(found[2]) * 60 + int(found[3])
            sign = -1 if found[1] == b"-" else 1
            zone = timezone(sign * timedelta(minutes=min(minutes, 1439)))
        elif word.isdigit() and len(word) == 4:
            year = int(word)
        elif word.isdigit() and len(word) <= 2 and month and not day:
            day = int(word)
    if clock is None:
        return None
    try:
        hour, minute, second = (int(part or 0) for part in clock.groups())
        return datetime(year, month, day, hour, minute, second, tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def separator(date: datetime, end: bytes) -> bytes:
    """The line before a message that nobody delivered."""
    return (
        FROM
        + b"MAILER-DAEMON "
        + date.astimezone(UTC).strftime("%a %b %e %H:%M:%S %Y").encode("ascii")
        + end
    )


# --- header and body ------------------------------------------------------------------


def header_end(beginning: bytes, *, is_whole: bool) -> int:
    """Length of the header block that a message begins with; its body begins with an empty line.

    Args:
        beginning: ``HEADER_LIMIT`` bytes, or what there is.
        is_whole: whether that is the whole message.
    """
    if beginning.startswith((b"\n", b"\r\n")):
        return 0
    found = beginning.find(b"\n\n", 0, HEADER_LIMIT)
    # The other is looked for no further, since most messages are short and few have it.
    other = beginning.find(b"\n\r\n", 0, HEADER_LIMIT if found < 0 else found + 1)
    found = found if other < 0 else other
    if found >= 0:
        return found + 1
    return len(beginning) if is_whole else 0


class Header:
    """A header block, taken apart once.

    Args:
        raw: with its line ends, without the empty line after it.
    """

    __slots__ = ("_values", "fields", "own", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.fields: list[bytes] = _FIELDS.findall(raw)
        """With their line ends and continuation lines."""
        self.own: list[bool] = []
        """Of each field whether it is the message's: the others say what programs know of it."""
        self._values: dict[bytes, bytes] = {}
        for field in self.fields:
            name, colon, value = field.partition(b":")
            name = name.rstrip().lower()
            self.own.append(name not in _OF_THE_STORE or not colon)
            if name in _LOOKED_AT and colon:
                self._values.setdefault(name, value)

    def value(self, name: bytes) -> bytes:
        """The first value of one of the fields that are looked at, unfolded; empty: none.

        Args:
            name: lower case.
        """
        return b" ".join(self._values.get(name, b"").split())

    def own_ranges(self) -> Iterator[tuple[int, int]]:
        """Where the fields lie that are the message's own, as ranges of the header block."""
        start = position = 0
        for field, is_own in zip(self.fields, self.own, strict=True):
            if not is_own:
                if position > start:
                    yield start, position
                start = position + len(field)
            position += len(field)
        if position > start:
            yield start, position

    @property
    def content_length(self) -> int | None:
        """What a Content-Length field says of the body."""
        value = self.value(b"content-length")
        return int(value) if value.isdigit() and len(value) < _DIGITS else None

    @property
    def is_numbered(self) -> bool:
        """Whether an IMAP server has written it: Dovecot quotes nothing, and says the length."""
        return b"x-uid" in self._values

    @property
    def is_of_pseudo_message(self) -> bool:
        """Whether it begins the data of an IMAP server, the first message of its mbox files."""
        is_of_server = self.value(b"x-imap") or self.value(b"x-imapbase")
        return bool(is_of_server) and self.value(b"subject") == _PSEUDO_SUBJECT

    def internal_date(self, line: bytes) -> datetime:
        """When the message came: its separator line says it, else its Date field."""
        date = line_date(line)
        if date is None:
            try:
                date = parsedate_to_datetime(self.value(b"date").decode("ascii"))
                date = (date if date.tzinfo else date.replace(tzinfo=UTC)).astimezone(UTC)
            except (ValueError, TypeError, OverflowError, IndexError):
                return EPOCH
        return date

    @property
    def flags(self) -> Flags:
        """What the store's fields say; Thunderbird's say it where there are some."""
        names = (b"x-mozilla-status", b"status", b"x-status", b"x-mozilla-keys", b"x-keywords")
        return _flags(*map(self.value, names))

    def carried_to(self, new: Header, length: int | None) -> bytes:
        """Another header block with the fields of this one that are the store's, in their places.

        Args:
            new: has none.
            length: what a Content-Length is to say, in bytes; None: it goes, since it was wrong.
        """
        own = [field for field, is_own in zip(self.fields, self.own, strict=True) if is_own]
        places: dict[bytes, int] = {}
        for number, field in enumerate(new.fields):
            places.setdefault(field, number)
        put: list[list[bytes]] = [[] for _ in range(len(new.fields) + 1)]
        passed = 0
        for field, is_own in zip(self.fields, self.own, strict=True):
            if is_own:
                passed += 1
                continue
            is_length = field.partition(b":")[0].rstrip().lower() == b"content-length"
            if not is_length:
                kept = field
            elif length is None:
                continue
            else:
                kept = _NUMBER.sub(b"%d" % length, field, count=1)
            put[_place(own, passed, places, len(new.fields))].append(kept)
        return b"".join(
            part
            for number, fields in enumerate(put)
            for part in (*fields, *new.fields[number : number + 1])
        )


@lru_cache(maxsize=_SETS)
def _flags(mozilla: bytes, status: bytes, more: bytes, tags: bytes, keywords: bytes) -> Flags:
    system = set[str]()
    try:
        bits = int(mozilla[:8], 16)
        system |= {name for bit, name in _MOZILLA.items() if bits & bit}
    except ValueError:
        system |= {name for letter, name in _LETTERS.items() if letter in status + more}
    words = [word.decode("utf-8", "replace") for word in (tags.split() + keywords.split())]
    return Flags(
        frozenset(system),
        frozenset(word for word in words[:_KEYWORDS] if not word.startswith("\\")),
    )


def _place(own: Sequence[bytes], passed: int, places: dict[bytes, int], last: int) -> int:
    """Before which field of the new header a store's field comes that stood after ``passed``."""
    if passed == 0:
        return 0
    if passed < len(own):
        if (place := places.get(own[passed - 1])) is not None:
            return place + 1
        if (place := places.get(own[passed])) is not None:
            return place
    return last


_DIGITS = 16
_KEYWORDS = 100
_MOZILLA = {0x1: "seen", 0x2: "answered", 0x4: "flagged", 0x8: "deleted", 0x1000: "passed"}
"""Bits of X-Mozilla-Status; 0x8 is what waits for Thunderbird to compact the folder."""
_LETTERS = {b"R": "seen", b"A": "answered", b"F": "flagged", b"D": "deleted", b"T": "draft"}


# --- quoting --------------------------------------------------------------------------


def quoted(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """A body with one more mark before each line that begins with ``From `` after any marks."""
    kept, at_line_start = b"", True
    for block in blocks:
        data = kept + block
        cut = data.rfind(b"\n") + 1
        if not cut and len(data) <= 2 * MARKS_LIMIT:
            kept = data
            continue
        whole, kept = (data[:cut], data[cut:]) if cut else (data, b"")
        yield _quoted(whole, at_line_start=at_line_start)
        at_line_start = bool(cut)
    if kept:
        yield _quoted(kept, at_line_start=at_line_start)


def _quoted(data: bytes, *, at_line_start: bool) -> bytes:
    if FROM not in data:
        return data
    first = 0 if at_line_start else data.find(b"\n") + 1 or len(data)
    return data[:first] + _TO_QUOTE.sub(b">", data[first:])
