"""Four stores for tests that differ on purpose, each in one file that a kill leaves as it is.

What they share is here: reading, flags, dates and the acts on one copy. What sets each apart is
in its class: when mail programs see a new copy, what removes the old one, how a copy is found
after a crash, and whether its bytes are kept.

A worker learns of them as it unpickles the specification, whose class this module holds.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import ClassVar, TypeVar

from sectool.crashpoints import crashpoint
from sectool.errors import (
    MailboxError,
    MessageChanged,
    MessageError,
    MessageVanished,
    NoSuchMailbox,
    ReadOnlyMailbox,
)
from sectool.mailbox import (
    NOTHING,
    Access,
    Add,
    Capabilities,
    Intent,
    Keeps,
    Mailbox,
    MailboxSpecification,
    Note,
    Placed,
    Replace,
    Retirement,
    Unit,
    Whereabouts,
    Written,
    note_nothing,
)
from sectool.mailbox.recognise import STORES
from sectool.message import BytesContent, Content, Flags, Listing, MessageRef, StoredMessage

TABLES = """
CREATE TABLE message (
    number INTEGER PRIMARY KEY AUTOINCREMENT, folder TEXT NOT NULL, key TEXT NOT NULL,
    raw BLOB NOT NULL, flags TEXT NOT NULL, date TEXT NOT NULL,
    version INTEGER NOT NULL, token TEXT NOT NULL DEFAULT '', beside INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX message_by_key ON message (folder, key);
"""
"""``version`` changes with the bytes; ``token`` is the intent that made a copy; what lies
``beside`` no mail program sees: 1 where it was written, 2 where it was read back as well."""

VALIDITY = 7

Answer = TypeVar("Answer")


class OneFileSpecification(MailboxSpecification):
    """Unpickled in a worker it brings this module along, and so the kinds below."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Copy:
    """A row of the table."""

    number: int
    folder: str
    key: str
    raw: bytes
    flags: Flags
    date: datetime
    version: int

    @property
    def ref(self) -> MessageRef:
        return MessageRef(self.folder, self.key)


class OneFileMailbox(Mailbox):
    """What the four have in common.

    Args:
        specification: its location is the file.

    Raises:
        NoSuchMailbox: there is no such file.
    """

    retirement: ClassVar[Retirement] = Retirement.UNLINK
    unit: ClassVar[Unit] = Unit.MESSAGE
    keeps: ClassVar[Keeps] = Keeps.EXACT

    def __init__(self, specification: MailboxSpecification) -> None:
        path = Path(specification.location)
        if not path.is_file():
            raise NoSuchMailbox(f"there is no mailbox at {path}")
        self.specification = OneFileSpecification(specification.kind, specification.location)
        self.capabilities = Capabilities(
            writable=bool(path.stat().st_mode & 0o200),
            unit=self.unit,
            retirement=self.retirement,
            keeps=self.keeps,
        )
        self._rows = sqlite3.connect(path, isolation_level=None)
        self._rows.execute("PRAGMA synchronous = OFF")  # what is killed loses nothing by it

    def close(self) -> None:
        self._rows.close()

    def lock(self) -> AbstractContextManager[object]:
        return nullcontext()

    # --- reading -------------------------------------------------------------------

    def folders(self) -> Iterator[str]:
        rows = self._rows.execute("SELECT DISTINCT folder FROM message WHERE NOT beside")
        others = {folder for (folder,) in rows.fetchall()} - {"INBOX"}
        yield from ["INBOX", *sorted(others)]

    def walk(self, folder: str) -> Iterator[Listing]:
        if folder not in self.folders():
            raise MailboxError(f"the mailbox has no folder {folder}")
        for copy in self._copies("folder = ? AND NOT beside ORDER BY number", folder):
            yield Listing(copy.ref, len(copy.raw), copy.flags, self.hint(copy), copy.date)

    def fetch(self, ref: MessageRef) -> StoredMessage:
        copy = self._copy(ref)
        content = BytesContent(copy.raw)
        return StoredMessage(ref, content, copy.flags, copy.date, self.revision(copy))

    def hint(self, copy: Copy) -> str:
        return f"{len(copy.raw)}:{copy.version}"

    def revision(self, copy: Copy) -> str:
        return BytesContent(copy.raw).digest

    # --- writing: where no mail program sees it ----------------------------------------

    def intend(self, changes: Sequence[Replace | Add]) -> list[Intent]:
        return [self._intent(change) for change in changes]

    def _intent(self, change: Replace | Add) -> Intent:
        where, content = self.where(), change.content
        if isinstance(change, Add):
            date = change.internal_date
            return Intent(NOTHING, "", change.folder, where, content.digest, content.size, date)
        old = answer(self._copy, change.ref)
        return Intent(
            *(change.ref, change.revision, change.ref.folder, where, content.digest, content.size),
            flags=old.flags if isinstance(old, Copy) else Flags(),
        )

    def where(self) -> str:
        return os.urandom(8).hex()

    def write(self, intended: Sequence[tuple[Intent, Content]]) -> list[Written | MessageError]:
        self._require_writable()
        try:
            return [answer(self._write, *entry) for entry in intended]
        except BaseException:
            self.abandon([intent for intent, _ in intended])
            raise

    def _write(self, intent: Intent, content: Content) -> Written:
        date = intent.internal_date or self._examined(intent).date
        self.keep(intent, content, intent.flags, date)
        return Written.as_intended(intent)

    def keep(self, intent: Intent, content: Content, flags: Flags, date: datetime) -> None:
        self.abandon([intent])
        with content.open() as stream, self._act("write"):
            self._insert(intent, stream.read(), flags, date, beside=True)

    def place(self, written: Sequence[Written]) -> list[Placed | MessageError]:
        self._require_writable()
        return [answer(self._place, copy) for copy in written]

    def _place(self, written: Written) -> Placed:
        intent = written.intent
        waiting = self._beside(intent)
        if not waiting:
            raise MessageVanished("the new copy was removed while it waited")
        if BytesContent(waiting[0].raw).digest != intent.digest:
            self.abandon([intent])
            raise MessageError("the new copy reads back otherwise than it was written")
        is_beside = self.retirement is Retirement.RENAME and intent.replaced != NOTHING
        with self._act("place"):
            self._put(waiting[0], beside=2 if is_beside else 0)
        if is_beside:
            return Placed(written, intent.replaced, intent.digest, "")
        return self._placed(written, waiting[0])

    def retire(
        self, placed: Sequence[Placed], note: Note = note_nothing
    ) -> list[Placed | MessageError]:
        self._require_writable()
        return [answer(self._retire, copy, note) for copy in placed]

    def _retire(self, placed: Placed, note: Note) -> Placed:
        old = self._examined(placed.written.intent)
        new = self._examine(placed.ref, placed.revision)
        merge = placed.written.merged(old=old.flags, new=new.flags)
        if merge.is_needed:
            note([merge])
        self._flag(new, merge.new)
        crashpoint("store.look.before")
        if self._copy(old.ref).flags != old.flags:
            return self._retire(replace(placed, written=placed.written.carried(merge)), note)
        with self._act("retire"):
            self._remove(old)
        return self._placed(placed.written, self._copy(new.ref))

    def find(self, intents: Sequence[Intent]) -> list[Whereabouts]:
        return [self._find(intent) for intent in intents]

    def _find(self, intent: Intent) -> Whereabouts:
        written = Written.as_intended(intent)
        old_present = isinstance(answer(self._examined, intent), Copy)
        copies = [self._placed(written, copy) for copy in self.candidates(intent)]
        if self.retirement is Retirement.RENAME and not copies and old_present:
            waiting = self._ready_beside(intent)
            copies = [Placed(written, intent.replaced, intent.digest, "") for _ in waiting]
        return Whereabouts(tuple(copies), old_present)

    def candidates(self, intent: Intent) -> list[Copy]:
        """What mail programs see of a new copy."""
        if intent.met is not None:
            met = answer(self._copy, intent.met)
            return [] if isinstance(met, MessageError) else [met]
        return self.unmet(intent)

    def unmet(self, intent: Intent) -> list[Copy]:
        """The same where nobody has met it yet."""
        found = self._copies("NOT beside AND token = ? AND token <> ''", intent.where)
        return [copy for copy in found if self._is_whole(copy, intent)]

    def abandon(self, intents: Sequence[Intent]) -> None:
        for intent in intents:
            for copy in self._beside(intent):
                with self._act("abandon"):
                    self._remove(copy)

    # --- one copy ------------------------------------------------------------------------

    @contextmanager
    def _act(self, name: str) -> Iterator[None]:
        """One transaction, which a kill finds done or not begun."""
        crashpoint(f"store.{name}.before")
        self._rows.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._rows.execute("ROLLBACK")
            raise
        self._rows.execute("COMMIT")
        crashpoint(f"store.{name}.after")

    def _copies(self, condition: str, *values: object) -> list[Copy]:
        select = "SELECT number, folder, key, raw, flags, date, version FROM message WHERE "
        return [
            Copy(number, folder, key, raw, parsed(flags), datetime.fromisoformat(date), version)
            for number, folder, key, raw, flags, date, version in self._rows.execute(
                select + condition, values
            ).fetchall()
        ]

    def _copy(self, ref: MessageRef) -> Copy:
        found = self._copies("folder = ? AND key = ? AND NOT beside", ref.folder, ref.key)
        if not found:
            raise MessageVanished(f"the message {ref} is no longer there")
        return found[0]

    def _beside(self, intent: Intent) -> list[Copy]:
        return self._copies("beside AND token = ?", intent.where)

    def _ready_beside(self, intent: Intent) -> list[Copy]:
        waiting = self._copies("beside = 2 AND token = ?", intent.where)
        return [copy for copy in waiting if self._is_whole(copy, intent)]

    def _examined(self, intent: Intent) -> Copy:
        return self._examine(intent.replaced, intent.revision)

    def _examine(self, ref: MessageRef, revision: str) -> Copy:
        copy = self._copy(ref)
        if self.revision(copy) != revision:
            raise MessageChanged(f"the message {ref} is not the one that was read before")
        return copy

    def _is_whole(self, copy: Copy, intent: Intent) -> bool:
        return BytesContent(copy.raw).digest == intent.digest

    def _placed(self, written: Written, copy: Copy) -> Placed:
        return Placed(written, copy.ref, self.revision(copy), self.hint(copy))

    def _insert(
        self, intent: Intent, raw: bytes, flags: Flags, date: datetime, *, beside: bool
    ) -> MessageRef:
        number = self._next("SELECT max(seq) FROM sqlite_sequence")
        key = self.key(number)
        self._rows.execute(
            "INSERT INTO message (folder, key, raw, flags, date, version, token, beside)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(intent.folder, key, raw, text(flags), date.isoformat(), number),
                *(intent.where, beside),
            ),
        )
        return MessageRef(intent.folder, key)

    def key(self, number: int) -> str:
        """What names a new copy in its folder."""
        return f"{number}.new"

    def _next(self, select: str) -> int:
        (last,) = self._rows.execute(select).fetchone()
        return (last or 0) + 1

    def _put(self, copy: Copy, *, beside: int = 0) -> None:
        values = (beside, copy.number)
        self._rows.execute("UPDATE message SET beside = ? WHERE number = ?", values)

    def _flag(self, copy: Copy, flags: Flags) -> None:
        if flags != copy.flags:
            with self._act("flag"):
                self._set_flags(copy, flags)

    def _set_flags(self, copy: Copy, flags: Flags) -> None:
        self._rows.execute(
            "UPDATE message SET flags = ? WHERE number = ?", (text(flags), copy.number)
        )

    def _remove(self, copy: Copy) -> None:
        self._rows.execute("DELETE FROM message WHERE number = ?", (copy.number,))

    def _require_writable(self) -> None:
        if not self.capabilities.writable:
            raise ReadOnlyMailbox(f"the mailbox {self.specification.location} cannot be written")


class MaildirLike(OneFileMailbox):
    """Bytes are kept, a new copy has the name that was intended, the old one is unlinked."""

    def _insert(
        self, intent: Intent, raw: bytes, flags: Flags, date: datetime, *, beside: bool
    ) -> MessageRef:
        ref = super()._insert(intent, raw, flags, date, beside=beside)
        self._rows.execute("UPDATE message SET key = token WHERE key = ?", (ref.key,))
        return MessageRef(ref.folder, intent.where)


class EmlLike(OneFileMailbox):
    """A new copy takes the name of the old one as it takes its place: there are never two."""

    retirement = Retirement.RENAME

    def _retire(self, placed: Placed, note: Note) -> Placed:
        del note
        old, new = self._ready(placed)
        with self._act("rename"):
            self._rename(old, new)
        return self._placed(placed.written, self._after(old, new))

    def _ready(self, placed: Placed) -> tuple[Copy, Copy]:
        """The old copy, and the new one with the flags it is to have; both read again."""
        intent = placed.written.intent
        waiting = self._ready_beside(intent)
        old = self._examined(intent)
        if not waiting:
            raise MessageVanished("the new copy was removed while it waited")
        # Beside the old one nobody could give the new one flags.
        base = placed.written.flags
        return old, replace(waiting[0], flags=placed.written.merged(old=old.flags, new=base).new)

    def _rename(self, old: Copy, new: Copy) -> None:
        self._remove(old)
        self._rows.execute("UPDATE message SET key = ? WHERE number = ?", (old.key, new.number))
        self._set_flags(new, new.flags)
        self._put(new)

    def _after(self, old: Copy, new: Copy) -> Copy:
        del new
        return self._copy(old.ref)


class MboxLike(EmlLike):
    """A folder is one file: what is finished waits beside, and takes effect in one act.

    Positions name the messages, so that a new copy has another name than the old one.
    """

    unit = Unit.FOLDER

    def retire(
        self, placed: Sequence[Placed], note: Note = note_nothing
    ) -> list[Placed | MessageError]:
        del note
        self._require_writable()
        answers: dict[int, Placed | MessageError] = {}
        numbered = sorted(enumerate(placed), key=lambda one: one[1].ref.folder)
        for _, of_folder in groupby(numbered, key=lambda one: one[1].ref.folder):
            answers.update(self._rewrite(list(of_folder)))
        return [answers[number] for number in range(len(placed))]

    def _rewrite(self, folder: list[tuple[int, Placed]]) -> dict[int, Placed | MessageError]:
        ready = {number: answer(self._ready, copy) for number, copy in folder}
        with self._act("rewrite"):
            for one in ready.values():
                if not isinstance(one, MessageError):
                    self._rename(*one)
        return {
            number: one
            if isinstance(one, MessageError)
            else self._placed(copy.written, self._after(*one))
            for (number, copy), one in zip(folder, ready.values(), strict=True)
        }

    def _rename(self, old: Copy, new: Copy) -> None:
        self._remove(old)
        self._set_flags(new, new.flags)
        self._put(new)

    def _after(self, old: Copy, new: Copy) -> Copy:
        del old
        return self._copy(new.ref)


class ImapLike(OneFileMailbox):
    """A new copy is one append, and only its answer tells where it lies.

    What names a message is a number that is never given twice and says nothing of its bytes.
    Whatever is appended is given other line ends, so that its digest is not that of what was
    written.
    """

    keeps = Keeps.REWRITTEN

    def __init__(self, specification: MailboxSpecification) -> None:
        super().__init__(specification)
        self._local: dict[Intent, tuple[Content, datetime]] = {}

    def hint(self, copy: Copy) -> str:
        return f"{VALIDITY}:{copy.key}"

    revision = hint

    def where(self) -> str:
        first = self._next("SELECT max(seq) FROM sqlite_sequence")
        return f"{VALIDITY}:{first}:{super().where()}"

    def key(self, number: int) -> str:
        return str(number)

    def keep(self, intent: Intent, content: Content, flags: Flags, date: datetime) -> None:
        del flags
        self._local[intent] = (content, date)

    def _place(self, written: Written) -> Placed:
        intent = written.intent
        if intent not in self._local:
            raise MessageVanished("the new copy was never written")
        content, date = self._local.pop(intent)
        with content.open() as stream:
            raw = self.rewritten(stream.read())
        with self._act("append"):
            ref = self._insert(intent, raw, written.flags, date, beside=False)
        return self._placed(written, self._copy(ref))

    def rewritten(self, raw: bytes) -> bytes:
        """What the server makes of a message."""
        return raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")

    def unmet(self, intent: Intent) -> list[Copy]:
        if not intent.where:
            return []
        first = int(intent.where.split(":")[1])
        return self._copies("folder = ? AND number >= ? AND NOT beside", intent.folder, first)

    def abandon(self, intents: Sequence[Intent]) -> None:
        for intent in intents:
            self._local.pop(intent, None)


KINDS: dict[str, type[OneFileMailbox]] = {
    "maildirlike": MaildirLike,
    "mboxlike": MboxLike,
    "emllike": EmlLike,
    "imaplike": ImapLike,
}


def opener(store: type[OneFileMailbox]) -> Callable[[Access], Mailbox]:
    return lambda access: store(access.specification)


STORES.update({kind: opener(store) for kind, store in KINDS.items()})


def parsed(flags: str) -> Flags:
    return Flags(frozenset(flags.split()))


def text(flags: Flags) -> str:
    return " ".join(sorted(flags.system))


def answer(act: Callable[..., Answer], *arguments: object) -> Answer | MessageError:
    """What ``act`` returns, or the error that costs just this message."""
    try:
        return act(*arguments)
    except MessageError as error:
        return error
