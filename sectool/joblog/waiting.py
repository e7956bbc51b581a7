"""The messages that wait to be encrypted, or to have their recipients exchanged; reads only."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from sectool.joblog.messages import PAGE
from sectool.joblog.parts import CHECKPOINTS_STAND, PartTable
from sectool.joblog.records import IN_CLEAR, SealableMessage
from sectool.message import MessageRef

_OWN_COPY_WAITS = (
    "(substr(identity, 1, 9) = 'in-clear:'"
    " OR EXISTS (SELECT 1 FROM restarted WHERE restarted.message = message.message))"
)
"""The stored copy is one of ours, and is to be encrypted all the same."""


class WaitingMessages:
    """Answers, after a walk, which messages wait; rows may be changed while an answer is read."""

    def __init__(self, connection: sqlite3.Connection, parts: PartTable) -> None:
        self._connection = connection
        self._parts = parts

    def sealable(self, *, in_clear: bool = True, after: int = 0) -> Iterator[SealableMessage]:
        """Messages that wait to be encrypted, seen by the walk, in the order of their rows.

        Those that failed or changed before are among them, but not those that
        have two copies already; rows may be changed while this runs.

        Args:
            in_clear: also those whose stored copy sectool wrote: in clear, or encrypted
                before their phase was restarted.
            after: number of the row to begin after.
        """
        yield from self._waiting(
            "state IN ('checkpointed', 'decrypted', 'failed', 'changed')"
            f" AND iif(?, identity = original_identity OR {_OWN_COPY_WAITS},"
            "   identity = original_identity AND substr(identity, 1, 9) <> 'in-clear:')"
            f" AND {CHECKPOINTS_STAND}",
            (in_clear,),
            after,
        )

    def readable(self) -> Iterator[SealableMessage]:
        """Messages whose recipients wait to be exchanged, as ``sealable`` has the others."""
        yield from self._waiting("state = 'readable' AND identity = original_identity", (), 0)

    def _waiting(
        self, condition: str, values: tuple[object, ...], after: int
    ) -> Iterator[SealableMessage]:
        while True:
            rows = self._connection.execute(
                "SELECT message, identity, original_identity, folder, key, size, internal_date"
                f" FROM message WHERE message > ? AND {condition}"
                " AND presence = 'present'"
                " AND EXISTS (SELECT 1 FROM temp.seen WHERE seen.message = message.message)"
                " AND NOT EXISTS"
                "   (SELECT 1 FROM replacement WHERE replacement.message = message.message)"
                " AND EXISTS (SELECT 1 FROM part WHERE part.message = message.message)"
                " ORDER BY message LIMIT ?",
                (after, *values, PAGE),
            ).fetchall()
            for message, identity, original_identity, folder, key, size, date in rows:
                yield SealableMessage(
                    message=message,
                    identity=identity,
                    original_identity=original_identity,
                    ref=MessageRef(folder, key),
                    size=size,
                    internal_date=date,
                    parts=tuple(self._parts.of(message)),
                    found_as=self._found_as(message, original_identity),
                )
            if len(rows) < PAGE:
                return
            after = rows[-1][0]

    def _found_as(self, message: int, original_identity: str) -> str:
        """Identity of the message that the parts of a further plaintext copy were found in."""
        if not original_identity.startswith(IN_CLEAR):
            return ""
        row = self._connection.execute(
            "SELECT first.original_identity FROM part AS own JOIN part AS other"
            " USING (path, content_digest) JOIN message AS first ON first.message = other.message"
            " WHERE own.message = ? AND substr(first.original_identity, 1, 9) <> 'in-clear:'"
            " ORDER BY first.message LIMIT 1",
            (message,),
        ).fetchone()
        return "" if row is None else str(row[0])
