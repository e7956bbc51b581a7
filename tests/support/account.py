"""A store like an IMAP account, for tests: one file, one process at a time, no worker.

What sets it apart from a Maildir: a new copy is one append, and only its answer tells where it
lies; what names a message besides is a number that is never given twice, not its bytes; and
where a copy will come is told by the number that is next in its folder.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from sectool.crashpoints import crashpoint
from sectool.errors import MessageChanged, MessageError, MessageVanished
from sectool.mailbox import (
    NOTHING,
    Add,
    Capabilities,
    Intent,
    Mailbox,
    MailboxSpecification,
    Placed,
    Replace,
    Whereabouts,
    Written,
)
from sectool.message import BytesContent, Content, Flags, Listing, MessageRef, StoredMessage
from tests.support import checker

KIND = "account"
VALIDITY = 7

TABLES = """
CREATE TABLE message (
    number INTEGER PRIMARY KEY AUTOINCREMENT, folder TEXT, raw BLOB, flags TEXT, date TEXT
) STRICT;
"""
LETTERS = {"D": "draft", "F": "flagged", "P": "passed", "R": "answered", "S": "seen"}

Answer = TypeVar("Answer")


def fill_account(path: Path, maildir: Path) -> None:
    """Makes an account of the mail of a Maildir."""
    with closing(sqlite3.connect(path)) as account, account:
        account.executescript(TABLES)
        for mail in checker.stored_mail(maildir):
            folder = mail.folder.removeprefix(".") or "INBOX"
            flags = " ".join(LETTERS[letter] for letter in mail.flags)
            date = datetime.fromtimestamp(mail.mtime_ns // 10**9).astimezone().isoformat()
            row = (folder, mail.raw, flags, date)
            account.execute(
                "INSERT INTO message (folder, raw, flags, date) VALUES (?, ?, ?, ?)", row
            )


def export(path: Path, maildir: Path) -> Path:
    """Puts what lies in an account into a new Maildir, where the checker can read it."""
    letters = {word: letter for letter, word in LETTERS.items()}
    with closing(sqlite3.connect(path)) as account:
        rows = account.execute("SELECT number, folder, raw, flags FROM message").fetchall()
    for part in ("cur", "new", "tmp"):
        (maildir / part).mkdir(parents=True)
    for number, folder, raw, flags in rows:
        directory = maildir if folder == "INBOX" else maildir / f".{folder}"
        (directory / "cur").mkdir(parents=True, exist_ok=True)
        info = "".join(sorted(letters[word] for word in flags.split()))
        (directory / "cur" / f"{number}.host:2,{info}").write_bytes(raw)
    return maildir


class Account(Mailbox):
    """The account in one file."""

    def __init__(self, specification: MailboxSpecification) -> None:
        self.specification = specification
        self.capabilities = Capabilities(writable=True)
        self._rows = sqlite3.connect(specification.location, isolation_level=None)
        self._local: dict[Intent, Content] = {}

    def close(self) -> None:
        self._rows.close()

    def lock(self) -> AbstractContextManager[object]:
        return nullcontext()

    # --- reading -------------------------------------------------------------------

    def folders(self) -> Iterator[str]:
        rows = self._rows.execute("SELECT DISTINCT folder FROM message").fetchall()
        yield from sorted({"INBOX", *(folder for (folder,) in rows)})

    def walk(self, folder: str) -> Iterator[Listing]:
        rows = self._rows.execute("SELECT number FROM message WHERE folder = ?", (folder,))
        for (number,) in rows.fetchall():
            stored = self.fetch(MessageRef(folder, str(number)))
            yield Listing(
                stored.ref,
                stored.content.size,
                stored.flags,
                stored.revision,
                stored.internal_date,
            )

    def fetch(self, ref: MessageRef) -> StoredMessage:
        row = self._rows.execute(
            "SELECT raw, flags, date FROM message WHERE folder = ? AND number = ?",
            (ref.folder, int(ref.key)),
        ).fetchone()
        if row is None:
            raise MessageVanished(f"the message {ref} is no longer there")
        raw, flags, date = row
        return StoredMessage(
            ref,
            BytesContent(raw),
            Flags(frozenset(flags.split())),
            datetime.fromisoformat(date),
            f"{VALIDITY}:{ref.key}",
        )

    # --- writing --------------------------------------------------------------------

    def intend(self, changes: Sequence[Replace | Add]) -> list[Intent]:
        return [self._intent(change) for change in changes]

    def _intent(self, change: Replace | Add) -> Intent:
        (last,) = self._rows.execute("SELECT max(seq) FROM sqlite_sequence").fetchone()
        where, content = f"{VALIDITY}:{(last or 0) + 1}", change.content
        if isinstance(change, Add):
            date = change.internal_date
            return Intent(NOTHING, "", change.folder, where, content.digest, content.size, date)
        folder = change.ref.folder
        return Intent(change.ref, change.revision, folder, where, content.digest, content.size)

    def write(self, intended: Sequence[tuple[Intent, Content]]) -> list[Written | MessageError]:
        return [_answer(self._write, *entry) for entry in intended]

    def _write(self, intent: Intent, content: Content) -> Written:
        crashpoint("account.write")
        self._local[intent] = content
        if intent.replaced == NOTHING:
            return Written(intent, Flags())
        return Written(intent, self._examine(intent.replaced, intent.revision).flags)

    def place(self, written: Sequence[Written]) -> list[Placed | MessageError]:
        return [_answer(self._append, copy) for copy in written]

    def _append(self, written: Written) -> Placed:
        intent = written.intent
        date = intent.internal_date or self.fetch(intent.replaced).internal_date
        with self._local.pop(intent).open() as stream:
            row = (intent.folder, stream.read(), _text(written.flags), date.isoformat())
        crashpoint("account.append.before")
        number = self._rows.execute(
            "INSERT INTO message (folder, raw, flags, date) VALUES (?, ?, ?, ?)", row
        ).lastrowid
        crashpoint("account.append.after")
        return self._placed(written, MessageRef(intent.folder, str(number)))

    def retire(self, placed: Sequence[Placed]) -> list[Placed | MessageError]:
        return [_answer(self._retire, copy) for copy in placed]

    def _retire(self, placed: Placed) -> Placed:
        written, intent = placed.written, placed.written.intent
        old = self._examine(intent.replaced, intent.revision)
        new = self.fetch(placed.ref)
        if old.flags.deleted and not (written.flags.deleted or new.flags.deleted):
            raise MessageChanged(f"the message {intent.replaced} was marked as deleted")
        merged = new.flags.merged(base=written.flags, other=old.flags)
        self._rows.execute(
            "UPDATE message SET flags = ? WHERE number = ?", (_text(merged), int(placed.ref.key))
        )
        crashpoint("account.expunge.before")
        self._rows.execute("DELETE FROM message WHERE number = ?", (int(intent.replaced.key),))
        crashpoint("account.expunge.after")
        return self._placed(written, placed.ref)

    def find(self, intents: Sequence[Intent]) -> list[Whereabouts]:
        return [self._find(intent) for intent in intents]

    def _find(self, intent: Intent) -> Whereabouts:
        old = _answer(self._examine, intent.replaced, intent.revision)
        candidates = [intent.met] if intent.met else self._since(intent)
        found = [ref for ref in candidates if self._holds(ref, intent.digest)]
        return Whereabouts(
            placed=self._placed(Written(intent, Flags()), found[0]) if found else None,
            old_present=isinstance(old, StoredMessage),
        )

    def _since(self, intent: Intent) -> list[MessageRef]:
        first = int(intent.where.partition(":")[2])
        rows = self._rows.execute(
            "SELECT number FROM message WHERE folder = ? AND number >= ?", (intent.folder, first)
        )
        return [MessageRef(intent.folder, str(number)) for (number,) in rows.fetchall()]

    def _holds(self, ref: MessageRef, digest: str) -> bool:
        found = _answer(self.fetch, ref)
        return isinstance(found, StoredMessage) and found.content.digest == digest

    def abandon(self, intents: Sequence[Intent]) -> None:
        for intent in intents:
            self._local.pop(intent, None)

    def _examine(self, ref: MessageRef, revision: str) -> StoredMessage:
        if ref == NOTHING:
            raise MessageVanished("nothing was to be replaced")
        stored = self.fetch(ref)
        if stored.revision != revision:
            raise MessageChanged(f"the message {ref} is another one")
        return stored

    def _placed(self, written: Written, ref: MessageRef) -> Placed:
        revision = f"{VALIDITY}:{ref.key}"
        return Placed(written, ref, revision, revision)


def _text(flags: Flags) -> str:
    return " ".join(sorted(flags.system))


def _answer(act: Callable[..., Answer], *arguments: object) -> Answer | MessageError:
    try:
        return act(*arguments)
    except MessageError as error:
        return error
