"""mbox files as mail programs read and write them; shares no code with sectool."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_SEPARATOR = re.compile(
    rb"(?:\A|(?<=\n\n)|(?<=\n\r\n))From \S+ +\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\r?\n"
)
_OWN = re.compile(
    rb"^(?:Status|X-Status|X-Keywords|X-Mozilla-Status2?|X-Mozilla-Keys|Content-Length):.*\n",
    re.MULTILINE,
)
LETTERS = {"answered": "A", "flagged": "F", "deleted": "D", "draft": "T"}
BITS = {"seen": 1, "answered": 2, "flagged": 4, "deleted": 8, "passed": 0x1000}


@dataclass
class Stored:
    """One message of a file."""

    line: bytes
    raw: bytes
    """With the fields of the store, quoted, without the empty line at its end."""

    @property
    def content(self) -> bytes:
        """What was sent."""
        head, empty, body = self.split()
        return (
            _OWN.sub(b"", head) + empty + re.sub(rb"^>(>*From )", rb"\1", body, flags=re.MULTILINE)
        )

    def split(self) -> tuple[bytes, bytes, bytes]:
        """Header, empty line, body."""
        end = b"\r\n" if self.line.endswith(b"\r\n") else b"\n"
        if self.raw.startswith(end):
            return b"", end, self.raw[len(end) :]
        head, empty, body = self.raw.partition(end + end)
        return (head + end, end, body) if empty else (self.raw, b"", b"")

    @property
    def flags(self) -> frozenset[str]:
        head = self.split()[0]
        mozilla = re.search(rb"^X-Mozilla-Status: (\w+)", head, re.MULTILINE)
        if mozilla:
            bits = int(mozilla[1], 16)
            return frozenset(name for name, bit in BITS.items() if bits & bit)
        status = b"".join(re.findall(rb"^(?:X-)?Status: (\w*)", head, re.MULTILINE)).decode()
        names = {name for name, letter in LETTERS.items() if letter in status}
        return frozenset(names | ({"seen"} if "R" in status else set()))

    @property
    def date(self) -> datetime:
        """When it came, as its separator says."""
        text = " ".join(self.line.decode().split()[2:])
        return datetime.strptime(text, "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC)

    @property
    def key(self) -> str:
        digest = hashlib.sha256(self.content).digest()
        line = self.line.rstrip(b"\r\n")
        return f"{hashlib.sha256(line + bytes(1) + digest).hexdigest()[:32]}.0"


def messages_in(raw: bytes) -> list[Stored]:
    """The messages of a file."""
    found = list(_SEPARATOR.finditer(raw))
    ends = [*(one.start() for one in found), len(raw)][1:]
    stored = []
    for one, end in zip(found, ends, strict=True):
        text = raw[one.end() : end]
        empty = b"\r\n" if text.endswith(b"\r\n") else b"\n"
        stored.append(Stored(one[0], text.removesuffix(empty) if text.endswith(empty) else text))
    return stored


def flagged(raw: bytes, flags: frozenset[str], program: str) -> bytes:
    """A message with the fields in which a program keeps its flags."""
    end = b"\r\n" if b"\r\n" in raw else b"\n"
    head, empty, body = Stored(b"From x" + end, raw).split()
    head = _OWN.sub(b"", head)
    if program == "thunderbird":
        bits = sum(BITS[name] for name in flags)
        head = b"X-Mozilla-Status: %04x" % bits + end + b"X-Mozilla-Status2: 00000000" + end + head
    else:
        head += b"Status: " + (b"RO" if "seen" in flags else b"O") + end
        letters = "".join(sorted(LETTERS[name] for name in flags & LETTERS.keys()))
        head += b"X-Status: " + letters.encode() + end if letters else b""
    return head + empty + body


def quoted(raw: bytes) -> bytes:
    """With one more mark before each line of the body that begins with ``From ``."""
    head, empty, body = Stored(b"From x\r\n" if b"\r\n" in raw else b"From x\n", raw).split()
    return head + empty + re.sub(rb"^(?=>*From )", b">", body, flags=re.MULTILINE)


def stored_in(root: Path) -> Iterator[tuple[str, Stored]]:
    """All messages of a tree, or of one file, with their folders."""
    for path in [root] if root.is_file() else sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if path.is_file() and not any(part.startswith(".") for part in parts):
            name = "/".join(part.removesuffix(".sbd") for part in parts)
            for one in messages_in(path.read_bytes()):
                yield "INBOX" if name in {"Inbox", ""} else name, one


def waiting_in(root: Path) -> list[Path]:
    """What lies where no mail program looks for mail."""
    directory, pattern = (
        (root.parent, f".{root.name}.sectool/*") if root.is_file() else (root, "**/.*.sectool/*")
    )
    return [path for path in directory.glob(pattern) if path.is_file()]
