"""Reads what a server says (RFC 9051 section 9), within bounds.

Knows no socket and no command. A response is read a token at a time; strings that a caller
has a place for go there a block at a time, and are in memory never whole.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple, TypeAlias

from sectool.errors import ServerUnavailable
from sectool.message import COPY_BLOCK
from sectool.values import dataclass

LONGEST_LINE = 1024 * 1024
"""Bytes of the lines of one response."""
LONGEST_NUMBERS = 32 * 1024 * 1024
"""Bytes of a list of numbers: three million messages of one folder."""
LARGEST_STRING = 64 * 1024
"""Bytes of a string that is kept in memory."""
MOST_TOKENS = 100_000
"""In one response."""
DEEPEST = 32
"""Lists in each other."""

# Nothing is tried twice, so that a long line takes neither time nor memory.
_TOKEN = re.compile(
    rb'\(|\)|"((?:[^"\\\r\n\0]++|\\["\\])*+)"|\{(\d{1,19})\+?\}\Z'
    rb'|((?:[^\[ (){"\x00-\x1f\x7f]++|\[[^\]\r\n]{0,200}+\]|\[)++)'
)
_UNTAGGED = re.compile(rb"\* (?:(\d{1,10}) )?([A-Za-z0-9.-]{1,40})(?: |\Z)")
_TAGGED = re.compile(
    rb"(\*|[A-Za-z0-9]{1,20}) (OK|NO|BAD|BYE|PREAUTH)(?: |\Z)(.*)", re.IGNORECASE | re.DOTALL
)
_CODE = re.compile(r"\[([^\]]*)\] ?")
_NUMBER = re.compile(rb"\b\d{1,10}\b")


class BadAnswer(ServerUnavailable):
    """What the server said is no answer: the connection cannot be gone on with."""


class Spooled(NamedTuple):
    """A string that went to the caller's file."""

    offset: int
    size: int


Value: TypeAlias = "str | bytes | Spooled | list[Value] | None"
"""An atom, a string, one that was put into a file, a list, or NIL."""


@dataclass(frozen=True, slots=True)
class Status:
    """OK, NO, BAD, BYE or PREAUTH (RFC 9051 section 7.1)."""

    tag: str
    """``*`` where it is not tagged."""
    condition: str
    """In capitals."""
    code: str
    """What stands in brackets; empty where nothing does."""
    text: str
    """The rest, printable and without a full stop."""


@dataclass(frozen=True, slots=True)
class Data:
    """Everything else that the server tells."""

    name: str
    """Such as ``FETCH``, in capitals."""
    number: int
    """That stands before the name; 0: none."""
    values: list[Value]


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers of a search."""

    numbers: array[int]


@dataclass(frozen=True, slots=True)
class Continuation:
    """The server waits for the rest of a command."""


Response: TypeAlias = Status | Data | Numbers | Continuation


class Sink:
    """A file that strings go to.

    Args:
        file: written to at its end.
        most: bytes of one string.
        total: bytes of all of them.
    """

    def __init__(self, file: BinaryIO, *, most: int, total: int) -> None:
        self.file = file
        self.most = most
        self.total = total


class Reader:
    """The responses of one connection, in order.

    Args:
        receive: answers the next bytes, no more than it is asked for; none at the end.
    """

    def __init__(self, receive: Callable[[int], bytes]) -> None:
        self._receive = receive
        self._buffer = bytearray()
        self._read = 0
        """Bytes of the buffer that were taken."""

    @property
    def has_more(self) -> bool:
        """Whether the server said more than was read."""
        return self._read < len(self._buffer)

    def read(self, sink: Sink | None = None) -> Response:
        """The next response.

        Args:
            sink: where strings of more than ``LARGEST_STRING`` bytes may go; those of a
                message (``BODY[]``) go there whatever their size.

        Raises:
            BadAnswer: it is none, or goes beyond a bound.
            ServerUnavailable: the connection ended.
        """
        line = self._line(LONGEST_LINE)
        if line.startswith(b"+"):
            return Continuation()
        if status := _TAGGED.fullmatch(line):
            text = printable(status[3])
            code = _CODE.match(text)
            rest = text[code.end() :] if code else text
            tag, condition = status[1].decode("ascii"), status[2].decode("ascii").upper()
            return Status(tag, condition, code[1] if code else "", rest.rstrip(". "))
        start = _UNTAGGED.match(line)
        if start is None:
            raise BadAnswer("the server answered what is no IMAP response")
        name = start[2].decode("ascii").upper()
        if name == "SEARCH":
            return Numbers(array("Q", (int(one[0]) for one in _NUMBER.finditer(line, start.end()))))
        return Data(name, int(start[1] or 0), self._values(line[start.end() :], sink))

    # --- bytes ----------------------------------------------------------------------------

    def _fill(self, most: int) -> None:
        if self._read:
            del self._buffer[: self._read]
            self._read = 0
        received = self._receive(most)
        if not received:
            raise ServerUnavailable("the server closed the connection")
        self._buffer += received

    def _line(self, longest: int) -> bytes:
        """The next line, without its end."""
        looked_at = 0
        while (end := self._buffer.find(b"\n", self._read + looked_at)) < 0:
            looked_at = len(self._buffer) - self._read
            if self._buffer.startswith(b"* SEARCH", self._read):
                longest = LONGEST_NUMBERS
            if looked_at > longest:
                raise BadAnswer("the server sent a line that is too long")
            self._fill(COPY_BLOCK)
        line = bytes(self._buffer[self._read : end])
        self._read = end + 1
        return line.removesuffix(b"\r")

    def _take(self, most: int) -> bytes:
        if not self.has_more:
            self._fill(min(most, COPY_BLOCK))
        taken = bytes(self._buffer[self._read : self._read + most])
        self._read += len(taken)
        return taken

    # --- tokens ---------------------------------------------------------------------------

    def _values(self, line: bytes, sink: Sink | None) -> list[Value]:
        """All that a response says, which goes on behind each string of a given size."""
        lists: list[list[Value]] = [[]]
        at, left, length = 0, MOST_TOKENS, len(line)
        while True:
            while line.startswith(b" ", at):
                at += 1
            if at == len(line):
                break
            found = _TOKEN.match(line, at)
            left -= 1
            if found is None or left < 0:
                raise BadAnswer("the server sent a response that cannot be read")
            at = found.end()
            if found[2] is not None:
                lists[-1].append(self._string(int(found[2]), _place(lists[-1], sink)))
                line, at = self._line(LONGEST_LINE), 0
                length += len(line)
                if length > LONGEST_LINE:
                    raise BadAnswer("the server sent a response that is too long")
            elif found[0] == b"(":
                deeper: list[Value] = []
                lists[-1].append(deeper)
                lists.append(deeper)
                if len(lists) > DEEPEST:
                    raise BadAnswer("the server sent lists that are too deep")
            elif found[0] == b")":
                lists.pop()
                if not lists:
                    raise BadAnswer("the server closed a list that is not open")
            else:
                lists[-1].append(_value(found))
        if len(lists) > 1:
            raise BadAnswer("the server left a list open")
        return lists[0]

    def _string(self, size: int, sink: Sink | None) -> Value:
        if sink is None:
            if size > LARGEST_STRING:
                raise BadAnswer(f"the server announced a string of {size} bytes")
            return b"".join(self._blocks(size))
        if size > sink.most or size > sink.total:
            raise BadAnswer(f"the server announced {size} bytes that were not asked for")
        sink.total -= size
        offset = sink.file.tell()
        for block in self._blocks(size):
            sink.file.write(block)
        return Spooled(offset, size)

    def _blocks(self, size: int) -> Iterator[bytes]:
        while size:
            block = self._take(size)
            size -= len(block)
            yield block


def _place(before: list[Value], sink: Sink | None) -> Sink | None:
    """Where the string after these values goes: into the file where it is a message's."""
    name = before[-1] if before else None
    return sink if isinstance(name, str) and name.upper().startswith("BODY[") else None


def _value(found: re.Match[bytes]) -> Value:
    if found[1] is not None:
        return re.sub(rb"\\(.)", rb"\1", found[1]) if b"\\" in found[1] else found[1]
    atom = found[3].decode("latin-1")
    return None if atom.upper() == "NIL" else atom


def printable(raw: bytes) -> str:
    """What a server says, for a person: one line, no control characters, not too long."""
    text = raw[:1000].decode("utf-8", "replace")
    return "".join(one if one.isprintable() else "?" for one in text)
