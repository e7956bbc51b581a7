"""A mail program whose user never rests, and what it knows of the mail."""

from __future__ import annotations

import imaplib
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sectool.mailbox.files.names import is_unique_name

MARKS = ("\\Seen", "\\Flagged", "\\Answered", "Work")
FEW = 6
"""Messages that the user has at least."""
DELETIONS = 4
"""At most; where over half of a job's mail is gone, its commands rightly refuse to act."""

PATIENCE = 60.0
"""Seconds in which what the user wants must be seen."""

GLANCES = 5
"""Times the user looks at a message that was moved and is shown where it was as well."""


@dataclass
class Known:
    """A message as the user knows it: what the server showed after their last act on it."""

    folder: str
    flags: frozenset[str]
    copies: int = 1
    """That the user made in this folder."""


@dataclass
class BusyClient:
    """Acts at random, and looks after each act until the server shows what was meant.

    The server may acknowledge an act on a copy that is gone by then, so that what counts is
    what it shows, in a mailbox selected anew. An act is on all copies that are shown.

    Args:
        connect: makes a connection that is logged in.
        maildir: where the server keeps the mail.
        chance: decides what is done.
    """

    connect: Callable[[], imaplib.IMAP4]
    maildir: Path
    chance: random.Random
    fresh: Callable[[int], bytes]
    """Makes a message of this number, in which its Message-ID is ``<number@example.org>``."""
    space: AbstractContextManager[object] = field(default_factory=nullcontext)
    """Held while the server stores mail: where the disk is full it may do half of a move."""
    known: dict[str, Known] = field(default_factory=dict)
    """By Message-ID."""
    folders: list[str] = field(default_factory=lambda: ["INBOX", "Work", "Lists"])
    acts: Counter[str] = field(default_factory=Counter)
    moves: list[str] = field(default_factory=list)
    """What was asked of the server, and its answer: one that it does by half is asked again."""
    _number: int = 1000

    def __post_init__(self) -> None:
        self._client = self.connect()
        for folder in self.folders[1:]:
            self._client.create(folder)

    def empty(self) -> None:
        """Removes all that is there but the folders of the user."""
        for folder in self._names():
            if folder in self.folders:
                for _, _, number in self.shown(folder):
                    self._client.uid("STORE", str(number), "+FLAGS", "(\\Deleted)")
                self._client.expunge()
            else:
                self._client.delete(folder)

    def close(self) -> None:
        self._client.logout()

    def append(self, identity: str, raw: bytes, folder: str, flags: frozenset[str]) -> None:
        """Stores a message, once: what was stored may be out of sight for a moment."""
        with self.space:
            self._until_ok(
                lambda: self._client.append(
                    folder,
                    f"({' '.join(sorted(flags))})",
                    '"04-Mar-2011 05:06:07 +0000"',
                    raw.replace(b"\n", b"\r\n"),
                )
            )
        self.known[identity] = Known(folder, flags)

    def act(self) -> None:
        """Does one thing."""
        kinds = {
            "move": 6,
            "flag": 6,
            "unflag": 3,
            "copy": 1,
            "delete": 1,
            "append": 1,
            "rename a folder": 1,
        }
        # What was copied is left: of two copies none is the one that was meant.
        single = sorted(name for name, known in self.known.items() if known.copies == 1)
        (kind,) = self.chance.choices(list(kinds), list(kinds.values()))
        if len(single) < FEW or (kind == "delete" and self.acts[kind] == DELETIONS):
            kind = "append"
        self.acts[kind] += 1
        if kind == "append":
            self._number += 1
            identity = f"<{self._number}@example.org>"
            raw = self.fresh(self._number)
            self.append(identity, raw, self.chance.choice(self.folders), frozenset())
        elif kind == "rename a folder":
            self._rename(self.chance.choice(self.folders[1:]))
        else:
            identity = self.chance.choice(single)
            getattr(self, f"_{kind}")(identity, self.known[identity])

    def shown(self, folder: str) -> list[tuple[str, frozenset[str], int]]:
        """Message-ID, flags and UID of each message."""
        self._until_ok(lambda: self._client.select(folder))
        items = "(UID FLAGS BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])"
        kind, answer = self._client.uid("FETCH", "1:*", items)
        if kind != "OK":
            return self.shown(folder)  # one of them is gone
        found: list[tuple[str, frozenset[str], int]] = []
        for part in answer:
            if not isinstance(part, tuple):
                continue
            head, field_ = part[0].decode(), part[1].decode()
            identity = re.search(r"<[^>]*>", field_)
            flags = re.search(r"FLAGS \(([^)]*)\)", head)
            number = re.search(r"UID (\d+)", head)
            if identity is None or flags is None or number is None:
                continue  # it is gone, and the server knows no more of it
            marks = frozenset(flags[1].split()) - {"\\Recent"}
            found.append((identity[0], marks, int(number[1])))
        return found

    def _uids(self, identity: str, folder: str) -> list[int]:
        return [number for name, _, number in self.shown(folder) if name == identity]

    def _until(self, what: str, is_so: Callable[[], bool], act: Callable[[], None]) -> None:
        limit = time.monotonic() + PATIENCE
        while not is_so():
            assert time.monotonic() < limit, f"the user cannot {what}"
            act()

    def _until_ok(self, act: Callable[[], tuple[str, Any]]) -> None:
        limit = time.monotonic() + PATIENCE
        while (answer := act())[0] != "OK":
            assert time.monotonic() < limit, answer

    def _set(self, identity: str, known: Known, sign: str, mark: str) -> None:
        def is_so() -> bool:
            found = [flags for name, flags, _ in self.shown(known.folder) if name == identity]
            return bool(found) and all((mark in flags) == (sign == "+") for flags in found)

        def act() -> None:
            for number in self._uids(identity, known.folder):
                self._client.uid("STORE", str(number), f"{sign}FLAGS", f"({mark})")

        self._until(f"set {sign}{mark} of {identity} in {known.folder}", is_so, act)
        known.flags = known.flags | {mark} if sign == "+" else known.flags - {mark}

    def _flag(self, identity: str, known: Known) -> None:
        self._set(identity, known, "+", self.chance.choice(MARKS))

    def _unflag(self, identity: str, known: Known) -> None:
        self._set(identity, known, "-", self.chance.choice(MARKS))

    def _move(self, identity: str, known: Known) -> None:
        target = self.chance.choice([name for name in self.folders if name != known.folder])

        def is_so() -> bool:
            # The server may list one file under two numbers for a moment; whoever moves it under
            # both asks for two copies.
            for _ in range(GLANCES):
                there = bool(self._uids(identity, target))
                if not there or not self._uids(identity, known.folder):
                    return there
                time.sleep(0.2)
            return False

        def act() -> None:
            if self._uids(identity, target) and self._has_doubled(identity):
                known.copies = 2
            for number in self._uids(identity, known.folder)[:1]:
                _, answer = self._client.uid("MOVE", str(number), target)
                self.moves.append(f"{identity} {known.folder} {number} to {target}: {answer}")

        with self.space:
            self._until(f"move {identity} from {known.folder} to {target}", is_so, act)
        known.folder = target

    def _has_doubled(self, identity: str) -> bool:
        """Whether the server has a message twice for certain: no command made a file here yet."""
        files = [path for part in ("cur", "new") for path in self.maildir.glob(f"**/{part}/*")]
        if any(is_unique_name(path.name.partition(":2,")[0]) for path in files):
            return False
        try:
            return sum(identity.encode() in path.read_bytes() for path in files) > 1
        except FileNotFoundError:
            return False

    def _copy(self, identity: str, known: Known) -> None:
        """Into the same folder, once."""
        for _ in range(20):
            numbers = self._uids(identity, known.folder)
            if numbers:
                self._client.untagged_responses.clear()
                with self.space:
                    self._client.uid("COPY", str(numbers[0]), known.folder)
                if self._client.response("COPYUID")[1] != [None]:
                    known.copies = 2
                    return

    def _delete(self, identity: str, known: Known) -> None:
        def act() -> None:
            for number in self._uids(identity, known.folder):
                self._client.uid("STORE", str(number), "+FLAGS", "(\\Deleted)")
                self._client.uid("EXPUNGE", str(number))

        self._until(f"delete {identity}", lambda: not self._uids(identity, known.folder), act)
        del self.known[identity]

    def _rename(self, folder: str) -> None:
        self._number += 1
        target = f"{folder.rstrip('0123456789')}{self._number}"
        # The server does not rename what is selected.
        self._client.select("INBOX")
        with self.space:
            self._until_ok(lambda: self._client.rename(folder, target))
        self.folders[self.folders.index(folder)] = target
        for known in self.known.values():
            if known.folder == folder:
                known.folder = target

    # --- what is compared ---------------------------------------------------------------------

    def wanted(self) -> Counter[tuple[str, str, frozenset[str]]]:
        """Message-ID, folder and flags of all mail, as the user knows it."""
        return Counter(
            (identity, known.folder, known.flags)
            for identity, known in self.known.items()
            for _ in range(known.copies)
        )

    def seen(self) -> Counter[tuple[str, str, frozenset[str]]]:
        """The same as the server shows it."""
        return Counter(
            (identity, folder, flags)
            for folder in self._names()
            for identity, flags, _ in self.shown(folder)
        )

    def _names(self) -> list[str]:
        _, answer = self._client.list()
        lines = [line.decode() for line in answer if isinstance(line, bytes)]
        return [line.rpartition(' "/" ')[2].strip('"') for line in lines]
