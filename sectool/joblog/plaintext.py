"""Since when plaintext has been lying in the job directory and in the mailbox; reads only."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from sectool.joblog.parts import STANDING
from sectool.joblog.records import Storage
from sectool.summary import Lying

_IN_CLEAR = "substr(identity, 1, 9) = 'in-clear:' AND presence IN ('present', 'changed')"
"""Condition on a message: its plaintext lies in the mailbox."""


class PlaintextTable:
    """Answers what of the mail lies where in clear, as the log knows it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def checkpoints(self, storage: Storage) -> Lying:
        """The checkpoints that stand and are kept in this way."""
        count, size, since = self._connection.execute(
            "SELECT count(*), total(inner_size), min(written) FROM checkpoint"
            f" WHERE storage = ? AND {STANDING}",
            (storage,),
        ).fetchone()
        return Lying(count, int(size), _moment(since))

    def in_mailbox(self) -> Lying:
        """The messages that were decrypted in place, and were not encrypted since."""
        count, size = self._connection.execute(
            f"SELECT count(*), total(size) FROM message WHERE {_IN_CLEAR}"
        ).fetchone()
        (since,) = self._connection.execute(
            "WITH undone AS (SELECT message, max(step) AS last FROM step"
            "   WHERE name IN ('reencrypted', 'rewrapped', 'rolled-back', 'returned')"
            "   GROUP BY message)"
            " SELECT min(at) FROM step JOIN message USING (message)"
            "   LEFT JOIN undone USING (message)"
            f" WHERE name = 'decrypted' AND step.step > coalesce(undone.last, 0) AND {_IN_CLEAR}"
        ).fetchone()
        return Lying(count, int(size), _moment(since))


def _moment(text: str | None) -> datetime | None:
    """A log that says otherwise than a time says nothing."""
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
