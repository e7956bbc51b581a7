"""The messages that have, or may have, two copies in the mailbox; and their originals."""

from __future__ import annotations

import sqlite3

from sectool.errors import JobLogDamaged
from sectool.joblog.messages import MessageTable
from sectool.joblog.records import Examination, Purpose, ReplacementRecord
from sectool.message import Intent, Listing, MessageRef
from sectool.outcome import MessageDigest, Proof, State


class ReplacementTable:
    """The replacement rows of a job log; all writing happens inside ``JobLog.group``.

    A row is there before anything is written to the mailbox, says
    ``placed`` and where once the new copy is proven to lie there durably, and
    goes when the old copy is gone.
    """

    def __init__(self, connection: sqlite3.Connection, messages: MessageTable) -> None:
        self._connection = connection
        self._messages = messages

    def intend(self, record: ReplacementRecord) -> None:
        """The intent: which copy is replaced, where the new one will come, with which bytes."""
        intent = record.intent
        self._connection.execute(
            "INSERT INTO replacement (message, purpose, step, old_folder, old_key, old_revision,"
            " intended_folder, intended_where, new_digest, new_size, new_identity)"
            " VALUES (?, ?, 'intended', ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                record.message,
                record.purpose,
                intent.replaced.folder,
                intent.replaced.key,
                intent.revision,
                intent.folder,
                intent.where,
                intent.digest,
                intent.size,
                record.identity,
            ),
        )
        self._connection.executemany(
            "INSERT INTO replacement_part VALUES (?, ?, ?)",
            [(record.message, *part) for part in record.opens_to],
        )
        self._messages.note_step(record.message, "intended")

    def place(self, message: int, new: MessageRef) -> None:
        """The new copy lies durably at ``new`` and was read back."""
        cursor = self._connection.execute(
            "UPDATE replacement SET step = 'placed', new_folder = ?, new_key = ? WHERE message = ?",
            (new.folder, new.key, message),
        )
        if cursor.rowcount != 1:
            raise JobLogDamaged(f"message {message} was placed without having been intended")
        self._messages.note_step(message, "placed")

    def withdraw(self, message: int) -> None:
        """The new copy was never placed; the message stands as before."""
        self._remove(message)
        self._messages.note_step(message, "withdrawn")

    def finish(self, message: int, listing: Listing, *, state: State, proof: Proof | None) -> None:
        """Only the new copy counts from now on.

        Args:
            message: number of the row.
            listing: where it lies.
            state: ``reencrypted``, ``decrypted`` or ``rolled-back``.
            proof: of the new copy; None where it is the original or the plaintext.
        """
        self._connection.execute(
            "UPDATE part SET opens_to = coalesce((SELECT opens_to FROM replacement_part AS new"
            "   WHERE new.message = part.message AND new.path = part.path), '') WHERE message = ?",
            (message,),
        )
        row = self._connection.execute(
            "SELECT purpose, new_identity FROM replacement WHERE message = ?", (message,)
        ).fetchone()
        self._remove(message)
        purpose, identity = row
        self._connection.execute("DELETE FROM restarted WHERE message = ?", (message,))
        # A row there can only be this very copy, which a walk met before it was known.
        self._messages.relocate(message, listing, displaced="gone")
        self._messages.see(message)
        self._messages.set_copy(message, Purpose(purpose).stored_copy, identity)
        self._messages.advance(message, state, proof=proof)

    def _remove(self, message: int) -> None:
        cursor = self._connection.execute("DELETE FROM replacement WHERE message = ?", (message,))
        if cursor.rowcount != 1:
            raise JobLogDamaged(f"message {message} is not being replaced")

    def open(self) -> list[ReplacementRecord]:
        """All that an interrupted run left intended or placed."""
        rows = self._connection.execute(
            "SELECT message, purpose, new_identity, old_folder, old_key, old_revision,"
            " intended_folder, intended_where, new_digest, new_size, new_folder, new_key"
            " FROM replacement ORDER BY message"
        ).fetchall()
        return [
            ReplacementRecord(
                message,
                Purpose(purpose),
                Intent(
                    replaced=MessageRef(old_folder, old_key),
                    revision=revision,
                    folder=folder,
                    where=where,
                    digest=digest,
                    size=size,
                    met=None if new_key is None else MessageRef(new_folder, new_key),
                ),
                identity,
                self._opens_to(message),
            )
            for message, purpose, identity, old_folder, old_key, revision, *others in rows
            for folder, where, digest, size, new_folder, new_key in [others]
        ]

    def _opens_to(self, message: int) -> tuple[tuple[str, str], ...]:
        rows = self._connection.execute(
            "SELECT path, opens_to FROM replacement_part WHERE message = ?", (message,)
        )
        return tuple((path, sha256) for path, sha256 in rows)

    def is_open(self, message: int) -> bool:
        """Whether a message has, or may have, two copies."""
        row = self._connection.execute(
            "SELECT 1 FROM replacement WHERE message = ?", (message,)
        ).fetchone()
        return row is not None

    def at(self, ref: MessageRef) -> int | None:
        """The message whose new copy is known to lie at this place."""
        row = self._connection.execute(
            "SELECT message FROM replacement WHERE new_folder = ? AND new_key = ?",
            (ref.folder, ref.key),
        ).fetchone()
        return None if row is None else int(row[0])

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

    def follow(self, examination: Examination) -> bool:
        """Whether a copy is one that an interrupted run placed.

        Happens when it was moved before the run was resumed, or lies where only
        the walk could meet it. The row is given the places where both copies lie
        now, for the run to end it there.
        """
        row = self._connection.execute(
            "SELECT message FROM replacement WHERE new_identity IN (?, nullif(?, ''))",
            (examination.identity, examination.in_clear),
        ).fetchone()
        if row is None:
            return False
        self._connection.execute(
            "UPDATE replacement SET new_folder = ?, new_key = ?, (old_folder, old_key) ="
            " (SELECT folder, key FROM message WHERE message.message = replacement.message)"
            " WHERE message = ?",
            (examination.ref.folder, examination.ref.key, row[0]),
        )
        self._messages.see(int(row[0]))
        return True

    # --- originals ------------------------------------------------------------------

    def keep_original(self, message: int, digest: MessageDigest) -> None:
        """An original lies durably in the job directory.

        It takes the place of another one of its message: that copy is no more in the mailbox.
        """
        self._connection.execute(
            "DELETE FROM tombstone WHERE kind = 'original' AND digest = ?", (digest,)
        )
        self._connection.execute("INSERT OR REPLACE INTO original VALUES (?, ?)", (message, digest))
