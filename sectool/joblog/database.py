"""Makes, checks and configures the SQLite file of a job log.

A job directory may come from a stranger, so the file is checked before it is
believed (sqlite.org, "Defense Against The Dark Arts"): its marks, that its tables
are those of a schema that was released, its pages, and the form of each value.
That it is nobody else's to change, ``sectool.trust`` has told before.
"""

from __future__ import annotations

import functools
import os
import re
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path

from sectool import durable
from sectool.errors import (
    JobLogTooNew,
    Locked,
    NoSpace,
    RunError,
    SectoolError,
    UsageError,
)
from sectool.joblog.forms import check_forms, damaged
from sectool.joblog.schema import (
    APPLICATION_ID,
    OLDER_SCHEMAS,
    SCHEMA_DIGEST_NAME,
    SCHEMA_VERSION,
    TABLES,
    schema_digest,
)
from sectool.message import digest_stream, open_regular_file

BUSY_TIMEOUT = 10.0
"""Seconds to wait for a reader of the job log before giving up."""

_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")
"""Begins each header of a journal, and ends the name of a further file at its end."""

_FAILED_READ = re.compile(r"error code=(10|266)\b")
"""How a check tells of a page that the disk did not give (SQLITE_IOERR, SQLITE_IOERR_READ)."""

_SPACE_ERRORS = {"SQLITE_FULL"}
_DENIED_ERRORS = {"SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH"}
_DAMAGE_ERRORS = {"SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT"}


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


def make_tables(connection: sqlite3.Connection) -> None:
    """Makes all tables and marks the file as a job log of this version; inside a transaction."""
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    for statement in _statements(TABLES):
        connection.execute(statement)
    connection.execute("INSERT INTO job VALUES (?, ?)", (SCHEMA_DIGEST_NAME, _digest_of_tables()))


def _statements(script: str) -> Iterator[str]:
    """The statements of a script; ``executescript`` would end an open transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement.strip()
            statement = ""


@functools.cache
def _digest_of_tables() -> str:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        connection.executescript(TABLES)
        return schema_digest(_definitions(connection))
    finally:
        connection.close()


def _definitions(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute("SELECT type, name, sql FROM sqlite_schema").fetchall()
    return [f"{kind} {name} {sql}" for kind, name, sql in rows]


# --- opening -----------------------------------------------------------------


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Opens an existing job log of this or an older version, and checks it.

    Raises:
        JobLogDamaged: it is not a job log, or fails a check.
        JobLogTooNew: a newer sectool wrote it.
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
        _check_contents(connection, path)
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


def _check_contents(connection: sqlite3.Connection, path: Path) -> None:
    # Before anything else is asked of a file that a stranger may have made.
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.execute("PRAGMA mmap_size = 0")
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID:
        raise damaged(path, "it is not a job log")
    version = version_of(connection)
    if version > SCHEMA_VERSION:
        raise JobLogTooNew(
            f"the job log {path} has schema version {version}; this sectool knows {SCHEMA_VERSION}",
            hint="use the newer sectool that wrote it",
        )
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    # What is missing reads as zeros, which may be a page without rows.
    with durable.explained(f"read the job log {path}", denied=UsageError):
        if path.stat().st_size < pages * size:
            raise damaged(path, "its end is missing")
    released = {**OLDER_SCHEMAS, SCHEMA_VERSION: _digest_of_tables()}
    # Not against what the file says of itself: who adds a trigger can change that, too. And
    # before anything is read through it: a check or a generated column is code.
    if schema_digest(_definitions(connection)) != released.get(version):
        raise damaged(path, "its tables are not those of a job log")
    (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if answer != "ok":
        raise _judged(path, str(answer))
    if version == SCHEMA_VERSION:
        check_forms(connection, path)


def configure(connection: sqlite3.Connection, *, read_only: bool) -> None:
    """Sets what SQLite does not keep in the file: how durable a commit is."""
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA temp_store = MEMORY")
    if read_only:
        return
    connection.execute("PRAGMA journal_mode = TRUNCATE")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = ON")
