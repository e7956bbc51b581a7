"""Opens, makes and guards the SQLite file of a job log.

SQLite runs with a rollback journal and ``synchronous=FULL``: when a group has
been left without an error, its rows survive a power cut. A job directory may
come from a stranger, so the file is checked before it is believed
(sqlite.org, "Defense Against The Dark Arts").
"""

from __future__ import annotations

import os
import sqlite3
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from sectool import durable
from sectool.crashpoints import crashpoint
from sectool.errors import JobLogDamaged, JobLogTooNew, Locked, NoSpace, RunError, SectoolError
from sectool.joblog.counts import Counts
from sectool.joblog.messages import MessageTable
from sectool.joblog.purges import PurgeTable
from sectool.joblog.replaced import ReplacedMessages
from sectool.joblog.replacements import ReplacementTable
from sectool.joblog.schema import (
    APPLICATION_ID,
    SCHEMA_DIGEST_NAME,
    SCHEMA_VERSION,
    TABLES,
    schema_digest,
)

BUSY_TIMEOUT = 10.0
"""Seconds to wait for a reader of the job log before giving up."""

_SPACE_ERRORS = {"SQLITE_FULL"}
_DAMAGE_ERRORS = {"SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT"}


def explain(error: sqlite3.Error, path: Path) -> SectoolError:
    """The error of this package for one that SQLite raised on the job log at ``path``."""
    name = getattr(error, "sqlite_errorname", "") or ""
    family = "_".join(name.split("_")[:2])
    if family in _SPACE_ERRORS:
        return NoSpace(
            "cannot write the job log: no space left",
            hint="free some space, then run the same command again",
        )
    if family in _DAMAGE_ERRORS or isinstance(error, sqlite3.IntegrityError):
        return _damaged(path, str(error))
    if family in {"SQLITE_BUSY", "SQLITE_LOCKED"}:
        return Locked(
            f"the job log {path} is in use by another program", hint="close it, then try again"
        )
    return RunError(
        f"cannot use the job log {path}: {error}",
        hint="see to the cause, then run the same command again",
    )


def _is_half_written(error: BaseException | None) -> bool:
    return getattr(error, "sqlite_errorname", "") == "SQLITE_READONLY_ROLLBACK"


def _damaged(path: Path, reason: str) -> JobLogDamaged:
    return JobLogDamaged(
        f"the job log {path} is damaged: {reason}",
        hint="restore it from a backup; the checkpoints are readable without it",
    )


class JobLog:
    """The job log of one job directory; one process, one connection.

    Attributes:
        messages: what is known of every message.
        replacements: the messages that are being replaced, and their originals.
        replaced: the messages that were, for proving and undoing.
        purges: what may go from the job directory, and what has gone.
        counts: how many messages are in which state.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        self.messages = MessageTable(connection)
        self.replacements = ReplacementTable(connection, self.messages)
        self.replaced = ReplacedMessages(connection, self.messages)
        self.purges = PurgeTable(connection, self.messages)
        self.counts = Counts(connection)

    # --- life ------------------------------------------------------------

    @classmethod
    def create(cls, path: Path) -> Self:
        """Makes a new job log, whole or not at all, durably, and opens it."""
        building = path.with_name(f"{path.name}.new")
        with durable.explained("make the job log"):
            for leftover in (building, building.with_name(f"{building.name}-journal")):
                durable.unlink(leftover, "joblog.create.sweep", missing_ok=True)
            with durable.new_file(building):
                pass
        try:
            _write_schema(building)
        except sqlite3.Error as error:
            raise explain(error, path) from error
        with durable.explained("make the job log"):
            durable.rename(building, path, "joblog.create")
            durable.sync_directories([path.parent], "joblog.create.directory")
        return cls.open(path)

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False) -> Self:
        """Opens an existing job log and checks it.

        Raises:
            JobLogDamaged: it is not a job log, or fails a check.
            JobLogTooNew: a newer sectool wrote it.
        """
        _check_file(path)
        mode = "ro" if read_only else "rw"
        try:
            connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={mode}",
                uri=True,
                isolation_level=None,
                timeout=BUSY_TIMEOUT,
            )
        except sqlite3.Error as error:
            raise explain(error, path) from error
        try:
            _check_contents(connection, path)
            _configure(connection, read_only=read_only)
        except sqlite3.Error as error:
            connection.close()
            raise explain(error, path) from error
        except BaseException:
            connection.close()
            raise
        return cls(path, connection)

    @classmethod
    def rehearsal(cls, path: Path | None) -> Self:
        """A copy in memory for a dry run: it takes every step and no disk sees any.

        Args:
            path: the job log to copy; None, or one that is not there: an empty job.
        """
        connection = sqlite3.connect(":memory:", isolation_level=None)
        if path is None or not path.exists():
            connection.executescript(TABLES)
            connection.execute("INSERT INTO job VALUES ('job', 'rehearsal')")
        else:
            with cls._open_to_look(path) as log:
                log._connection.backup(connection)  # noqa: SLF001  # of its own kind
        _configure(connection, read_only=True)
        return cls(Path(":memory:"), connection)

    @classmethod
    def _open_to_look(cls, path: Path) -> Self:
        try:
            return cls.open(path, read_only=True)
        except RunError as error:
            if not _is_half_written(error.__cause__):
                raise
        # A run was killed in the middle of a commit. Until that is undone nobody
        # can read the file, and only who may write to it can undo it.
        cls.open(path).close()
        return cls.open(path, read_only=True)

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
        except BaseException as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise explain(error, self._path) from error
            raise

    # --- the job and its phases ----------------------------------------------

    def value(self, name: str) -> str | None:
        """A named value of the job; None where it was never set."""
        row = self._connection.execute("SELECT value FROM job WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_value(self, name: str, value: str) -> None:
        """Sets a named value of the job; inside a group."""
        self._connection.execute(
            "INSERT INTO job (name, value) VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (name, value),
        )

    def phase(self, name: str) -> tuple[str, str] | None:
        """State (``begun`` or ``finished``) and options of a phase; None before it began."""
        row = self._connection.execute(
            "SELECT state, options FROM phase WHERE name = ?", (name,)
        ).fetchone()
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


# --- opening -----------------------------------------------------------------


def _write_schema(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(
            f"BEGIN; PRAGMA application_id = {APPLICATION_ID};"
            f" PRAGMA user_version = {SCHEMA_VERSION}; {TABLES}"
        )
        values = {
            SCHEMA_DIGEST_NAME: schema_digest(_definitions(connection)),
            "job": str(uuid.uuid4()),
            "generation": "0",
        }
        connection.executemany("INSERT INTO job (name, value) VALUES (?, ?)", values.items())
        connection.execute("COMMIT")
    finally:
        connection.close()


def _definitions(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute("SELECT type, name, sql FROM sqlite_schema").fetchall()
    return [f"{kind} {name} {sql}" for kind, name, sql in rows]


def _check_file(path: Path) -> None:
    with durable.explained("read the job log"):
        status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise _damaged(path, "it is not a regular file")
    if hasattr(os, "geteuid") and status.st_uid not in {os.geteuid(), 0}:
        raise _damaged(path, "it belongs to another user")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise _damaged(path, "others may write to it")


def _check_contents(connection: sqlite3.Connection, path: Path) -> None:
    # Before anything else is asked of a file that a stranger may have made.
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.execute("PRAGMA mmap_size = 0")
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID:
        raise _damaged(path, "it is not a job log")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise JobLogTooNew(
            f"the job log {path} has schema version {version}; this sectool knows {SCHEMA_VERSION}",
            hint="use the newer sectool that wrote it",
        )
    (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if answer != "ok":
        raise _damaged(path, str(answer))
    (expected,) = connection.execute(
        "SELECT value FROM job WHERE name = ?", (SCHEMA_DIGEST_NAME,)
    ).fetchone() or ("",)
    if expected != schema_digest(_definitions(connection)):
        raise _damaged(path, "its tables are not those of a job log")


def _configure(connection: sqlite3.Connection, *, read_only: bool) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA temp_store = MEMORY")
    if read_only:
        return
    connection.execute("PRAGMA journal_mode = TRUNCATE")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = ON")
