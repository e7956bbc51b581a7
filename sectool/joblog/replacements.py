"""The messages that have, or may have, two copies in the mailbox; and their originals."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sectool.errors import JobLogDamaged
from sectool.joblog.messages import MessageTable
from sectool.joblog.records import Examination, NewCopy, Purpose, ReplacementRecord
from sectool.message import Flags, Intent, Listing, MessageRef
from sectool.outcome import MessageDigest, Proof, State


class ReplacementTable:
    """The replacement rows of a job log; all writing happens inside ``JobLog.group``.

    A row is there before anything is written to the mailbox, says
    ``placed`` and where once the new copy is proven to lie there durably, and
    goes when the old copy is gone.

    The row of an intent that was given up is kept among the abandoned ones until
    a complete walk shows no copy of it: a server may have taken a new copy whose
    placing failed, and show it late.
    """

    def __init__(self, connection: sqlite3.Connection, messages: MessageTable) -> None:
        self._connection = connection
        self._messages = messages
        self._met: dict[int, bool] = {}
        """Messages whose new copy the last walk met, and whether it saw the old one as well."""

    def intend(self, records: Sequence[ReplacementRecord]) -> None:
        """The intents: which copies are replaced, where the new ones will come, with which bytes.

        Args:
            records: one for each message.
        """
        self._connection.executemany(
            "INSERT INTO replacement (message, purpose, step, old_folder, old_key, old_revision,"
            " intended_folder, intended_where, new_digest, new_size, new_identity, flags, store)"
            " VALUES (?, ?, 'intended', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    record.message,
                    record.purpose,
                    record.intent.replaced.folder,
                    record.intent.replaced.key,
                    record.intent.revision,
                    record.intent.folder,
                    record.intent.where,
                    record.intent.digest,
                    record.intent.size,
                    record.identity,
                    str(record.intent.flags),
                    record.store,
                )
                for record in records
            ],
        )
        self._connection.executemany(
            "INSERT INTO replacement_part VALUES (?, ?, ?)",
            [(record.message, *part) for record in records for part in record.opens_to],
        )
        self._messages.note_steps([record.message for record in records], "intended")

    def place(self, places: Mapping[int, MessageRef | None]) -> None:
        """The new copies lie durably in their places, or beside (None), and were read back.

        Args:
            places: by the numbers of the rows.
        """
        cursor = self._connection.executemany(
            "UPDATE replacement SET step = 'placed', new_folder = ?, new_key = ? WHERE message = ?",
            [
                (None, None, message) if new is None else (new.folder, new.key, message)
                for message, new in places.items()
            ],
        )
        if places and cursor.rowcount != len(places):
            raise JobLogDamaged("a message was placed without having been intended")
        self._messages.note_steps(places, "placed")

    def note_flags(self, message: int, *, base: Flags, told: Flags) -> None:
        """The new copy is about to be given what the old one has set or cleared.

        Args:
            message: number of the row.
            base: flags of the old copy, as far as the new one has them.
            told: flags of the old copy now.
        """
        self._connection.execute(
            "UPDATE replacement SET flags = ?, told = ? WHERE message = ?",
            (str(base), str(told), message),
        )

    def know_as(self, message: int, identity: str) -> None:
        """The new copy is known by another identity: its owner changed its header."""
        self._connection.execute(
            "UPDATE replacement SET new_identity = ? WHERE message = ?", (identity, message)
        )

    def withdraw(self, message: int) -> None:
        """The new copy is not there, as far as the store can tell; the message stands as before."""
        self.expect_late(message)
        self._remove(message)
        self._messages.note_steps([message], "withdrawn")

    def expect_late(self, message: int) -> None:
        """The new copy is not there, and may still turn up."""
        cursor = self._connection.execute(
            f"INSERT INTO abandoned (is_superseded, {_COLUMNS})"
            f" SELECT 0, {_COLUMNS} FROM replacement WHERE message = ?",
            (message,),
        )
        self._connection.execute(
            "INSERT INTO abandoned_part SELECT ?, path, opens_to FROM replacement_part"
            " WHERE message = ?",
            (cursor.lastrowid, message),
        )

    def finish(self, listings: Mapping[int, Listing], state: State, proof: Proof | None) -> None:
        """Only the new copies count from now on.

        Args:
            listings: where they lie, by the numbers of the rows.
            state: ``reencrypted``, ``rewrapped``, ``decrypted`` or ``rolled-back``.
            proof: of the new copies; None where they are the originals or the plaintexts.
        """
        numbers = json.dumps(list(listings))
        rows = self._connection.execute(
            f"SELECT message, purpose, new_identity FROM replacement WHERE {_AMONG}", (numbers,)
        ).fetchall()
        if len(rows) != len(listings):
            raise JobLogDamaged("a message that is finished is not being replaced")
        self._connection.execute(
            "UPDATE part SET opens_to = coalesce((SELECT opens_to FROM replacement_part AS new"
            "   WHERE new.message = part.message AND new.path = part.path), '')"
            f" WHERE {_AMONG}",
            (numbers,),
        )
        for change in (
            "DELETE FROM replacement",
            "DELETE FROM restarted",
            "UPDATE abandoned SET is_superseded = 1",
        ):
            self._connection.execute(f"{change} WHERE {_AMONG}", (numbers,))
        copies = [
            NewCopy(message, listings[message], Purpose(purpose).stored_copy, identity)
            for message, purpose, identity in rows
        ]
        self._messages.replace_copies(copies, state, proof)

    def _remove(self, message: int) -> None:
        cursor = self._connection.execute("DELETE FROM replacement WHERE message = ?", (message,))
        if cursor.rowcount != 1:
            raise JobLogDamaged(f"message {message} is not being replaced")

    def open(self) -> list[ReplacementRecord]:
        """All that an interrupted run left intended or placed."""
        rows = self._connection.execute(
            f"SELECT {_OPENS_TO}, {_COLUMNS}, coalesce(digest, ''), identity"
            " FROM replacement JOIN (SELECT message, identity FROM message) USING (message)"
            " LEFT JOIN original USING (message) ORDER BY message"
        )
        return [_record(row) for row in rows]

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
        self._met[message] = self._messages.is_seen(message)
        self._messages.see(message)

    def note_in_flight(self, messages: Iterable[int]) -> None:
        """The new copies of these were there as the walk began."""
        self._met.update(dict.fromkeys(messages, False))

    def was_met(self, message: int, *, both: bool) -> bool:
        """Whether the last walk met the new copy of a message, or saw both copies."""
        return self._met.get(message, False) if both else message in self._met

    def has_new_copies(self) -> bool:
        """Whether there is any open or abandoned replacement, whose new copy may be met."""
        row = self._connection.execute(
            "SELECT 1 WHERE EXISTS (SELECT 1 FROM replacement) OR EXISTS (SELECT 1 FROM abandoned)"
        ).fetchone()
        return row is not None

    def is_new_copy(self, examination: Examination, met: Iterable[int]) -> bool:
        """Whether what was examined is known as the new copy of an open or abandoned replacement.

        And as no message yet.

        Args:
            examination: of a copy.
            met: messages whose new copy lies elsewhere.
        """
        row = self._connection.execute(
            "SELECT 1 FROM (SELECT message, new_identity FROM replacement UNION ALL"
            "   SELECT message, new_identity FROM abandoned WHERE NOT is_superseded)"
            " WHERE new_identity IN (?1, nullif(?2, '')) AND NOT EXISTS"
            "   (SELECT 1 FROM message WHERE identity IN (?1, nullif(?2, '')))"
            " AND message NOT IN (SELECT value FROM json_each(?3))",
            (examination.identity, examination.in_clear, json.dumps(list(met))),
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
        if row is None and examination.marked and examination.in_clear:
            # The plaintext of that row, whose owner changed its header since.
            mail = examination.in_clear.rpartition(":")[0]
            row = self._connection.execute(
                "SELECT message FROM replacement WHERE message = ? AND new_identity >= ?"
                " AND new_identity < ? AND message NOT IN (SELECT value FROM json_each(?))",
                (examination.marked, f"{mail}:", f"{mail};", json.dumps(list(met))),
            ).fetchone()
        if row is None:
            return self._follow_late(examination)
        self._connection.execute(
            "UPDATE replacement SET new_folder = ?, new_key = ? WHERE message = ?",
            (examination.ref.folder, examination.ref.key, row[0]),
        )
        self.meet(int(row[0]))
        return True

    # --- what was abandoned ---------------------------------------------------------

    def abandoned(self) -> dict[int, ReplacementRecord]:
        """What may still turn up, by the number of its row; from now on none was met yet."""
        self._met.clear()
        self._connection.execute("UPDATE abandoned SET new_folder = NULL, new_key = NULL")
        return self._abandoned()

    def _abandoned(self) -> dict[int, ReplacementRecord]:
        rows = self._connection.execute(
            f"SELECT abandoned, {_OPENS_TO_LATE}, {_COLUMNS} FROM abandoned"
        )
        return {int(number): _record(tuple(row)) for number, *row in rows}

    def intents(self, store: str) -> list[Intent]:
        """Of all that is open or was given up in one kind of store."""
        records = [*self.open(), *self._abandoned().values()]
        return [record.intent for record in records if record.store == store]

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
        execute(
            "INSERT INTO replacement_part SELECT ?, path, opens_to FROM abandoned_part"
            " WHERE abandoned = ?",
            (row[0], number),
        )
        execute("DELETE FROM abandoned WHERE abandoned = ?", (number,))
        return int(row[0])

    def _follow_late(self, examination: Examination) -> bool:
        # Of what was superseded the owner may have made a copy, elsewhere.
        row = self._connection.execute(
            "SELECT abandoned FROM abandoned WHERE new_identity IN (?, nullif(?, ''))"
            " AND new_key IS NULL AND (NOT is_superseded OR intended_folder = ?)",
            (examination.identity, examination.in_clear, examination.ref.folder),
        ).fetchone()
        if row is None:
            return False
        message = self.meet_late(int(row[0]), examination.ref)
        if message is not None:
            self.meet(message)
        return True

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
            f"SELECT message.folder, message.key, message.identity, {_OPENS_TO_LATE}, {_COLUMNS}"
            " FROM abandoned JOIN message USING (message)"
            " WHERE is_superseded AND new_folder = intended_folder AND presence = 'present'"
            " AND message IN (SELECT message FROM temp.seen)"
            " AND message NOT IN (SELECT message FROM replacement)"
        )
        return [
            (_record(tuple(row)), MessageRef(folder, key), identity)
            for folder, key, identity, *row in rows
        ]

    def count_late(self) -> int:
        """How many copies too many the last walk met that are there still."""
        (count,) = self._connection.execute(
            "SELECT count(*) FROM abandoned WHERE is_superseded AND new_key IS NOT NULL"
        ).fetchone()
        return int(count)

    def forget_abandoned(self) -> None:
        """After a complete walk: what it did not meet does not come any more."""
        self._connection.execute("DELETE FROM abandoned WHERE new_key IS NULL")

    # --- originals ------------------------------------------------------------------

    def keep_originals(self, originals: Mapping[int, MessageDigest]) -> None:
        """Originals lie durably in the job directory.

        Each takes the place of another one of its message: that copy is no more in the mailbox.

        Args:
            originals: by the numbers of the messages.
        """
        self._connection.execute(
            "DELETE FROM tombstone WHERE kind = 'original'"
            " AND digest IN (SELECT value FROM json_each(?))",
            (json.dumps(list(originals.values())),),
        )
        self._connection.executemany(
            "INSERT OR REPLACE INTO original VALUES (?, ?)", originals.items()
        )


_AMONG = "message IN (SELECT value FROM json_each(?))"
"""Condition on a row: its number is in a JSON array."""

_COLUMNS = (
    "message, purpose, new_identity, old_folder, old_key, old_revision,"
    " intended_folder, intended_where, new_digest, new_size, new_folder, new_key,"
    " flags, told, store"
)
"""What an open replacement and an abandoned one say alike."""

_OPENS_TO = (
    "(SELECT json_group_object(path, opens_to) FROM replacement_part AS new"
    " WHERE new.message = replacement.message)"
)

_OPENS_TO_LATE = (
    "(SELECT json_group_object(path, opens_to) FROM abandoned_part AS new"
    " WHERE new.abandoned = abandoned.abandoned)"
)


def _record(row: tuple[Any, ...]) -> ReplacementRecord:
    opens_to, message, purpose, identity, old_folder, old_key, revision, *others = row
    folder, where, digest, size, new_folder, new_key, flags, told, store, *original = others
    return ReplacementRecord(
        message,
        Purpose(purpose),
        Intent(
            replaced=MessageRef(old_folder, old_key),
            revision=revision,
            folder=folder,
            where=where,
            digest=digest,
            size=size,
            flags=Flags.of_text(flags),
            told=None if told is None else Flags.of_text(told),
            met=None if new_key is None else MessageRef(new_folder, new_key),
        ),
        identity,
        tuple(json.loads(opens_to).items()),
        store,
        *original,
    )
