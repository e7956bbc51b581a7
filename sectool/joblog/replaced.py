"""The messages whose stored copy is one that sectool wrote: to be proven, or undone; reads only."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from sectool.joblog.messages import PAGE, MessageTable
from sectool.joblog.parts import CHECKPOINTS_STAND
from sectool.joblog.records import ReplacedMessage
from sectool.message import MessageRef
from sectool.outcome import Proof

_SELECT = (
    "SELECT message.message, identity, original_identity, message.folder, key, message.size,"
    " message.internal_date, message_id, coalesce(original.digest, '')"
    " FROM message LEFT JOIN original USING (message)"
)

_SEEN = "EXISTS (SELECT 1 FROM temp.seen WHERE seen.message = message.message)"

_HERE = f"presence = 'present' AND {_SEEN} AND identity <> original_identity"
"""The walk found a copy that stands for another."""

_NOT_IN_FLIGHT = (
    "NOT EXISTS (SELECT 1 FROM replacement WHERE replacement.message = message.message)"
)

_ENCRYPTED = "substr(identity, 1, 9) <> 'in-clear:'"
"""The copy that stands for another is not its plaintext."""

_NOT_RESTARTED = "NOT EXISTS (SELECT 1 FROM restarted WHERE restarted.message = message.message)"
"""The copy that stands for another is encrypted as it is meant to be."""

_TO_PROVE = (
    f"{_HERE} AND {_ENCRYPTED} AND {_NOT_IN_FLIGHT} AND {_NOT_RESTARTED}"
    " AND (? OR proof <> 'opened')"
)

_ORIGINAL_STANDS = (
    "original.digest IS NOT NULL AND NOT EXISTS (SELECT 1 FROM tombstone"
    "   WHERE kind = 'original' AND tombstone.digest = original.digest)"
)

_TO_RESTORE = f"{_HERE} AND {_NOT_IN_FLIGHT} AND state <> 'purged' AND {_ORIGINAL_STANDS}"

_TO_DECRYPT = (
    f"{_HERE} AND {_ENCRYPTED} AND {_NOT_IN_FLIGHT} AND state <> 'purged' AND {CHECKPOINTS_STAND}"
)

_NEVER_ENCRYPTED = (
    "NOT EXISTS (SELECT 1 FROM part WHERE part.message = message.message"
    "   AND part.content_encryption_algorithm <> '')"
)

_LOST = (
    f"presence = 'lost' AND {_NOT_IN_FLIGHT} AND state NOT IN ('purged', 'rolled-back')"
    " AND EXISTS (SELECT 1 FROM part WHERE part.message = message.message)"
    f" AND ({CHECKPOINTS_STAND} OR ({_NEVER_ENCRYPTED} AND {_ORIGINAL_STANDS}))"
)
"""The walk found no copy, and the plaintext is kept, as a checkpoint or as the original."""


class ReplacedMessages:
    """Answers which messages were replaced; after a walk, which of them are still there."""

    def __init__(self, connection: sqlite3.Connection, messages: MessageTable) -> None:
        self._connection = connection
        self._messages = messages

    def to_prove(self, *, again: bool) -> Iterator[ReplacedMessage]:
        """Those that the walk found and whose proof is not ``opened`` yet.

        Args:
            again: also those that were opened before.
        """
        yield from self._pages(_TO_PROVE, again)

    def to_restore(self) -> Iterator[ReplacedMessage]:
        """Those that the walk found and whose original was kept and not purged."""
        yield from self._pages(_TO_RESTORE)

    def to_decrypt(self) -> Iterator[ReplacedMessage]:
        """Those that the walk found encrypted and whose plaintext can be put back."""
        yield from self._pages(_TO_DECRYPT)

    def lost(self) -> Iterator[ReplacedMessage]:
        """Messages of the job that are in the mailbox no more and can be encrypted again."""
        yield from self._pages(_LOST)

    def any_in_clear(self) -> bool:
        """Whether the plaintext of any message of the job lies in the mailbox."""
        return bool(self._count(f"NOT {_ENCRYPTED} AND presence <> 'gone'"))

    def count_unproven(self) -> int:
        """How many that are in the mailbox were not proven by opening."""
        return self._count(f"{_HERE} AND {_ENCRYPTED} AND proof <> ?", Proof.OPENED)

    def count_purged(self) -> int:
        """How many that are in the mailbox cannot be undone any more."""
        return self._count(f"{_HERE} AND state = 'purged'")

    def count_without_original(self) -> int:
        """How many that are in the mailbox never had an original: added, or made of plaintext."""
        return self._count(
            f"presence = 'present' AND {_SEEN} AND {_NOT_IN_FLIGHT} AND state <> 'purged'"
            f" AND (identity <> original_identity OR NOT {_ENCRYPTED})"
            " AND NOT EXISTS (SELECT 1 FROM original WHERE original.message = message.message)"
        )

    def any_left(self) -> bool:
        """Whether any message of the job, found or not, is known by a copy that sectool wrote."""
        return bool(
            self._count(f"identity <> original_identity AND {_ENCRYPTED} AND presence <> 'gone'")
        )

    def proof(self, message: int) -> Proof | None:
        """How the present copy of a message was proven; None where it was not."""
        row = self._connection.execute(
            "SELECT proof FROM message WHERE message = ?", (message,)
        ).fetchone()
        return Proof(row[0]) if row is not None and row[0] else None

    def rolled_back_with_checkpoints(self) -> list[ReplacedMessage]:
        """Messages whose original is back and whose checkpoints were not purged."""
        condition = f"presence = 'present' AND state = 'rolled-back' AND {CHECKPOINTS_STAND}"
        return list(self._pages(condition))

    def _count(self, condition: str, *values: object) -> int:
        sql = f"SELECT count(*) FROM message WHERE {condition}"
        return int(self._connection.execute(sql, values).fetchone()[0])

    def _pages(self, condition: str, *values: object) -> Iterator[ReplacedMessage]:
        # Rows may be changed while this runs.
        after = 0
        while True:
            rows = self._connection.execute(
                f"{_SELECT} WHERE message.message > ? AND {condition}"
                " ORDER BY message.message LIMIT ?",
                (after, *values, PAGE),
            ).fetchall()
            for message, identity, original_identity, folder, key, size, *others in rows:
                date, message_id, original = others
                yield ReplacedMessage(
                    message=message,
                    identity=identity,
                    original_identity=original_identity,
                    ref=MessageRef(folder, key),
                    size=size,
                    internal_date=date,
                    message_id=message_id,
                    original=original,
                    parts=tuple(self._messages.parts.of(message)),
                )
            if len(rows) < PAGE:
                return
            after = rows[-1][0]
