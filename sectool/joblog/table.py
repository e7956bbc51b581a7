"""What every table of the job log asks of its connection."""

from __future__ import annotations

import sqlite3
from typing import Any


class Table:
    """Questions to the job log that one row answers.

    Args:
        connection: of the job log; its tables share it, and its transactions.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def _row(self, question: str, *values: object) -> Any:
        """The first row of the answer; None: it has none."""
        return self._connection.execute(question, values).fetchone()

    def _has(self, question: str, *values: object) -> bool:
        return self._row(question, *values) is not None

    def _number(self, question: str, *values: object) -> int:
        return int(self._row(question, *values)[0])


class ValueTable(Table):
    """What the job keeps by names."""

    def value(self, name: str) -> str | None:
        """A named value of the job; None where it was never set."""
        row = self._row("SELECT value FROM job WHERE name = ?", name)
        return None if row is None else str(row[0])

    def set_value(self, name: str, value: str) -> None:
        """Sets a named value of the job; inside a group."""
        self._connection.execute(
            "INSERT INTO job (name, value) VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (name, value),
        )
