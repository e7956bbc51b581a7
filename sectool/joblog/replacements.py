"""The messages that have, or may have, two copies in the mailbox; and their originals."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator

from sectool.errors import JobLogDamaged
from sectool.joblog.messages import MessageTable
from sectool.joblog.records import (
    Examination,
    Finished,
    OriginalRecord,
    Purpose,
    ReplacementRecord,
)
from sectool.message import MessageRef
from sectool.outcome import State


class ReplacementTable:
    """The replacement rows of a job log; all writing happens inside ``JobLog.group``.

    A row is announced before anything is written to the mailbox, says
    ``placed`` and where once the new copy is proven to lie there durably, and
    goes when the old copy is gone.

    The row of an intent that was given up is kept among the abandoned ones until
    a complete walk shows no copy of it: a server may have taken a new copy whose
    placing failed, and show it late.
    """

    def __init__(self, connection: sqlite3.Connection, messages: MessageTable) -> None:
        self._connection = connection
        self._messages = messages

    def announce(self, record: ReplacementRecord) -> None:
        """The intent: which copy is replaced, where the new one will come, with which bytes."""
        self._connection.execute(
            "INSERT INTO replacement (message, purpose, step, old_folder, old_key, old_revision,"
            " intended_folder, intended_where, new_digest, new_size, new_identity, new_opens_to)"
            " VALUES (?, ?, 'announced', ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                record.message,
                record.purpose,
                record.old.folder,
                record.old.key,
                record.old_revision,
                record.folder,
                record.where,
                record.new_digest,
                record.new_size,
                record.new_identity,
                json.dumps(dict(record.new_opens_to)),
            ),
        )
        self._messages.note_step(record.message, "announced")

    def place(self, message: int, new: MessageRef | None) -> None:
        """The new copy lies durably at ``new``, or beside (None), and was read back."""
        place = (None, None) if new is None else (new.folder, new.key)
        cursor = self._connection.execute(
            "UPDATE replacement SET step = 'placed', new_folder = ?, new_key = ? WHERE message = ?",
            (*place, message),
        )
        if cursor.rowcount != 1:
            raise JobLogDamaged(f"message {message} was placed without having been announced")
        self._messages.note_step(message, "placed")

    def withdraw(self, message: int) -> None:
        """The new copy is not there, as far as the store can tell; the message stands as before."""
        self.expect_late(message)
        self._remove(message)
        self._messages.note_step(message, "withdrawn")

    def expect_late(self, message: int) -> None:
        """The new copy is not there, and may still turn up."""
        self._connection.execute(
            f"INSERT INTO abandoned (is_superseded, {_COLUMNS})"
            f" SELECT 0, {_COLUMNS} FROM replacement WHERE message = ?",
            (message,),
        )

    def finish(self, finished: Finished, *, state: State, reason: str = "") -> None:
        """Only the new copy counts from now on.

        Args:
            finished: where it lies.
            state: ``reencrypted``, ``rewrapped``, ``decrypted`` or ``rolled-back``, or ``changed``
                where the old copy was not removed by us.
            reason: what happened to the old copy then.
        """
        (opens_to,) = self._connection.execute(
            "SELECT max(new_opens_to) FROM replacement WHERE message = ?", (finished.message,)
        ).fetchone()
        self._remove(finished.message)
        self._connection.execute(
            "UPDATE abandoned SET is_superseded = 1 WHERE message = ?", (finished.message,)
        )
        self._messages.parts.set_opens_to(finished.message, json.loads(opens_to or "{}"))
        self._connection.execute("DELETE FROM restarted WHERE message = ?", (finished.message,))
        place = (finished.ref, finished.hint, finished.size)
        # A row there can only be this very copy, which a walk met before it was known.
        self._messages.relocate(finished.message, *place, displaced="gone")
        self._messages.see(finished.message)
        self._messages.set_identity(finished.message, finished.identity)
        self._messages.advance(finished.message, state, reason=reason, proof=finished.proof)

    def _remove(self, message: int) -> None:
        cursor = self._connection.execute("DELETE FROM replacement WHERE message = ?", (message,))
        if cursor.rowcount != 1:
            raise JobLogDamaged(f"message {message} is not being replaced")

    def open(self) -> list[ReplacementRecord]:
        """All that an interrupted run left announced or placed."""
        return [
            _record(row)
            for row in self._connection.execute(
                f"SELECT {_COLUMNS}, coalesce(digest, '')"
                " FROM replacement LEFT JOIN original USING (message) ORDER BY message"
            )
        ]

    def is_open(self, message: int) -> bool:
        """Whether a message has, or may have, two copies."""
        row = self._connection.execute(
            "SELECT 1 FROM replacement WHERE message = ?", (message,)
        ).fetchone()
        return row is not None

    def meet(self, message: int) -> None:
        """The walk met the new copy at its place; the old one may have been moved.

        Only after all copies have had their claim.
        """
        self._connection.execute(
            "UPDATE replacement SET (old_folder, old_key) ="
            " (SELECT folder, key FROM message WHERE message.message = replacement.message)"
            " WHERE message = ?",
            (message,),
        )
        self._messages.see(message)

    def is_new_copy(self, identity: str, met: Iterable[int]) -> bool:
        """Whether an open replacement, and no message yet, is known by this identity.

        Args:
            identity: of a copy.
            met: messages whose new copy lies elsewhere.
        """
        row = self._connection.execute(
            "SELECT 1 FROM replacement WHERE new_identity = ?1"
            " AND NOT EXISTS (SELECT 1 FROM message WHERE identity = ?1)"
            " AND message NOT IN (SELECT value FROM json_each(?2))",
            (identity, json.dumps(list(met))),
        ).fetchone()
        return row is not None

    def follow(self, examination: Examination, met: Iterable[int] = ()) -> bool:
        """Whether what was examined is a new copy that an earlier run placed.

        Happens when it was moved before the run was resumed, lies where only the
        walk could meet it, or came late. The row is given the places where both
        copies lie now, for the run to end it there.

        Args:
            examination: of the copy.
            met: messages whose new copy the walk has met already.
        """
        row = self._connection.execute(
            "SELECT message FROM replacement WHERE new_identity IN (?, nullif(?, ''))"
            " AND message NOT IN (SELECT value FROM json_each(?))",
            (examination.identity, examination.in_clear, json.dumps(list(met))),
        ).fetchone()
        if row is None:
            return self._follow_late(examination.ref, examination.identity, examination.in_clear)
        self._connection.execute(
            "UPDATE replacement SET new_folder = ?, new_key = ? WHERE message = ?",
            (examination.ref.folder, examination.ref.key, row[0]),
        )
        self.meet(int(row[0]))
        return True

    # --- what was abandoned ---------------------------------------------------------

    def abandoned(self) -> dict[int, ReplacementRecord]:
        """What may still turn up, by the number of its row; from now on none was met yet."""
        self._connection.execute("UPDATE abandoned SET new_folder = NULL, new_key = NULL")
        rows = self._connection.execute(f"SELECT abandoned, {_COLUMNS} FROM abandoned")
        return {int(number): _record(tuple(row)) for number, *row in rows}

    def meet_late(self, number: int, new: MessageRef) -> int | None:
        """A copy that was abandoned lies at ``new``; its message has two, as if never given up.

        Returns:
            The message; None where another copy has taken its place since, or may have.
        """
        execute = self._connection.execute
        place = (new.folder, new.key, number)
        execute("UPDATE abandoned SET new_folder = ?, new_key = ? WHERE abandoned = ?", place)
        row = execute(
            f"INSERT INTO replacement (step, {_COLUMNS}) SELECT 'placed', {_COLUMNS}"
            " FROM abandoned WHERE abandoned = ? AND NOT is_superseded"
            " AND message NOT IN (SELECT message FROM replacement) RETURNING message",
            (number,),
        ).fetchone()
        if row is None:
            return None
        execute("DELETE FROM abandoned WHERE abandoned = ?", (number,))
        return int(row[0])

    def _follow_late(self, ref: MessageRef, identity: str, in_clear: str) -> bool:
        # Of what was superseded the owner may have made a copy, elsewhere.
        row = self._connection.execute(
            "SELECT abandoned FROM abandoned WHERE new_identity IN (?, nullif(?, ''))"
            " AND new_key IS NULL AND (NOT is_superseded OR intended_folder = ?)",
            (identity, in_clear, ref.folder),
        ).fetchone()
        if row is not None and (message := self.meet_late(int(row[0]), ref)) is not None:
            self.meet(message)
        return row is not None

    def is_late_at(self, ref: MessageRef) -> bool:
        """Whether what lies at a place is a copy too many of a message of the job."""
        row = self._connection.execute(
            "SELECT 1 FROM abandoned WHERE new_folder = ? AND new_key = ?", (ref.folder, ref.key)
        ).fetchone()
        return row is not None

    def late(self) -> list[tuple[ReplacementRecord, MessageRef, str]]:
        """The copies too many that the walk met, of messages that it found elsewhere as well.

        Returns:
            Each with the place and the identity of the other copy, the one that counts.
        """
        rows = self._connection.execute(
            f"SELECT message.folder, message.key, message.identity, {_COLUMNS}"
            " FROM abandoned JOIN message USING (message)"
            " WHERE is_superseded AND new_folder = intended_folder AND presence = 'present'"
            " AND message IN (SELECT message FROM temp.seen)"
            " AND message NOT IN (SELECT message FROM replacement)"
        )
        return [
            (_record(tuple(row)), MessageRef(folder, key), identity)
            for folder, key, identity, *row in rows
        ]

    def forget_abandoned(self) -> None:
        """After a complete walk: what it did not meet does not come any more."""
        self._connection.execute("DELETE FROM abandoned WHERE new_key IS NULL")

    # --- originals ------------------------------------------------------------------

    def keep_original(self, original: OriginalRecord) -> None:
        """An original lies durably in the job directory.

        It takes the place of another one of its message: that copy is no more in the mailbox.
        """
        self._connection.execute(
            "DELETE FROM tombstone WHERE kind = 'original' AND digest = ?", (original.digest,)
        )
        self._connection.execute(
            "INSERT INTO original VALUES (?, ?, ?, ?, ?) ON CONFLICT (message) DO UPDATE SET"
            " digest = excluded.digest, size = excluded.size, folder = excluded.folder,"
            " internal_date = excluded.internal_date",
            (
                original.message,
                original.digest,
                original.size,
                original.folder,
                original.internal_date,
            ),
        )

    def originals(self) -> Iterator[OriginalRecord]:
        """All originals, in the order of their messages."""
        for row in self._connection.execute("SELECT * FROM original ORDER BY message"):
            yield OriginalRecord(*row)


_COLUMNS = (
    "message, purpose, old_folder, old_key, old_revision, intended_folder,"
    " intended_where, new_folder, new_key, new_digest, new_size, new_identity, new_opens_to"
)


def _record(row: tuple[object, ...]) -> ReplacementRecord:
    message, purpose, old_folder, old_key, old_revision, *new = row
    folder, where, new_folder, new_key, new_digest, new_size, *rest = new
    new_identity, new_opens_to, *original = rest
    return ReplacementRecord(
        message=int(str(message)),
        purpose=Purpose(str(purpose)),
        old=MessageRef(str(old_folder), str(old_key)),
        old_revision=str(old_revision),
        folder=str(folder),
        where=str(where),
        new=None if new_key is None else MessageRef(str(new_folder), str(new_key)),
        new_digest=str(new_digest),
        new_size=int(str(new_size)),
        new_identity=str(new_identity),
        new_opens_to=tuple(json.loads(str(new_opens_to)).items()),
        original=str(original[0]) if original else "",
    )
