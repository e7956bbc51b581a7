"""The job log of one job: its life, its groups, its named values and phases.

SQLite runs with a rollback journal and ``synchronous=FULL``: when a group has
been left without an error, its rows survive a power cut.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from sectool import durable
from sectool.crashpoints import crashpoint
from sectool.errors import RunError, UsageError
from sectool.joblog.counts import Counts, PlaintextTable, Standings
from sectool.joblog.database import (
    check_contents,
    configure,
    connect,
    explain,
    is_half_written,
    make_tables,
    migrate,
    write_schema,
)
from sectool.joblog.decisions import AcknowledgementTable, GiveUpTable
from sectool.joblog.messages import MessageTable
from sectool.joblog.parts import BindingTable
from sectool.joblog.purges import PurgeTable
from sectool.joblog.replacements import ReplacementTable
from sectool.joblog.schema import SCHEMA, Schema
from sectool.joblog.table import ValueTable
from sectool.joblog.work_lists import ReplacedMessages, WaitingMessages


class JobLog(ValueTable):
    """The job log of one job directory; one process, one connection.

    Attributes:
        messages: what is known of every message.
        replacements: the messages that are being replaced, and their originals.
        replaced: the messages that were, for proving and undoing.
        waiting: the messages that are to be, and what a restarted phase is to replace once more.
        purges: what may go from the job directory, and what has gone.
        counts: how many messages are in which state.
        plaintext: what of the mail lies where in clear.
        acknowledgements: the messages that a person knows cannot be done.
        give_ups: what a person gave up for old keys, and what was last said of those.
        standings: which messages stand in which states.
        bindings: the certificates that are not at hand, and whose key is.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        super().__init__(connection)
        self.messages = MessageTable(connection)
        self.replacements = ReplacementTable(connection, self.messages)
        self.replaced = ReplacedMessages(connection, self.messages)
        self.waiting = WaitingMessages(connection, self.messages)
        self.purges = PurgeTable(connection, self.messages)
        self.counts = Counts(connection)
        self.plaintext = PlaintextTable(connection)
        self.acknowledgements = AcknowledgementTable(connection)
        self.give_ups = GiveUpTable(connection)
        self.standings = Standings(connection)
        self.bindings = BindingTable(connection)

    # --- life ------------------------------------------------------------

    @classmethod
    def create(cls, path: Path) -> Self:
        """Makes a new job log, whole or not at all, durably, and opens it."""
        building = path.with_name(f"{path.name}.new")
        with durable.explained("make the job log", denied=UsageError):
            for leftover in (building, building.with_name(f"{building.name}-journal")):
                durable.unlink(leftover, "joblog.create.sweep", missing_ok=True)
            with durable.new_file(building):
                pass
        try:
            write_schema(building)
        except sqlite3.Error as error:
            raise explain(error, building) from error
        with durable.explained("make the job log", denied=UsageError):
            durable.rename(building, path, "joblog.create")
            durable.sync_directories([path.parent], "joblog.create.directory")
        return cls.open(path)

    @classmethod
    def open(cls, path: Path, schema: Schema = SCHEMA) -> Self:
        """Opens an existing job log and checks it; one of an older version is migrated first.

        Raises:
            JobLogDamaged: it is not a job log, or fails a check.
            JobLogVersion: a newer sectool wrote it, or one that was never released.
            NoSpace: there is no room for the migration; nothing was changed.
        """
        connection = connect(path, schema=schema)
        try:
            migrate(connection, path, keep_copy=True, schema=schema)
        except sqlite3.Error as error:
            connection.close()
            raise explain(error, path) from error
        except BaseException:
            connection.close()
            raise
        return cls(path, connection)

    @classmethod
    def rehearsal(cls, path: Path | None, schema: Schema = SCHEMA) -> Self:
        """A copy in memory for a dry run: it takes every step and no disk sees any.

        Args:
            path: the job log to copy; None, or one that is not there: an empty job.
            schema: the one that the copy is to have.

        Raises:
            JobLogDamaged: it is not a job log, or fails a check.
            JobLogVersion: a newer sectool wrote it, or one that was never released.
        """
        connection = sqlite3.connect(":memory:", isolation_level=None)
        try:
            if path is None or not path.exists():
                make_tables(connection, schema)
                connection.execute("INSERT INTO job VALUES ('job', 'rehearsal')")
            else:
                _copy(path, connection, schema)
            configure(connection, read_only=True)
        except BaseException:
            connection.close()
            raise
        return cls(path or Path(":memory:"), connection)

    def close(self) -> None:
        """Closes the file; what was not committed is undone."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        if isinstance(error, sqlite3.Error):
            raise explain(error, self._path) from error

    @contextmanager
    def group(self) -> Iterator[None]:
        """Everything written inside becomes durable together when the block ends, or nothing does.

        Raises:
            NoSpace: the disk is full; nothing of the group was written.
        """
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            crashpoint("joblog.commit.before")
            self._connection.execute("COMMIT")
            crashpoint("joblog.commit.after")
            self.messages.changes.end_group(is_kept=True)
        except BaseException as error:
            self.messages.changes.end_group(is_kept=False)
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
                self.messages.parts.forget_recipients()
            if isinstance(error, sqlite3.Error):
                raise explain(error, self._path) from error
            raise

    # --- the job and its phases ----------------------------------------------

    def phase(self, name: str) -> tuple[str, str] | None:
        """State (``begun`` or ``finished``) and options of a phase; None before it began."""
        row = self._row("SELECT state, options FROM phase WHERE name = ?", name)
        return None if row is None else (str(row[0]), str(row[1]))

    def set_phase(self, name: str, state: str, options: str) -> None:
        """Records that a phase has begun or finished, and with what; inside a group."""
        self._connection.execute(
            "INSERT INTO phase (name, state, options) VALUES (?, ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET state = excluded.state, options = excluded.options",
            (name, state, options),
        )

    def drop_phase(self, name: str) -> None:
        """Forgets a phase, so that it may begin anew; inside a group."""
        self._connection.execute("DELETE FROM phase WHERE name = ?", (name,))


def _copy(path: Path, connection: sqlite3.Connection, schema: Schema) -> None:
    """Copies the job log at ``path`` to another connection, as this version has it."""
    try:
        with closing(_connect_to_look(path, schema)) as source:
            source.backup(connection)
        check_contents(connection, path)
        migrate(connection, path, keep_copy=False, schema=schema)
    except sqlite3.Error as error:
        raise explain(error, path) from error


def _connect_to_look(path: Path, schema: Schema) -> sqlite3.Connection:
    try:
        return connect(path, read_only=True, schema=schema)
    except RunError as error:
        if not is_half_written(error.__cause__):
            raise
    # A run was killed in the middle of a commit. Until that is undone nobody
    # can read the file, and only who may write to it can undo it.
    connect(path, schema=schema).close()
    return connect(path, read_only=True, schema=schema)
