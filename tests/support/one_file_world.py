"""The stores of one file from outside: the user, the server and the delivery agent in SQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from sectool.mailbox import MailboxSpecification
from sectool.message import Flags, MessageRef
from tests.support import checker
from tests.support.mailbox_contract import DATE, SEEN, Seen
from tests.support.one_file import TABLES


@contextmanager
def rows(path: Path) -> Iterator[sqlite3.Connection]:
    """Opens the file for one change."""
    with closing(sqlite3.connect(path)) as connection, connection:
        yield connection


def fill_one_file(path: Path, kind: str, maildir: Path) -> OneFileWorld:
    """Makes a store of a kind, with the mail of a Maildir."""
    world = OneFileWorld(path, kind)
    for mail in checker.stored_mail(maildir):
        folder = mail.folder.removeprefix(".") or "INBOX"
        flags = Flags(frozenset(checker.FLAGS[letter] for letter in mail.flags))
        world.deliver(folder, mail.raw, flags=flags, date=datetime.fromisoformat(mail.date))
    return world


class OneFileWorld:
    """A store handled with nothing but SQL.

    Args:
        path: of its file.
        kind: of ``checker.KINDS``.
        new: whether it is made.
    """

    def __init__(self, path: Path, kind: str, *, new: bool = True) -> None:
        self.path = path
        self.kind = kind
        if not new:
            return
        with rows(path) as store:
            store.executescript(f"{TABLES} PRAGMA user_version = {checker.KINDS.index(kind)};")

    @property
    def specification(self) -> MailboxSpecification:
        return MailboxSpecification(self.kind, str(self.path))

    def deliver(
        self, folder: str, raw: bytes, *, flags: Flags = SEEN, date: datetime = DATE
    ) -> MessageRef:
        values = (folder, raw, " ".join(flags.system), date.isoformat())
        with rows(self.path) as store:
            number = store.execute(
                "INSERT INTO message (folder, key, raw, flags, date, version)"
                " VALUES (?, '', ?, ?, ?, 0)",
                values,
            ).lastrowid
            store.execute("UPDATE message SET key = number, version = number WHERE key = ''")
        return MessageRef(folder, str(number))

    def _change(self, ref: MessageRef, change: str, *values: object) -> None:
        with rows(self.path) as store:
            place = "WHERE folder = ? AND key = ? AND NOT beside"
            done = store.execute(f"{change} {place}", (*values, ref.folder, ref.key))
        assert done.rowcount == 1

    def set_flags(self, ref: MessageRef, flags: Flags) -> None:
        self._change(ref, "UPDATE message SET flags = ?", " ".join(flags.system))

    def overwrite(self, ref: MessageRef, raw: bytes) -> None:
        if self.kind == "imaplike":  # there no number is given to other bytes
            (old,) = self._where("folder = ? AND key = ?", ref.folder, ref.key)
            self.remove(ref)
            self.deliver(ref.folder, raw, flags=old.flags, date=old.date)
        else:
            change = "UPDATE message SET raw = ?, version = version + 1000000"
            self._change(ref, change, raw)

    def remove(self, ref: MessageRef) -> None:
        self._change(ref, "DELETE FROM message")

    def move(self, ref: MessageRef, folder: str) -> None:
        if self.kind == "imaplike":  # under a new number
            (old,) = self._where("folder = ? AND key = ?", ref.folder, ref.key)
            self.remove(ref)
            self.deliver(folder, old.raw, flags=old.flags, date=old.date)
        else:
            self._change(ref, "UPDATE message SET folder = ?", folder)

    def _where(self, condition: str, *values: object) -> list[Seen]:
        with rows(self.path) as store:
            found = store.execute(
                f"SELECT folder, raw, flags, date FROM message WHERE NOT beside AND {condition}",
                values,
            ).fetchall()
        return [
            Seen(folder, raw, Flags(frozenset(flags.split())), datetime.fromisoformat(date))
            for folder, raw, flags, date in found
        ]

    def seen(self) -> list[Seen]:
        found = self._where("1")
        if self.kind == "imaplike":  # what ends its lines means nothing there
            found = [replace(one, raw=one.raw.replace(b"\r\n", b"\n")) for one in found]
        return sorted(found, key=lambda seen: (seen.raw, seen.folder))

    def hidden(self) -> int:
        with rows(self.path) as store:
            (count,) = store.execute("SELECT count(*) FROM message WHERE beside").fetchone()
        return int(count)

    def spoil_staged(self) -> None:
        with rows(self.path) as store:
            store.execute("UPDATE message SET raw = CAST(raw || '?' AS BLOB) WHERE beside")
