"""Makes, checks, migrates and configures the SQLite file of a job log.

A job directory may come from a stranger, so the file is checked before it is
believed (sqlite.org, "Defense Against The Dark Arts"): its marks, that its tables
are letter by letter those of a known schema, its pages, and each value.
That it is nobody else's to change, ``sectool.trust`` has told before.

A log of an older schema is copied beside itself first, durably. Then every table is made anew
and filled from the old one, in one transaction: killed at any point, the log is of the one version
or the other. A new column is one line in ``schema.TABLES`` and one in ``Schema.defaults``; a new
table is none.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path

from sectool import durable
from sectool.crashpoints import crashpoint
from sectool.errors import (
    JobLogDamaged,
    JobLogVersion,
    Locked,
    NoSpace,
    RunError,
    SectoolError,
    UsageError,
)
from sectool.joblog.schema import APPLICATION_ID, SCHEMA, Schema
from sectool.joblog.values import odd_values
from sectool.message import digest_stream, open_regular_file

ROW_LIMIT = 32 * 1024 * 1024
"""Bytes of one row: four times the largest header block that a Message-ID is taken from."""

BUSY_TIMEOUT = 10.0
"""Seconds to wait for a reader of the job log before giving up."""

_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")
"""Begins each header of a journal, and ends the name of a further file at its end."""

_FAILED_READ = re.compile(r"error code=(10|266)\b")
"""How a check tells of a page that the disk did not give (SQLITE_IOERR, SQLITE_IOERR_READ)."""

_SPACE_ERRORS = {"SQLITE_FULL"}
_DENIED_ERRORS = {"SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH"}
_DAMAGE_ERRORS = {"SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT", "SQLITE_TOOBIG"}


def explain(error: sqlite3.Error, path: Path) -> SectoolError:
    """The error of this package for one that SQLite raised on the job log at ``path``."""
    name = getattr(error, "sqlite_errorname", "") or ""
    family = "_".join(name.split("_")[:2])
    # Of a failed write SQLite tells a full disk, but no quota and no limit on files.
    full = family == "SQLITE_IOERR" and durable.space_error(path) is not None
    if full or family in _SPACE_ERRORS:
        return NoSpace(
            "cannot write the job log: no space left",
            hint="free some space or raise the quota, then run the same command again",
        )
    if family == "SQLITE_CANTOPEN" and (why := _why_shut(path)) is not None:
        return why
    if family in _DENIED_ERRORS:
        return UsageError(
            f"cannot write the job log {path}: {error}",
            hint="check the owner, the mode and the mount options of the job directory",
        )
    if family in _DAMAGE_ERRORS or isinstance(error, sqlite3.IntegrityError) or _is_odd(error):
        return _judged(path, str(error))
    if family in {"SQLITE_BUSY", "SQLITE_LOCKED"}:
        return Locked(
            f"the job log {path} is in use by another program", hint="close it, then try again"
        )
    return _unusable(
        path, str(error), durable.DISK if family == "SQLITE_IOERR" else "see to the cause"
    )


def _judged(path: Path, reason: str) -> SectoolError:
    """The error for a log that is damaged, or whose bytes the disk does not give.

    SQLite takes what it could not read for a page that is malformed.
    """
    if _FAILED_READ.search(reason):
        return _unusable(path, reason, durable.DISK)
    try:
        with open_regular_file(path) as stream:
            digest_stream(stream)
    except OSError as error:
        return durable.explain(error, f"read the job log {path}", denied=UsageError)
    return damaged(path, reason)


def _why_shut(path: Path) -> SectoolError | None:
    """Why the job log cannot be opened, which SQLite does not tell; None: it is not let write."""
    try:
        open_regular_file(path).close()
    except OSError as error:
        return durable.explain(error, f"open the job log {path}", denied=UsageError)
    if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK | os.X_OK):
        return _unusable(
            path, "a file beside it cannot be opened", "see to the limit on open files (ulimit -n)"
        )
    return None


def _unusable(path: Path, reason: str, cause: str) -> RunError:
    return RunError(
        f"cannot use the job log {path}: {reason}", hint=f"{cause}, then run the same command again"
    )


def _is_odd(error: sqlite3.Error) -> bool:
    """Whether a text is the trouble that is no UTF-8."""
    return any(words in str(error) for words in ("decode to UTF-8", "user-defined function"))


def is_half_written(error: BaseException | None) -> bool:
    """Whether a run was killed in the middle of a commit that only a writer can undo."""
    return getattr(error, "sqlite_errorname", "") == "SQLITE_READONLY_ROLLBACK"


# --- making ------------------------------------------------------------------


def write_schema(path: Path) -> None:
    """Fills an empty file with the tables of a new job; not synced as a name."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN")
        make_tables(connection)
        values = {"job": str(uuid.uuid4()), "generation": "0"}
        connection.executemany("INSERT INTO job (name, value) VALUES (?, ?)", values.items())
        connection.execute("COMMIT")
    finally:
        connection.close()


def make_tables(connection: sqlite3.Connection, schema: Schema = SCHEMA) -> None:
    """Makes all tables and marks the file as a job log of this version; inside a transaction."""
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {schema.version}")
    for statement in _statements(schema.tables):
        connection.execute(statement)


def _statements(script: str) -> Iterator[str]:
    """The statements of a script; ``executescript`` would end an open transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement.strip()
            statement = ""


@functools.cache
def digest_of_tables(tables: str) -> str:
    """The digest of a schema, as ``Schema.older`` has it."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        connection.executescript(tables)
        return _schema_digest(connection)
    finally:
        connection.close()


def _schema_digest(connection: sqlite3.Connection) -> str:
    """Names a schema by its ``sqlite_schema`` texts; a trigger or view added later shows."""
    rows = connection.execute("SELECT type, name, sql FROM sqlite_schema").fetchall()
    definitions = sorted(f"{kind} {name} {sql}" for kind, name, sql in rows)
    return hashlib.sha256("\n".join(definitions).encode()).hexdigest()


# --- opening -----------------------------------------------------------------


def connect(path: Path, *, read_only: bool = False, schema: Schema = SCHEMA) -> sqlite3.Connection:
    """Opens an existing job log of this or an older version, and checks it.

    Args:
        path: where it lies.
        read_only: to be copied only. The copy is to be checked, by ``check_contents``: SQLite does
            not know the constraints of a file that it may not write.
        schema: the newest one.

    Raises:
        JobLogDamaged: it is not a job log, or fails a check.
        JobLogVersion: a newer sectool wrote it, or one that was never released.
    """
    mode = "ro" if read_only else "rw"
    _check_journal(path)
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
        _check_schema(connection, path, schema)
        if not read_only:
            check_contents(connection, path)
        configure(connection, read_only=read_only)
    except sqlite3.Error as error:
        connection.close()
        raise explain(error, path) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _check_journal(path: Path) -> None:
    """Holds that a journal names no further file: SQLite would read it, and remove it at last.

    Only a transaction over several files ends its journals so, and no run makes one.
    """
    journal = path.with_name(f"{path.name}-journal")
    with durable.explained(f"read {journal}", denied=UsageError):
        try:
            with open_regular_file(journal) as stream:
                stream.seek(max(0, os.fstat(stream.fileno()).st_size - len(_JOURNAL_MAGIC)))
                end = stream.read(len(_JOURNAL_MAGIC))
        except FileNotFoundError:
            return
    if end == _JOURNAL_MAGIC:
        raise damaged(path, "its journal is of a transaction over several files")


def version_of(connection: sqlite3.Connection) -> int:
    """Version of the schema a file was made with."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _check_schema(connection: sqlite3.Connection, path: Path, schema: Schema) -> None:
    # Before anything else is asked of a file that a stranger may have made.
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.execute("PRAGMA mmap_size = 0")
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID:
        raise damaged(path, "it is not a job log")
    version = version_of(connection)
    if version > schema.version:
        raise JobLogVersion(
            f"the job log {path} has schema version {version}; this sectool knows {schema.version}",
            hint="use the newer sectool that wrote it",
        )
    if 0 < version < min(schema.older, default=schema.version):
        raise JobLogVersion(
            f"the job log {path} was made by a development version of sectool (schema {version})",
            hint="begin another job, with another --job directory; or use the version that made it",
        )
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    with durable.explained(f"read the job log {path}", denied=UsageError):
        there = path.stat().st_size
    # Before the tables are read, which the number of pages takes: a part of them may be missing.
    if there % size:
        raise damaged(path, "its end is missing")
    # What is missing reads as zeros, which may be a page without rows.
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    if there < pages * size:
        raise damaged(path, "its end is missing")
    known = {**schema.older, schema.version: digest_of_tables(schema.tables)}
    # Not against what the file says of itself: who adds a trigger can change that, too. And
    # before anything is read through it: a check or a generated column is code.
    if _schema_digest(connection) != known.get(version):
        raise damaged(path, "its tables are not those of a job log")


def check_contents(connection: sqlite3.Connection, path: Path) -> None:
    """Holds that the pages of a job log are whole, and that each value is what it must be.

    Args:
        connection: to it, or to a copy in memory; one that may write.
        path: where it lies, for the error.

    Raises:
        JobLogDamaged: something is not; it is told what.
        sqlite3.Error: it cannot be read.
    """
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, ROW_LIMIT)
    # Of types and constraints as well: they may have been off when a row was written.
    (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if answer != "ok":
        raise _judged(path, str(answer))
    dangling = connection.execute("PRAGMA foreign_key_check").fetchone()
    if dangling is not None:
        raise damaged(path, f"a row of {dangling[0]} refers to none of {dangling[2]}")
    for place in odd_values(connection):
        raise damaged(path, f"{place} holds what cannot stand there")


def damaged(path: Path, reason: str) -> JobLogDamaged:
    """The error for a file that is not, or no longer, a job log."""
    return JobLogDamaged(
        f"the job log {path} is damaged: {reason}",
        hint="restore it from a backup; the checkpoints are readable without it",
    )


def configure(connection: sqlite3.Connection, *, read_only: bool) -> None:
    """Sets what SQLite does not keep in the file: how durable a commit is."""
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA temp_store = MEMORY")
    if read_only:
        return
    connection.execute("PRAGMA journal_mode = TRUNCATE")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = ON")


# --- migrating ---------------------------------------------------------------

_OLD = "old_"
"""Begins the names of the old tables while they are emptied into the new ones."""


def _keep_copy(connection: sqlite3.Connection, path: Path) -> None:
    """Copies an old job log durably beside itself, as ``job.db.v1`` for version 1.

    A copy that is there already is replaced: it is of a migration that did not
    come about, and a run of the older version may have written since.

    Raises:
        NoSpace: there is no room for the copy.
    """
    copy = path.with_name(f"{path.name}.v{version_of(connection)}")
    building = copy.with_name(f"{copy.name}.new")
    with durable.explained("copy the job log before its migration", denied=UsageError):
        durable.unlink(building, "joblog.migrate.sweep", missing_ok=True)
        with durable.new_file(building):
            pass
    # Not through files of our own: closing one would give up the locks that
    # SQLite holds on the log.
    target = sqlite3.connect(building, isolation_level=None)
    try:
        target.execute("PRAGMA journal_mode = OFF")
        target.execute("PRAGMA synchronous = OFF")
        connection.backup(target)
    finally:
        target.close()
    with durable.explained("copy the job log before its migration", denied=UsageError):
        durable.sync_files([building], "joblog.migrate.copy.sync")
        durable.rename(building, copy, "joblog.migrate.copy")
        durable.sync_directories([path.parent], "joblog.migrate.copy.directory")


def migrate(
    connection: sqlite3.Connection, path: Path, *, keep_copy: bool, schema: Schema = SCHEMA
) -> None:
    """Migrates an old job log, in a file or in memory, in one transaction; others stay as they are.

    Args:
        connection: to it.
        path: where it lies, for the error.
        keep_copy: whether the file is copied beside itself first.
        schema: the one that it is to have.

    Raises:
        NoSpace: there is no room for the copy; nothing was changed.
        JobLogDamaged: a value of it has not the form that it must have; nothing was changed.
        sqlite3.Error: nothing was changed.
    """
    if version_of(connection) >= schema.version:
        return
    if keep_copy:
        _keep_copy(connection, path)
    execute = connection.execute
    # Neither takes effect inside a transaction. The first would remove the rows
    # that refer to a table with it; without the second renaming a table would
    # rename it in the texts of others.
    execute("PRAGMA foreign_keys = OFF")
    execute("PRAGMA legacy_alter_table = ON")
    try:
        execute("BEGIN IMMEDIATE")
        _rebuild(connection, schema)
        check_contents(connection, path)
        crashpoint("joblog.migrate.commit.before")
        execute("COMMIT")
        crashpoint("joblog.migrate.commit.after")
    except BaseException:
        if connection.in_transaction:
            execute("ROLLBACK")
        raise
    finally:
        execute("PRAGMA legacy_alter_table = OFF")
        execute("PRAGMA foreign_keys = ON")


def _rebuild(connection: sqlite3.Connection, schema: Schema) -> None:
    old_tables = _set_aside(connection)
    make_tables(connection, schema)
    for table in _names(connection, "table"):
        if table in old_tables:
            _fill(connection, table, schema)
    for table in old_tables:
        connection.execute(f"DROP TABLE {_OLD}{table}")


def _set_aside(connection: sqlite3.Connection) -> list[str]:
    """Renames the old tables, and drops what stands on them."""
    for kind in ("view", "index"):
        for name in _names(connection, kind):
            connection.execute(f"DROP {kind} {name}")
    tables = _names(connection, "table")
    for table in tables:
        connection.execute(f"ALTER TABLE {table} RENAME TO {_OLD}{table}")
    return tables


def _names(connection: sqlite3.Connection, kind: str) -> list[str]:
    rows = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = ? AND sql IS NOT NULL"
        " AND substr(name, 1, ?) <> ? ORDER BY rowid",
        (kind, len(_OLD), _OLD),
    )
    return [str(name) for (name,) in rows]


def _fill(connection: sqlite3.Connection, table: str, schema: Schema) -> None:
    """Fills a new table from the old one of its name."""
    old = _columns(connection, f"{_OLD}{table}")
    new = _columns(connection, table)
    values = [name if name in old else schema.defaults[table, name] for name in new]
    connection.execute(
        f"INSERT INTO {table} ({', '.join(new)}) SELECT {', '.join(values)} FROM {_OLD}{table}"
    )


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    rows = connection.execute("SELECT name FROM pragma_table_info(?)", (table,))
    return [str(name) for (name,) in rows]
