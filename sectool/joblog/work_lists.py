"""Which messages wait for what: for another copy, a proof, or to be undone or brought back.

After a walk: of a message that it did not find nothing can be made. Rows may be changed while an
answer is read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace

from sectool.joblog.messages import PAGE, MessageTable
from sectool.joblog.parts import CHECKPOINTS_STAND
from sectool.joblog.records import MESSAGE_COLUMNS, JobMessage
from sectool.joblog.table import Table
from sectool.outcome import Proof, State

_SEEN = (
    "presence = 'present' AND EXISTS (SELECT 1 FROM temp.seen WHERE seen.message = message.message)"
)

_NOT_IN_FLIGHT = (
    "NOT EXISTS (SELECT 1 FROM replacement WHERE replacement.message = message.message)"
)

_RESTARTED = "EXISTS (SELECT 1 FROM restarted WHERE restarted.message = message.message)"

_HAS_PARTS = "EXISTS (SELECT 1 FROM part WHERE part.message = message.message)"

_NEVER_ENCRYPTED = (
    "NOT EXISTS (SELECT 1 FROM part WHERE part.message = message.message"
    "   AND part.content_encryption_algorithm <> '')"
)

_ORIGINAL_STANDS = (
    "original.digest IS NOT NULL AND NOT EXISTS (SELECT 1 FROM tombstone"
    "   WHERE kind = 'original' AND tombstone.digest = original.digest)"
)

_WAITS = f"{_SEEN} AND {_NOT_IN_FLIGHT} AND NOT purged"

_HERE = f"{_SEEN} AND {_NOT_IN_FLIGHT} AND replaced"
"""The walk found a copy that stands for another."""

_LOST = (
    f"presence = 'lost' AND {_NOT_IN_FLIGHT} AND NOT purged AND state <> 'rolled-back'"
    f" AND {_HAS_PARTS}"
    f" AND ({CHECKPOINTS_STAND} OR ({_NEVER_ENCRYPTED} AND {_ORIGINAL_STANDS}))"
)
"""The walk found no copy, and the plaintext is kept, as a checkpoint or as the original."""

_ENCRYPTED_AND_COUNTS = (
    "stored_copy = 'encrypted' AND NOT purged"
    " AND state IN ('reencrypted', 'rewrapped', 'verified', 'failed', 'changed')"
)
"""The stored copy is one that was encrypted by this job, and still counts."""


class _WorkList(Table):
    """Reads messages that meet a condition, a page at a time."""

    def __init__(self, connection: sqlite3.Connection, messages: MessageTable) -> None:
        super().__init__(connection)
        self._messages = messages

    def _which(self, condition: str, *values: object, after: int = 0) -> Iterator[JobMessage]:
        while True:
            rows = self._connection.execute(
                f"SELECT {MESSAGE_COLUMNS}, coalesce(original.digest, '')"
                # In the order of rows: by another index each page would sort all the rest.
                " FROM message NOT INDEXED LEFT JOIN original USING (message)"
                f" WHERE message.message > ? AND {condition} ORDER BY message.message LIMIT ?",
                (after, *values, PAGE),
            ).fetchall()
            parts = self._messages.parts.of([row[0] for row in rows])
            for *columns, original in rows:
                message = JobMessage.of_row(columns, parts.get(columns[0], ()), original)
                yield self._as_found(message) if message.is_further else message
            if len(rows) < PAGE:
                return
            after = rows[-1][0]

    def _as_found(self, message: JobMessage) -> JobMessage:
        """With the identity of the message that the parts of a further copy were found in."""
        row = self._row(
            "SELECT first.original_identity FROM part AS own JOIN part AS other"
            " USING (path, content_digest) JOIN message AS first ON first.message = other.message"
            " WHERE own.message = ? AND NOT first.further ORDER BY first.message LIMIT 1",
            message.message,
        )
        return message if row is None else replace(message, found_as=row[0])

    def _count(self, condition: str, *values: object) -> int:
        return self._number(f"SELECT count(*) FROM message WHERE {condition}", *values)


class WaitingMessages(_WorkList):
    """The messages that wait to be encrypted, or to have their recipients exchanged."""

    def sealable(self, *, in_clear: bool = True, after: int = 0) -> Iterator[JobMessage]:
        """Messages that wait to be encrypted, in the order of their rows.

        Those that failed or changed before are among them, but not those that
        have two copies already.

        Args:
            in_clear: also those whose stored copy sectool wrote: in clear, or encrypted
                before their phase was restarted.
            after: number of the row to begin after.
        """
        yield from self._which(
            f"state IN ('checkpointed', 'decrypted', 'failed', 'changed') AND {_WAITS}"
            f" AND iif(?, stored_copy <> 'encrypted' OR {_RESTARTED},"
            "   NOT replaced AND NOT in_clear)"
            f" AND {_HAS_PARTS} AND {CHECKPOINTS_STAND}",
            in_clear,
            after=after,
        )

    def readable(self) -> Iterator[JobMessage]:
        """Messages whose recipients wait to be exchanged, as ``sealable`` has the others."""
        yield from self._which(f"state = 'readable' AND {_WAITS} AND NOT replaced AND {_HAS_PARTS}")

    def never_encrypted(self) -> Iterator[JobMessage]:
        """Messages that were never encrypted, in the order of their rows.

        Those that failed or changed before are among them, and what came after
        decrypting: whether it is in clear, its bytes have to say. Without parts.
        """
        for message in self._which(
            f"state IN ('clear', 'signed', 'not-in-job', 'failed', 'changed') AND {_WAITS}"
            f" AND stored_copy = 'found' AND {_NEVER_ENCRYPTED}"
        ):
            yield replace(message, parts=())

    # --- a restarted phase ---------------------------------------------------------

    def restart(self) -> None:
        """Every message that was encrypted waits again, and no proof of it counts.

        Not those whose checkpoints were purged: nothing is left to encrypt them from.
        """
        rows = self._connection.execute(
            f"SELECT message FROM message WHERE {_ENCRYPTED_AND_COUNTS}"
            f" AND {CHECKPOINTS_STAND} AND {_HAS_PARTS}"
        ).fetchall()
        for (message,) in rows:
            self._connection.execute("INSERT OR IGNORE INTO restarted VALUES (?)", (message,))
            self._messages.advance(message, State.CHECKPOINTED, step="restarted")

    def count_in_clear_before(self) -> int:
        """How many messages were in clear before they were encrypted: none has a checkpoint."""
        return self._count(
            f"{_ENCRYPTED_AND_COUNTS} AND presence <> 'gone' AND {_HAS_PARTS}"
            " AND EXISTS (SELECT 1 FROM part WHERE part.message = message.message"
            "   AND part.content_encryption_algorithm = '')"
        )

    def count_left_behind(self) -> int:
        """How many messages were encrypted and cannot be again: their checkpoint is purged."""
        return self._count(
            f"stored_copy = 'encrypted' AND presence <> 'gone' AND NOT {CHECKPOINTS_STAND}"
        )


class ReplacedMessages(_WorkList):
    """The messages whose stored copy is one that sectool wrote: to be proven, or undone."""

    def to_prove(self, *, again: bool) -> Iterator[JobMessage]:
        """Those that the walk found encrypted and whose proof is not ``opened`` yet.

        Args:
            again: also those that were opened before.
        """
        yield from self._which(
            f"{_HERE} AND stored_copy = 'encrypted' AND NOT {_RESTARTED}"
            " AND (? OR proof <> 'opened')",
            again,
        )

    def to_roll_back(self) -> Iterator[JobMessage]:
        """Those that the walk found and whose original was kept and not purged."""
        yield from self._which(f"{_HERE} AND NOT purged AND {_ORIGINAL_STANDS}")

    def to_decrypt(self) -> Iterator[JobMessage]:
        """Those that the walk found encrypted and whose plaintext can be put back."""
        yield from self._which(
            f"{_HERE} AND stored_copy = 'encrypted' AND NOT purged AND {CHECKPOINTS_STAND}"
        )

    def lost(self) -> Iterator[JobMessage]:
        """Messages of the job that are in the mailbox no more and can be encrypted again."""
        yield from self._which(_LOST)

    def rolled_back_with_checkpoints(self) -> list[JobMessage]:
        """Messages whose original is back and whose checkpoints were not purged."""
        condition = f"presence = 'present' AND state = 'rolled-back' AND {CHECKPOINTS_STAND}"
        return list(self._which(condition))

    def any_in_clear(self) -> bool:
        """Whether the plaintext of any message of the job lies in the mailbox."""
        return bool(self._count("in_clear AND presence <> 'gone'"))

    def any_left(self) -> bool:
        """Whether any message of the job, found or not, is known by a copy that it encrypted."""
        return bool(self._count("stored_copy = 'encrypted' AND presence <> 'gone'"))

    def count_unproven(self) -> int:
        """How many that are in the mailbox were not proven by opening."""
        return self._count(f"{_SEEN} AND stored_copy = 'encrypted' AND proof <> ?", Proof.OPENED)

    def count_purged(self) -> int:
        """How many that are in the mailbox cannot be undone any more."""
        return self._count(f"{_SEEN} AND replaced AND purged")

    def count_without_original(self) -> int:
        """How many that are in the mailbox never had an original: added, or made of plaintext."""
        return self._count(
            f"{_WAITS} AND (replaced OR in_clear)"
            " AND NOT EXISTS (SELECT 1 FROM original WHERE original.message = message.message)"
        )
