"""A job log of this schema becomes one of a made-up next one, whole or not at all."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sectool.crashpoints import install
from sectool.errors import JobLogDamaged, JobLogVersion
from sectool.joblog import JobLog
from sectool.joblog.database import digest_of_tables
from sectool.joblog.schema import SCHEMA, Schema
from tests.joblog.test_job_log import counts, examined
from tests.support import crash

NEXT = Schema(
    SCHEMA.version + 1,
    SCHEMA.tables.replace(
        "\nCREATE TABLE step (",
        "\nCREATE TABLE shelf (shelf INTEGER PRIMARY KEY) STRICT;\n\nCREATE TABLE step (",
    ).replace("\n    presence TEXT", "\n    colour TEXT NOT NULL,\n    presence TEXT"),
    older={SCHEMA.version: digest_of_tables(SCHEMA.tables)},
    defaults={("message", "colour"): "iif(state = 'clear', 'white', 'black')"},
)
"""Has a table and a column more."""


def rows(log: Path) -> list[str]:
    """Everything in a job log, as SQL."""
    with closing(sqlite3.connect(log)) as connection:
        return list(connection.iterdump())


def tables(log: Path) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(log)) as connection:
        return sorted(connection.execute("SELECT type, name, sql FROM sqlite_schema"))


def version(log: Path) -> int:
    with closing(sqlite3.connect(log)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "job.db"
    with JobLog.create(path) as log:
        log.messages.begin_walk()
        with log.group():
            log.messages.record(examined())
    return path


@pytest.fixture
def copy(path: Path) -> Path:
    return path.with_name(f"job.db.v{SCHEMA.version}")


def test_a_migrated_log_has_its_rows_and_exactly_the_tables_of_a_new_one(
    path: Path, tmp_path: Path
) -> None:
    with JobLog.open(path) as log:
        before = counts(log)
    with JobLog.open(path, NEXT) as log:
        assert counts(log) == before
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT colour FROM message").fetchall() == [("black",)]
    with closing(sqlite3.connect(tmp_path / "new.db")) as connection:
        connection.executescript(NEXT.tables)
    assert tables(path) == tables(tmp_path / "new.db")


def test_the_old_log_is_kept_beside_the_new_one(path: Path, copy: Path) -> None:
    before = rows(path)
    JobLog.open(path, NEXT).close()
    assert rows(copy) == before
    assert copy.stat().st_mode & 0o777 == 0o600
    assert version(path) == NEXT.version


def test_a_copy_of_a_migration_that_did_not_come_about_is_replaced(path: Path, copy: Path) -> None:
    before = rows(path)
    copy.write_bytes(b"older")
    copy.with_name(f"{copy.name}.new").write_bytes(b"half")
    JobLog.open(path, NEXT).close()
    assert rows(copy) == before
    assert not copy.with_name(f"{copy.name}.new").exists()


def test_a_rehearsal_migrates_its_copy_and_writes_nothing(path: Path) -> None:
    before = {left: left.read_bytes() for left in path.parent.iterdir()}
    with JobLog.rehearsal(path, NEXT) as log:
        assert sum(counts(log).values()) == 1
    assert {left: left.read_bytes() for left in path.parent.iterdir()} == before


# Budget: 1 second.
def test_a_migration_killed_at_every_point_is_made_by_the_next_run(path: Path, copy: Path) -> None:
    before = path.read_bytes()
    names: list[str] = []
    former = install(names.append)
    try:
        JobLog.open(path, NEXT).close()
    finally:
        install(former)
    after = rows(path)
    points = [name for name in names if ".migrate." in name]
    assert len(points) >= 8
    for point in points:
        for left in path.parent.iterdir():
            left.unlink()
        path.write_bytes(before)
        path.chmod(0o600)
        assert crash.in_child(lambda: JobLog.open(path, NEXT).close(), f"crash@{point}") == -9
        JobLog.open(path, NEXT).close()
        assert rows(path) == after, point
        names_left = sorted(left.name for left in path.parent.iterdir())
        assert names_left in (
            ["job.db", "job.db-journal", copy.name],
            ["job.db", copy.name],
        ), point


def test_an_old_log_that_somebody_gave_a_trigger_is_refused_as_damaged(
    path: Path, copy: Path
) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TRIGGER t AFTER UPDATE ON message BEGIN DELETE FROM part; END")
    with pytest.raises(JobLogDamaged):
        JobLog.open(path, NEXT)
    assert not copy.exists()


def test_an_old_log_whose_rows_break_a_rule_is_damaged_and_stays_as_it_is(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO original VALUES (999, ?)", ("ab" * 32,))
    before = path.read_bytes()
    with pytest.raises(JobLogDamaged, match="refers to none"):
        JobLog.open(path, NEXT)
    assert path.read_bytes() == before


@pytest.mark.parametrize("development", range(1, SCHEMA.version))
def test_a_log_of_a_development_version_is_refused_in_one_line(
    development: int, path: Path
) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {development}")
    before = path.read_bytes()
    with pytest.raises(JobLogVersion, match="development version"):
        JobLog.open(path)
    assert path.read_bytes() == before
