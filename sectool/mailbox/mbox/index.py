"""Reads an mbox from its first byte to its last, in memory that does not grow with it.

The index that is made of it says of each message where it lies and what it holds, in about a
hundred bytes. What names a message is made of its separator line and of its own bytes, so
that neither flags nor what comes before or after it change its name.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from array import array
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta

from sectool.errors import MailboxError
from sectool.mailbox.mbox.form import EPOCH
from sectool.mailbox.mbox.layout import (
    Layout,
    digest_of,
    end_by_length,
    first_separator,
    lay_out,
)
from sectool.mailbox.mbox.reader import Reader
from sectool.message import Flags
from sectool.values import dataclass

MESSAGE_LIMIT = 2_000_000
"""Messages in one file."""

_FLAGS = 1000
"""Different sets of flags that one file has, before keywords are passed over."""
_KEY = 16
_DIGEST = 32
_SECOND_NS = 1_000_000_000
_GRAIN_NS = 20_000_000
"""A change so soon after another may leave the times of a file as they are."""


@dataclass(frozen=True, slots=True)
class FileState:
    """What differs where a file was exchanged or changed, unless too soon after it was read."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, descriptor: int) -> FileState:
        """That of an open file."""
        return cls.of_status(os.fstat(descriptor))

    @classmethod
    def of_status(cls, status: os.stat_result) -> FileState:
        """The same, of what the system said of it."""
        times = status.st_mtime_ns, status.st_ctime_ns
        return cls(status.st_dev, status.st_ino, status.st_size, *times)

    def is_settled(self, read_at: int) -> bool:
        """Whether a change since it was read, at a time in nanoseconds, shows in it."""
        is_coarse = self.changed % _SECOND_NS == 0
        return self.changed + (2 * _SECOND_NS if is_coarse else _GRAIN_NS) < read_at


class Index:
    """The messages of one file, as it was when it was read.

    Attributes:
        state: of the file.
        is_settled: whether a change since shows in the state.
        by_length: whether the file is of a kind whose Content-Length says where messages end.
    """

    def __init__(self, state: FileState, *, is_settled: bool) -> None:
        self.state = state
        self.is_settled = is_settled
        self.by_length = False
        self.starts = array("Q")
        self.ends = array("Q")
        self.sizes = array("Q")
        self.dates = array("q")
        self._flags = array("L")
        self._all_flags: list[Flags] = []
        self._numbers: dict[Flags, int] = {}
        self.keys = bytearray()
        self.digests = bytearray()
        self.plain = bytearray()
        self._ordinals = array("L")
        self._seen: Counter[bytes] = Counter()

    def __len__(self) -> int:
        return len(self.starts)

    def add(self, layout: Layout, digest: bytes) -> None:
        """Takes the next message."""
        if len(self.starts) >= MESSAGE_LIMIT:
            raise MailboxError(
                f"the mbox file has more than {MESSAGE_LIMIT} messages", hint="split it"
            )
        self.starts.append(layout.start)
        self.ends.append(layout.end)
        self.sizes.append(layout.size)
        self.dates.append(int((layout.header.internal_date(layout.line) - EPOCH).total_seconds()))
        flags = layout.header.flags
        if flags not in self._numbers and len(self._all_flags) >= _FLAGS:
            flags = Flags(flags.system)
        if flags not in self._numbers:
            self._numbers[flags] = len(self._all_flags)
            self._all_flags.append(flags)
        self._flags.append(self._numbers[flags])
        key = key_of(layout.line, digest)
        self._ordinals.append(self._seen[key])
        self._seen[key] += 1
        self.keys += key
        self.digests += digest
        self.plain.append(layout.is_plain)

    def finish(self) -> None:
        """Lets go of what only ``add`` needs."""
        self._seen.clear()

    def key(self, number: int) -> str:
        """What names a message in its folder."""
        return f"{self.keys[_KEY * number : _KEY * (number + 1)].hex()}.{self._ordinals[number]}"

    def digest(self, number: int) -> str:
        """SHA-256 of the content of a message, lower-case hexadecimal."""
        return self.digests[_DIGEST * number : _DIGEST * (number + 1)].hex()

    def flags(self, number: int) -> Flags:
        """What the store's fields said of a message."""
        return self._all_flags[self._flags[number]]

    def date(self, number: int) -> datetime:
        """When a message came."""
        return EPOCH + timedelta(seconds=self.dates[number])

    def hint(self, number: int) -> str:
        """Changes when the bytes of a message do."""
        return f"{self.sizes[number]}:{self.digest(number)[:16]}"

    def find(self, key: str) -> int | None:
        """The number of the message of that name; None: there is none."""
        name, _, ordinal = key.partition(".")
        if not (_HEXADECIMAL.fullmatch(name) and ordinal.isdecimal()):
            return None
        numbers = _aligned(self.keys, bytes.fromhex(name))
        return next((n for n in numbers if self._ordinals[n] == int(ordinal)), None)

    def tables(self, first: int, last: int) -> tuple[bytearray, bytearray]:
        """What names the messages of a range, and the digests of their contents."""
        return (
            self.keys[_KEY * first : _KEY * last],
            self.digests[_DIGEST * first : _DIGEST * last],
        )

    def with_digest(self, digest: str) -> Iterator[int]:
        """The numbers of the messages whose content has a SHA-256."""
        return _aligned(self.digests, bytes.fromhex(digest))


_HEXADECIMAL = re.compile(rf"[0-9a-f]{{{2 * _KEY}}}")


def key_of(line: bytes, digest: bytes) -> bytes:
    """What a message is named by: its separator line and its content."""
    return hashlib.sha256(line.rstrip(b"\r\n") + b"\0" + digest).digest()[:_KEY]


def _aligned(table: bytearray, entry: bytes) -> Iterator[int]:
    position = table.find(entry)
    while position >= 0:
        number, rest = divmod(position, len(entry))
        if not rest:
            yield number
        position = table.find(entry, position + 1)


def read_index(descriptor: int) -> Index:
    """Reads all of an open file.

    Raises:
        MailboxError: it has more messages than one file may.
        OSError: it cannot be read.
    """
    read_at, state = time.time_ns(), FileState.of(descriptor)
    index = Index(state, is_settled=state.is_settled(read_at))
    reader = Reader(descriptor, state.size)
    position = first = first_separator(reader)
    while position is not None and position < state.size:
        by_length = index.by_length or not len(index)
        layout = lay_out(reader, position, None, by_length=by_length)
        if not len(index) and end_by_length(reader, layout) == layout.end:
            index.by_length = True
        if position != first or not layout.header.is_of_pseudo_message:
            index.add(layout, digest_of(reader, layout))
        position = layout.end
    index.finish()
    return index
