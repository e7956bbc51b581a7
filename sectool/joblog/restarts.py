"""The messages that a restarted phase is to replace once more."""

from __future__ import annotations

import sqlite3

from sectool.joblog.clear import NO_ALGORITHM
from sectool.joblog.messages import MessageTable
from sectool.joblog.parts import CHECKPOINTS_STAND
from sectool.outcome import State

_REPLACED = (
    "identity <> original_identity AND substr(identity, 1, 9) <> 'in-clear:'"
    " AND state IN ('reencrypted', 'rewrapped', 'verified', 'failed', 'changed')"
)
"""The stored copy is one that was encrypted by this job, and still counts."""


class RestartTable:
    """What waits to be encrypted again; all writing happens inside ``JobLog.group``."""

    def __init__(self, connection: sqlite3.Connection, messages: MessageTable) -> None:
        self._connection = connection
        self._messages = messages

    def restart(self) -> int:
        """Every message that was encrypted waits again, and no proof of it counts.

        Not those whose checkpoints were purged: nothing is left to encrypt them from.

        Returns:
            How many wait now.
        """
        rows = self._connection.execute(
            f"SELECT message FROM message WHERE {_REPLACED} AND {CHECKPOINTS_STAND}"
            " AND EXISTS (SELECT 1 FROM part WHERE part.message = message.message)"
        ).fetchall()
        for (message,) in rows:
            self._connection.execute("INSERT OR IGNORE INTO restarted VALUES (?)", (message,))
            self._messages.advance(message, State.CHECKPOINTED, step="restarted")
        return len(rows)

    def count_in_clear_before(self) -> int:
        """How many messages were in clear before they were encrypted: none has a checkpoint."""
        (count,) = self._connection.execute(
            f"SELECT count(*) FROM message WHERE {_REPLACED} AND presence <> 'gone'"
            " AND EXISTS (SELECT 1 FROM part WHERE part.message = message.message"
            f"   AND part.content_encryption_algorithm = '{NO_ALGORITHM}')"
        ).fetchone()
        return int(count)

    def count_left_behind(self) -> int:
        """How many messages were encrypted and cannot be again: their checkpoint is purged."""
        (count,) = self._connection.execute(
            "SELECT count(*) FROM message WHERE identity <> original_identity"
            " AND substr(identity, 1, 9) <> 'in-clear:' AND presence <> 'gone'"
            f" AND NOT {CHECKPOINTS_STAND}"
        ).fetchone()
        return int(count)
