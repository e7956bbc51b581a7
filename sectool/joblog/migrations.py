"""Brings a job log of an older version to the present one.

The file is copied beside itself first, durably. Then every table is made anew
as ``schema.TABLES`` has it and filled from the old one, and the version, the
schema's digest and the record of the migration are written, in one
transaction: killed at any point, the log is of the one version or the other.

A new column is one line in ``schema.TABLES`` and one in ``DEFAULTS`` here; a
new table is none.
"""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from sectool import durable
from sectool.crashpoints import crashpoint
from sectool.errors import UsageError
from sectool.joblog.database import make_tables, version_of
from sectool.joblog.forms import check_forms
from sectool.joblog.schema import SCHEMA_DIGEST_NAME, SCHEMA_VERSION

DEFAULTS: dict[tuple[str, str], str] = {
    ("checkpoint", "storage"): "'plain'",
    # No earlier than when the job began.
    ("checkpoint", "written"): "coalesce((SELECT min(at) FROM old_step), '')",
    ("checkpoint", "header_sha256"): "NULL",
    ("part", "integrity"): "coalesce((SELECT checkpoint.integrity FROM old_checkpoint AS checkpoint"
    " WHERE checkpoint.content_digest = old_part.content_digest), '')",
    ("part", "signer"): "''",
    ("part", "voids_signature"): "0",
    ("part", "opens_to"): "''",
    ("part", "placement"): "''",
    ("layer", "hides_recipients"): "substr(path, -1) = '?'",
    ("replacement", "new_opens_to"): "'{}'",
    ("replacement", "intended_folder"): "new_folder",
    ("replacement", "intended_where"): "new_key",
}
"""SQL for what a row of an older log has in a column that it lacks, by table and column."""

_RENAMED = {"sealed": "under-signature", "new": "not-in-job"}
"""States that had another word in older logs."""

_HOLD_STATES = frozenset({("message", "state"), ("acknowledgement", "state"), ("step", "name")})
"""Columns with the words of states."""

_OLD = "old_"
"""Begins the names of the old tables while they are emptied into the new ones."""


def is_outdated(connection: sqlite3.Connection) -> bool:
    """Whether a job log must be migrated before it is used."""
    return version_of(connection) < SCHEMA_VERSION


def keep_copy(connection: sqlite3.Connection, path: Path) -> None:
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


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Migrates an old job log, in a file or in memory, in one transaction.

    Args:
        connection: to it.
        path: where it lies, for the error.

    Raises:
        JobLogDamaged: a value of it has not the form that it must have; nothing was changed.
        sqlite3.Error: nothing was changed.
    """
    execute = connection.execute
    # Neither takes effect inside a transaction. The first would remove the rows
    # that refer to a table with it; without the second renaming a table would
    # rename it in the texts of others.
    execute("PRAGMA foreign_keys = OFF")
    execute("PRAGMA legacy_alter_table = ON")
    try:
        execute("BEGIN IMMEDIATE")
        _rebuild(connection)
        check_forms(connection, path)
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


def _rebuild(connection: sqlite3.Connection) -> None:
    from_version = version_of(connection)
    old_tables = _set_aside(connection)
    make_tables(connection)
    for table in _names(connection, "table"):
        if table in old_tables:
            _fill(connection, table)
    for table in old_tables:
        connection.execute(f"DROP TABLE {_OLD}{table}")
    connection.execute(
        "INSERT INTO migration VALUES (?, ?, ?)",
        (SCHEMA_VERSION, from_version, datetime.now(UTC).isoformat(timespec="seconds")),
    )


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


def _fill(connection: sqlite3.Connection, table: str) -> None:
    """Fills a new table from the old one of its name."""
    old = _columns(connection, f"{_OLD}{table}")
    new = _columns(connection, table)
    values = [_value(table, name) if name in old else DEFAULTS[table, name] for name in new]
    kept = ""
    if table == "job":
        kept = f" WHERE name <> '{SCHEMA_DIGEST_NAME}'"
    connection.execute(
        f"INSERT INTO {table} ({', '.join(new)})"
        f" SELECT {', '.join(values)} FROM {_OLD}{table}{kept}"
    )


def _value(table: str, column: str) -> str:
    """SQL for what a column that the older log has, too, holds now."""
    if (table, column) not in _HOLD_STATES:
        return column
    words = " ".join(f"WHEN '{old}' THEN '{new}'" for old, new in _RENAMED.items())
    return f"CASE {column} {words} ELSE {column} END"


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    rows = connection.execute("SELECT name FROM pragma_table_info(?)", (table,))
    return [str(name) for (name,) in rows]
