"""mbox files from outside: what mail programs and deliveries do to them, and what they see."""

from __future__ import annotations

import itertools
import os
from datetime import UTC, datetime
from pathlib import Path

from sectool.mailbox import MailboxSpecification
from sectool.message import Flags, MessageRef
from tests.support import checker
from tests.support.mailbox_contract import DATE, SEEN, Seen
from tests.support.mbox_files import (
    Stored,
    flagged,
    messages_in,
    quoted,
    stored_in,
    waiting_in,
)


class MboxWorld:
    """A tree of mbox files handled with nothing but the operating system.

    Args:
        root: the directory.
        program: which one keeps its flags there.
        new: whether it is made.
    """

    def __init__(self, root: Path, program: str = "mutt", *, new: bool = True) -> None:
        self.root = root
        self.program = program
        self._numbers = itertools.count(1)
        if new:
            root.mkdir(exist_ok=True)
            (root / "Inbox").touch()

    @property
    def specification(self) -> MailboxSpecification:
        return MailboxSpecification("mbox", str(self.root))

    def path(self, folder: str) -> Path:
        *above, last = ["Inbox"] if folder == "INBOX" else folder.split("/")
        directory = self.root.joinpath(*(f"{name}.sbd" for name in above))
        directory.mkdir(parents=True, exist_ok=True)
        return directory / last

    def deliver(
        self, folder: str, raw: bytes, *, flags: Flags = SEEN, date: datetime = DATE
    ) -> MessageRef:
        raw = raw if raw.endswith(b"\n") else raw + b"\n"
        end = b"\r\n" if b"\r\n" in raw else b"\n"
        when = date.astimezone(UTC).strftime("%a %b %e %H:%M:%S %Y").encode()
        line = b"From sender-%d@example.org %s" % (next(self._numbers), when) + end
        stored = Stored(line, quoted(flagged(raw, flags.system, self.program)))
        with self.path(folder).open("ab") as file:
            file.write(line + stored.raw + end)
        return MessageRef(folder, stored.key)

    def _messages(self, folder: str) -> list[Stored]:
        path = self.path(folder)
        return messages_in(path.read_bytes()) if path.exists() else []

    def _put(self, folder: str, messages: list[Stored]) -> None:
        """As mail programs do: into the same file."""
        with self.path(folder).open("r+b") as file:
            file.write(b"".join(one.line + one.raw + b"\n" for one in messages))
            file.truncate()

    def _take(self, ref: MessageRef) -> tuple[list[Stored], int]:
        messages = self._messages(ref.folder)
        (number,) = [n for n, one in enumerate(messages) if one.key == ref.key]
        return messages, number

    def set_flags(self, ref: MessageRef, flags: Flags) -> None:
        messages, number = self._take(ref)
        messages[number].raw = flagged(messages[number].raw, flags.system, self.program)
        self._put(ref.folder, messages)

    def overwrite(self, ref: MessageRef, raw: bytes) -> None:
        messages, number = self._take(ref)
        messages[number].raw = quoted(flagged(raw, messages[number].flags, self.program))
        self._put(ref.folder, messages)

    def remove(self, ref: MessageRef) -> None:
        messages, number = self._take(ref)
        del messages[number]
        self._put(ref.folder, messages)

    def move(self, ref: MessageRef, folder: str) -> None:
        messages, number = self._take(ref)
        with self.path(folder).open("ab") as file:
            file.write(messages[number].line + messages[number].raw + b"\n")
        self.remove(ref)

    def seen(self) -> list[Seen]:
        found = [
            Seen(folder, one.content, Flags(one.flags), one.date)
            for folder, one in stored_in(self.root)
        ]
        return sorted(found, key=lambda seen: (seen.raw, seen.folder))

    def hidden(self) -> int:
        return len(waiting_in(self.root))

    def spoil_staged(self) -> None:
        for path in waiting_in(self.root):
            status = path.stat()
            path.write_bytes(path.read_bytes()[:-1] + b"?\n")
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def fill_mbox(path: Path, maildir: Path, program: str = "mutt") -> MboxWorld:
    """Makes a tree with the mail of a Maildir."""
    world = MboxWorld(path, program)
    for mail in checker.stored_mail(maildir):
        folder = mail.folder.removeprefix(".") or "INBOX"
        flags = Flags(frozenset(checker.FLAGS[letter] for letter in mail.flags))
        world.deliver(folder, mail.raw, flags=flags, date=datetime.fromisoformat(mail.date))
    return world
