"""Which row of a job a mail in clear is the plaintext copy of, and which are none.

Anybody may write mail with the body of one that was decrypted, or with its
mark. So a copy that the job knows byte for byte comes first. What else reads
like one, with the same From, Date and Message-ID, waits until all others have
their rows. Where it is marked as the copy of a row that has none, and says in its
header all that the original says, it is that copy, to which a server added.
Otherwise it is a further copy with a row of its own: what it was is kept as an
original before it is replaced.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from sectool.joblog.parts import CHECKPOINTS_STAND
from sectool.joblog.records import (
    LISTING_COLUMNS,
    MESSAGE_COLUMNS,
    Examination,
    MessageRecord,
    StoredCopy,
    listing_of,
)
from sectool.joblog.table import Table
from sectool.message import Listing
from sectool.outcome import Identity, MessageDigest, State

if TYPE_CHECKING:
    from sectool.joblog.messages import MessageTable

_READS_LIKE = "identity >= ? AND identity < ?"
"""The copy of a row has the same content and is the same mail."""

_WAS_LIKE = "plaintext_identity >= ? AND plaintext_identity < ?"
"""The same of the plaintext copy that a row has, or had before it was encrypted."""

_IS_FURTHER = "stored_copy = 'found'"
"""The row is of a further copy, of which an original is kept before it is replaced."""


class CopyTable(Table):
    """The plaintext copies of a job; all writing happens inside ``JobLog.group``."""

    def __init__(self, connection: sqlite3.Connection, messages: MessageTable) -> None:
        super().__init__(connection)
        self._messages = messages
        self._came: set[int] = set()
        """Rows that this walk has made."""
        self._there: set[int] = set()
        """Rows at whose places the last listing showed a message."""

    def read_like(self, examination: Examination) -> bool:
        """Whether a mail may be a plaintext copy of the job, by all but its other fields."""
        if not examination.in_clear:
            return False
        return self._has(f"SELECT 1 FROM message WHERE {_WAS_LIKE} LIMIT 1", *_mail(examination))

    def resemble(self, examination: Examination) -> bool:
        """Whether a mail has the text of a plaintext copy of the job, whoever it is from."""
        if not examination.in_clear:
            return False
        return self._has(f"SELECT 1 FROM message WHERE {_WAS_LIKE} LIMIT 1", *_content(examination))

    def is_late(self, examination: Examination) -> bool:
        """Whether a mail may be recorded only after all others of a walk: see ``read_like``.

        One that the job knows byte for byte need not wait.
        """
        if not self.read_like(examination):
            return False
        return not self._has("SELECT 1 FROM message WHERE identity = ?", examination.in_clear)

    def claim(
        self, examination: Examination, is_own: Callable[[MessageDigest], bool]
    ) -> MessageRecord | None:
        """As ``MessageTable.claim``, of a mail that waited; after all others had their claim.

        Args:
            examination: of the mail.
            is_own: whether its header has all that an original has, by the digest of that.
        """
        if not self.read_like(examination):
            return None
        values, source = _mail(examination), self._source(examination)
        first_unseen = self._messages.first_unseen
        marked, ref = str(examination.marked), examination.ref
        # What lies at its very place was edited there: nobody can deliver under that name. A row
        # counts as seen once its new copy was met, and this is the one that is to be replaced.
        row = self._connection.execute(
            f"SELECT {MESSAGE_COLUMNS} FROM message WHERE {_READS_LIKE} AND message = ?"
            " AND folder = ? AND key = ? AND (message IN (SELECT message FROM replacement)"
            "   OR message NOT IN (SELECT message FROM temp.seen))",
            (*values, marked, ref.folder, ref.key),
        ).fetchone()
        if row is None and is_own(self._original(examination.marked)):
            row = first_unseen(f"{_READS_LIKE} AND message = ?", *values, marked)
        if row is None and source is not None:
            row = first_unseen(f"{_READS_LIKE} AND {_IS_FURTHER}", *values)
        if row is None:
            row = self._returned(examination.in_clear)
        if row is not None:
            record = MessageRecord.of_row(row)
            self._messages.take_place(record.message, examination.listing)
            self._connection.execute(
                f"UPDATE message SET original_identity = iif({_IS_FURTHER}, ?1, original_identity),"
                " identity = ?1 WHERE message = ?2",
                (examination.in_clear, record.message),
            )
            return record
        if source == examination.marked:
            return None  # a further copy of that one, whatever else has this body
        return self._messages.claim(examination.listing, examination.identity)

    def _returned(self, identity: Identity) -> tuple[object, ...] | None:
        """A row without a copy whose plaintext copy is back, as from a backup, and waits again."""
        row = self._messages.first_unseen(
            "plaintext_identity = ? AND stored_copy = 'encrypted' AND NOT purged"
            " AND message NOT IN (SELECT message FROM replacement)",
            identity,
        )
        if row is not None:
            record = MessageRecord.of_row(row)
            copy = StoredCopy.FOUND if record.is_further else StoredCopy.PLAINTEXT
            self._messages.set_copy(record.message, copy, identity)
            self._messages.advance(record.message, State.DECRYPTED, step="returned")
        return row

    def _original(self, message: int) -> MessageDigest:
        row = self._row("SELECT digest FROM original WHERE message = ?", message)
        return MessageDigest("" if row is None else row[0])

    def join(self, examination: Examination) -> int | None:
        """Takes a further plaintext copy into the job: left out, it would stay in clear unnoticed.

        It is marked as a copy of a row with this content, or has a Message-ID, and it is that of
        the row. None: it is no such copy. After ``claim``.

        Returns:
            Number of its row.
        """
        source = self._source(examination)
        if source is None:
            return None
        identity = examination.in_clear
        copy = replace(examination, identity=identity, state=State.DECRYPTED, reason="")
        message = self._messages.insert(copy, is_further=True)
        self._messages.parts.copy(source, message)
        return message

    def is_left_in_clear(self, examination: Examination) -> bool:
        """Whether a mail is a plaintext copy of a row whose checkpoints are gone; after ``join``.

        As that has it: marked as a copy of the row, or with its Message-ID.
        """
        if not examination.in_clear:
            return False
        return self._has(
            f"SELECT 1 FROM message WHERE {_WAS_LIKE} AND (message = ? OR ? <> '') LIMIT 1",
            *_mail(examination),
            examination.marked,
            examination.message_id,
        )

    def _source(self, examination: Examination) -> int | None:
        """The row that a further copy takes its parts from; the one it is marked with first."""
        if not examination.in_clear:
            return None
        select = f"SELECT message FROM message WHERE {_WAS_LIKE} AND {CHECKPOINTS_STAND}"
        values = _mail(examination)
        row = self._row(f"{select} AND message = ?", *values, examination.marked)
        if row is None and examination.message_id:
            row = self._row(f"{select} LIMIT 1", *values)
        return None if row is None else int(row[0])

    def record_copy(self, examination: Examination) -> int | None:
        """Takes down a further copy of a message that waits to be encrypted, or was.

        It can be encrypted as well, and would be lost to its owner if it were not. None: the
        job has no such message, or not the checkpoints of all that is taken of it.

        Returns:
            Number of the row.
        """
        row = self._row(
            "SELECT message FROM message WHERE original_identity = ?"
            " AND state IN ('checkpointed', 'decrypted', 'reencrypted', 'rewrapped', 'verified')"
            f" AND EXISTS (SELECT 1 FROM part WHERE part.message = message.message)"
            f" AND {CHECKPOINTS_STAND}",
            examination.identity,
        )
        if row is None:
            return None
        message = self._messages.insert(replace(examination, state=State.CHECKPOINTED, reason=""))
        self._messages.parts.copy_unopened(int(row[0]), message)
        return message

    # --- what is moved during a walk ------------------------------------------------

    def begin_walk(self) -> None:
        """Nothing came yet, and nothing was listed."""
        self._came.clear()
        self._there.clear()

    def note_new(self, message: int) -> None:
        """The walk has made a row."""
        self._came.add(message)

    def note_there(self, message: int) -> None:
        """A message is where the walk has just seen it."""
        self._there.add(message)

    def begin_listing(self) -> None:
        """A further listing begins, which ``look_back`` is told of."""
        self._there.clear()

    def look_back(self, listing: Listing) -> bool:
        """Whether the walk has seen the message at a place that a further listing shows."""
        row = self._connection.execute(
            "SELECT message FROM message JOIN temp.seen USING (message)"
            " WHERE folder = ? AND key = ? AND presence IN ('present', 'changed')",
            (listing.ref.folder, listing.ref.key),
        ).fetchone()
        if row is not None:
            self._there.add(int(row[0]))
        return row is not None

    def take_moved(self, examination: Examination) -> bool:
        """Whether a copy is that of a row which the walk saw where the last listing shows none.

        Before the new copies of what is being replaced count as seen, too.
        """
        rows = self._connection.execute(
            "SELECT message FROM message JOIN temp.seen USING (message)"
            " WHERE identity IN (?, nullif(?, '')) AND presence = 'present' ORDER BY message",
            (examination.identity, examination.in_clear),
        )
        for (message,) in rows.fetchall():
            if message not in self._there:
                self._messages.take_place(message, examination.listing)
                return True
        return False

    def join_moved(self) -> None:
        """Joins the two rows of a message that the walk saw at two places, since it was moved.

        One is at a place where the last listing has no message any more, the other was made by
        this walk and has the same identity: that is the place of the first from now on.
        """
        seen = self._connection.execute(
            "SELECT message, identity FROM message JOIN temp.seen USING (message)"
            " WHERE presence = 'present'"
            if self._came
            else "SELECT 0, '' WHERE 0"
        )
        missing = [(message, of) for message, of in seen.fetchall() if message not in self._there]
        for message, identity in missing:
            rows = self._connection.execute(
                f"SELECT message, {LISTING_COLUMNS} FROM message"
                " WHERE identity = ? AND presence = 'present' AND message <> ? ORDER BY message",
                (identity, message),
            )
            for other, *columns in rows.fetchall():
                if other in self._came and other in self._there:
                    self._came.discard(other)
                    self._messages.unsee(other)
                    self._messages.relocate(message, listing_of(*columns), displaced="gone")
                    break


def _mail(examination: Examination) -> tuple[str, str]:
    """What ``_READS_LIKE`` is asked with: from where to where its identities lie."""
    mail, _, _ = examination.in_clear.rpartition(":")
    return f"{mail}:", f"{mail};"


def _content(examination: Examination) -> tuple[str, str]:
    """The same of all mail that has the content, whoever it is from."""
    content, _, _ = examination.in_clear.rpartition(":")[0].rpartition(":")
    return f"{content}:", f"{content};"
