"""Certificates that are not at hand, and the keys that were found to open mail which names them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from datetime import UTC, datetime

from sectool.joblog.layers import IS_KEPT
from sectool.outcome import Binding, RecipientKey, State

_NAMED = "(issuer, serial_number, subject_key_identifier) = (?1, ?2, ?3)"


def _names(recipient: RecipientKey) -> tuple[str, str, str]:
    return recipient.issuer, recipient.serial_number, recipient.subject_key_identifier


class BindingTable:
    """What was found; all writing happens inside ``JobLog.group``."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def add(self, bindings: Iterable[Binding]) -> None:
        """Later runs of the job use these at once."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        self._connection.executemany(
            "INSERT OR IGNORE INTO binding VALUES (?, ?, ?, ?, ?)",
            [(*_names(one.recipient), one.public_key, at) for one in bindings],
        )

    def all(self) -> list[Binding]:
        """In the order in which they were found."""
        rows = self._connection.execute(
            "SELECT issuer, serial_number, subject_key_identifier, public_key FROM binding"
            " ORDER BY at, issuer, serial_number, subject_key_identifier"
        )
        return [Binding(RecipientKey(*names), public_key) for *names, public_key in rows]

    def named_by(self, binding: Binding) -> int:
        """How many messages name the certificate."""
        (count,) = self._connection.execute(
            "SELECT count(DISTINCT message) FROM message_recipient JOIN counted USING (message)"
            f" JOIN recipient USING (recipient) WHERE {_NAMED}",
            _names(binding.recipient),
        ).fetchone()
        return int(count)

    def shut_for(self, binding: Binding) -> frozenset[int]:
        """Messages that name it and are not open, or have a layer that names it and stays shut."""
        rows = self._connection.execute(
            f"WITH named AS (SELECT recipient FROM recipient WHERE {_NAMED})"
            " SELECT message FROM message_recipient JOIN message USING (message)"
            " WHERE recipient IN named AND state IN (?4, ?5)"
            " UNION SELECT message FROM layer_recipient JOIN layer USING (message, part, path)"
            f" WHERE recipient IN named AND {IS_KEPT}",
            (*_names(binding.recipient), State.MISSING_KEY, State.REVIEW),
        )
        return frozenset(int(message) for (message,) in rows)
