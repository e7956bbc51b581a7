"""What a stranger, or a bad disk, put into a job log ends with 13, or does no harm.

Each column of each table is given each odd value, past the constraints of the schema, and every
command is run that reads the log: the whole product with ``--all``, a fixed sample otherwise.
"""

from __future__ import annotations

import gc
import os
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sectool.joblog.schema import TABLES
from sectool.joblog.values import VALUES
from tests.support.copies import copy_as_moved

Fixture = Any

SAMPLE = 16
"""Edits of the normal run; the same each time."""

DEEP = "[" * 100_000

ODD: dict[str, object] = {
    "climbs out": "../../victim/letter",
    "absolute": "{victim}/letter",
    "as the file is called": "{victim}/letter\0.eml",
    "climbs out of a digest": "../../victim/" + "a" * 51,
    "NUL in a digest": "a" * 40 + "\0" + "b" * 23,
    "NUL behind a digest": "a" * 64 + "\0/../../victim",
    "line end behind a digest": "a" * 64 + "\n",
    "capitals": "A" * 64,
    "a digest": "a" * 64,
    "digits of another script": "\u0663" * 64,
    "nothing": "",
    "a blank": " ",
    "a dot": ".",
    "two dots": "..",
    "NUL": "\0",
    "escape": "\x1b[2J\r\n\u2028\u0085",
    "an unknown word": "unheard-of",
    "a word of another column": "lost",
    "minus one": -1,
    "nought": 0,
    "two": 2,
    "largest": 2**63 - 1,
    "smallest": -(2**63),
    "a fraction": 0.5,
    "infinite": float("inf"),
    "no value": None,
    "bytes": b"\x00\xff\xfe",
    "not UTF-8": ("text", b"\xff\xfe\xc3"),
    "half a surrogate pair": ("text", b"\xed\xa0\x80"),
    "overlong": ("long", 40 * 1024 * 1024),
    "many digits": "9" * 5000,
    "a day that is none": "2023-02-30T00:00:00+00:00",
    "a time without zone": "2023-01-01T00:00:00",
    "a time at the end of time": "9999-12-31T23:59:59-14:00",
    "broken JSON": "{",
    "no number": '{"to": NaN, "profile": NaN}',
    "another JSON": '[1, [2], {"a": null}]',
    "JSON of other types": '{"to": [1, {}], "profile": {"a": 1}, "certificates": 3, "keys": 1}',
    "deep JSON": DEEP,
}


def columns() -> list[tuple[str, str]]:
    """Every column of every table that is written."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(TABLES)
        return connection.execute(
            "SELECT tables.name, columns.name FROM sqlite_schema AS tables,"
            " pragma_table_info(tables.name) AS columns WHERE tables.type = 'table'"
        ).fetchall()


PLACES = [(*column, "") for column in columns() if column != ("job", "value")]
PLACES += [("job", "value", name) for name in sorted({*VALUES, "certificates"})]

PRODUCT = [(*place, odd) for place in PLACES for odd in ODD]

CODES = {0, 2, 3, 10, 11, 13, 14, 15, 16}
"""One of those that say what is the matter; never 1."""


@dataclass(frozen=True)
class Attacked:
    """A job of each stage with a row in every table, and somebody else's files."""

    job: Path
    maildir: Path
    victim: Path
    whole: Path
    """What job and mailbox were."""

    def put_back(self, *, everything: bool) -> None:
        """After an edit; where no command got beyond the log, only that is another."""
        if not everything:
            shutil.copy(self.whole / "job" / "job.db", self.job / "job.db")
            return
        for place in (self.job, self.maildir):
            shutil.rmtree(place)
            shutil.copytree(self.whole / place.name, place)

    def commands(self, sample: Fixture) -> Iterator[list[object]]:
        decrypt = ["decrypt", self.maildir, *sample.history, "--job", self.job, "--workers=0"]
        yield ["status", self.job, "--json"]
        page, table = (self.whole.parent / name for name in ("page.html", "table.csv"))
        yield ["report", self.job, "--html", page, "--messages", table]
        yield ["verify", self.job, "--workers=0"]
        yield ["purge", self.job, "--abandon", "--workers=0"]
        yield ["rollback", self.job, "--workers=0"]
        yield ["encrypt", self.maildir, "--job", self.job, "--to", sample.new, "--workers=0"]
        yield decrypt
        yield ["status", self.job]


ROWS = """
INSERT INTO original SELECT message, '{a}' FROM message WHERE state = 'checkpointed' LIMIT 1;
INSERT INTO replacement SELECT message, 'encrypt', 'intended', folder, key, '{a}', folder,
    '1700000000.M1P1Q1R0123456789abcdef.host,S=100', NULL, NULL, '{b}', 100,
    '{b}', 'seen', NULL, 'maildir' FROM message
    WHERE state = 'checkpointed' ORDER BY message DESC LIMIT 1;
INSERT INTO replacement_part SELECT message, '', '{a}' FROM replacement;
INSERT INTO abandoned SELECT 1, message, 'rewrap', 1, folder, key, '{a}', folder,
    '1700000000.M1P1Q1R0123456789abcdef.host,S=100', NULL, NULL, '{b}', 100,
    '{b}', 'seen', NULL, 'maildir' FROM message
    WHERE state = 'checkpointed' ORDER BY message DESC LIMIT 1;
INSERT INTO abandoned_part VALUES (1, '', '{a}');
INSERT INTO purging SELECT min(message) FROM message;
INSERT INTO restarted SELECT min(message) FROM message;
INSERT INTO tombstone VALUES ('checkpoint', '{a}', 'intended'), ('original', '{b}', 'intended');
INSERT INTO acknowledgement SELECT original_identity, '' FROM message;
INSERT INTO reader SELECT content_digest, '{a}' FROM checkpoint;
INSERT INTO binding VALUES ('CN=Old', '01', '', '{a}', 1704067200000000);
INSERT INTO give_up SELECT original_identity, '{a}', 'why', 'who', 1704067200000000
    FROM message;
INSERT INTO layer SELECT message, path, '1', '{a}', 'it stays', 1 FROM part;
INSERT INTO layer_recipient SELECT message, path, '1', (SELECT min(recipient) FROM recipient)
    FROM part;
INSERT INTO job VALUES ('certificates', '{{}}'), ('sealed-to', ''),
    ('old-key-names', '{{"{a}": [["CN=Old", "01", ""]]}}'),
    ('old-keys', '[{{"key": ["CN=Old", "01", ""], "file": "old.p12",
    "public_key": "{a}", "needed": 1, "unclear": 0, "given_up": [], "mailbox": "maildir:/x",
    "messages": 1, "folders": 1, "at": "2024-01-01T00:00:00+00:00"}}]')
    ON CONFLICT DO NOTHING;
INSERT INTO phase VALUES ('rewrap', 'begun', '') ON CONFLICT DO NOTHING;
DELETE FROM phase WHERE name = 'rewrap';
"""


@pytest.fixture(scope="module")
def attacked(sample: Fixture, tmp_path_factory: pytest.TempPathFactory) -> Attacked:
    place = tmp_path_factory.mktemp("attacked")
    shutil.copytree(sample.small, place / "Maildir")
    copy_as_moved(sample.job, place / "job")
    (place / "victim").mkdir()
    (place / "victim" / "letter").write_text("dear diary")
    (place / "victim" / "letter.eml").write_text("dear diary")
    with closing(sqlite3.connect(place / "job" / "job.db")) as connection, connection:
        connection.executescript(ROWS.format(a="a" * 64, b="b" * 64))
        for table, _ in columns():
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0], table
    whole = tmp_path_factory.mktemp("whole")
    for name in ("job", "Maildir"):
        shutil.copytree(place / name, whole / name)
    return Attacked(place / "job", place / "Maildir", place / "victim", whole)


def edit(attacked: Attacked, table: str, column: str, name: str, odd: str) -> bool:
    """Puts an odd value into a column, past every constraint; False where SQLite cannot hold it."""
    value = ODD[odd]
    if isinstance(value, str):
        value = value.replace("{victim}", str(attacked.victim))
    expression = "?"
    if isinstance(value, tuple):
        kind, value = value
        expression = "CAST(? AS TEXT)" if kind == "text" else "replace(hex(zeroblob(?)), '00', 'x')"
    log = attacked.job / "job.db"
    # What a command of this process met last may still hold its connection.
    gc.collect()
    with closing(sqlite3.connect(log)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        # Without the word STRICT and what must be unique any value goes in.
        connection.execute("PRAGMA writable_schema = ON")
        before = connection.execute("SELECT rowid, sql FROM sqlite_schema").fetchall()
        connection.execute(
            "UPDATE sqlite_schema SET sql = replace(replace(replace(sql, 'STRICT, ', ''),"
            " ') STRICT', ')'), ' NOT NULL', '')"
        )
        connection.commit()
    where = f" WHERE name = '{name}'" if name else ""
    limited = f" WHERE rowid = (SELECT max(rowid) FROM {table})"
    with closing(sqlite3.connect(log)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        try:
            connection.execute(f"UPDATE {table} SET {column} = {expression}{where}", (value,))
        except sqlite3.Error:
            try:
                connection.execute(f"UPDATE {table} SET {column} = {expression}{limited}", (value,))
            except sqlite3.Error:
                connection.rollback()
                return False
        connection.execute("PRAGMA writable_schema = ON")
        connection.executemany(
            "UPDATE sqlite_schema SET sql = ? WHERE rowid = ?", [(sql, row) for row, sql in before]
        )
        connection.commit()
    return True


def everything(place: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}


def try_out(attacked: Attacked, run: Fixture, sample: Fixture, place: tuple[str, ...]) -> set[int]:
    """The codes of all commands on a log with one odd value; of one that is told, of the first."""
    before = everything(attacked.victim)
    codes: set[int] = set()
    try:
        if not edit(attacked, *place):
            return {13}
        for words in attacked.commands(sample):
            answer = run(*words)
            assert "internal error in sectool" not in answer.err, (place, words)
            assert "Traceback" not in answer.err
            assert answer.code in CODES, (place, words, answer.err)
            assert everything(attacked.victim) == before, (place, words)
            codes.add(answer.code)
            if codes == {13}:
                break
    finally:
        attacked.put_back(everything=codes != {13})
    return codes


@pytest.mark.parametrize("part", range(4))
def test_an_odd_value_is_a_damaged_log_or_does_no_harm(
    part: int, attacked: Attacked, run: Fixture, sample: Fixture
) -> None:
    for place in random.Random(2026).sample(PRODUCT, SAMPLE)[part::4]:
        try_out(attacked, run, sample, place)


FOUND = [
    ("checkpoint", "content_type", "", "a dot"),
    ("checkpoint", "written", "", "a time at the end of time"),
    ("message", "reason", "", "not UTF-8"),
    ("give_up", "by_whom", "", "not UTF-8"),
]
"""What once ended a command with an internal error, or with one that named no file."""


@pytest.mark.parametrize("place", FOUND, ids=".".join)
def test_a_value_that_no_command_can_read_is_damage(
    place: tuple[str, str, str, str], attacked: Attacked, run: Fixture, sample: Fixture
) -> None:
    assert try_out(attacked, run, sample, place) == {13}


@pytest.mark.all_only
@pytest.mark.parametrize("place", PLACES, ids=".".join)
def test_no_odd_value_in_any_column_does_harm(
    place: tuple[str, str, str], attacked: Attacked, run: Fixture, sample: Fixture
) -> None:
    for odd in ODD:
        try_out(attacked, run, sample, (*place, odd))


NAMES = [
    ("tombstone", "digest"),
    ("checkpoint", "content_digest"),
    ("original", "digest"),
    ("part", "content_digest"),
    ("layer", "content_digest"),
]
"""What becomes the name of a file."""


@pytest.mark.parametrize("odd", ["climbs out", "absolute", "climbs out of a digest"])
@pytest.mark.parametrize(("table", "column"), NAMES)
def test_a_digest_that_climbs_out_is_told_and_removes_nothing(
    table: str,
    column: str,
    odd: str,
    attacked: Attacked,
    run: Fixture,
    sample: Fixture,
) -> None:
    assert try_out(attacked, run, sample, (table, column, "", odd)) == {13}


# --- tables that are none of ours ------------------------------------------------------------

SCHEMAS: dict[str, str] = {
    "a trigger": "CREATE TRIGGER t AFTER UPDATE ON job BEGIN DELETE FROM message; END",
    "a view": "CREATE VIEW v AS SELECT * FROM message",
    "a view in the place of a table": "ALTER TABLE tombstone RENAME TO t;"
    " CREATE VIEW tombstone AS SELECT 'checkpoint' AS kind, '../../victim/letter' AS digest,"
    " 'intended' AS step",
    "a table is missing": "DROP TABLE tombstone",
    "a table more": "CREATE TABLE more (x)",
    "a column more": "ALTER TABLE message ADD COLUMN more TEXT",
    "a generated column": "ALTER TABLE message ADD COLUMN more TEXT"
    " AS (hex(zeroblob(1000000))) VIRTUAL",
    "a table without its types": "DROP TABLE purging; CREATE TABLE purging (message)",
    "an index over an expression": "CREATE INDEX i ON message (hex(zeroblob(size)))",
    "an index is missing": "DROP INDEX message_by_state",
    "virtual": "CREATE VIRTUAL TABLE more USING fts5(x)",
    "statistics": "ANALYZE",
    "a row that refers to none": "INSERT INTO purging VALUES (4711)",
    "a version that never was": "PRAGMA user_version = -1",
    "another program's": "PRAGMA application_id = 1",
    "another text encoding": "UTF-16",
}


@pytest.mark.parametrize("what", SCHEMAS)
def test_a_log_with_other_tables_is_damaged(
    what: str, attacked: Attacked, run: Fixture, sample: Fixture
) -> None:
    log = attacked.job / "job.db"
    before = everything(attacked.victim)
    try:
        if what == "another text encoding":
            written_as_utf_16(log)
        else:
            with closing(sqlite3.connect(log)) as connection:
                connection.executescript(SCHEMAS[what])
        for words in attacked.commands(sample):
            answer = run(*words)
            assert (answer.code, answer.is_one_error()) == (13, True), (words, answer.err)
        assert everything(attacked.victim) == before
    finally:
        attacked.put_back(everything=True)


def written_as_utf_16(log: Path) -> None:
    with closing(sqlite3.connect(log)) as connection:
        script = "\n".join(connection.iterdump())
        marks = [
            f"PRAGMA {name} = {connection.execute(f'PRAGMA {name}').fetchone()[0]}"
            for name in ("application_id", "user_version")
        ]
    log.unlink()
    with closing(sqlite3.connect(log)) as connection:
        connection.execute("PRAGMA encoding = 'UTF-16'")
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.executescript(script)
        for mark in marks:
            connection.execute(mark)
    log.chmod(0o600)


@pytest.mark.parametrize(
    "pragma",
    ["journal_mode = WAL", "page_size = 65536", "auto_vacuum = FULL", "default_cache_size = 1"],
)
def test_what_is_set_in_the_file_changes_nothing(
    pragma: str, attacked: Attacked, run: Fixture, sample: Fixture
) -> None:
    log = attacked.job / "job.db"
    with closing(sqlite3.connect(log)) as connection:
        connection.executescript(
            "DELETE FROM replacement_part; DELETE FROM replacement; DELETE FROM tombstone;"
        )
        connection.execute(f"PRAGMA {pragma}")
        connection.execute("VACUUM")
    try:
        answers = {words[0]: run(*words).code for words in attacked.commands(sample)}
        assert answers["status"] == 0
        assert set(answers.values()) <= {0, 2, 3}, answers
        with closing(sqlite3.connect(log)) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert not log.with_name("job.db-wal").exists()
    finally:
        attacked.put_back(everything=True)


def test_a_job_that_is_called_as_a_way_elsewhere_is_damaged(
    attacked: Attacked, run: Fixture, sample: Fixture
) -> None:
    """Its name begins those of the new messages, and of what is swept away among them."""
    lure = attacked.maildir / "tmp" / "sectool.x"
    before = everything(attacked.victim)
    way = f"x/../../../{attacked.victim.name}/letter"
    try:
        lure.mkdir()
        for name in (way, "*", "x/..", "[a-f0-9]"):
            with closing(sqlite3.connect(attacked.job / "job.db")) as connection, connection:
                connection.execute("UPDATE job SET value = ? WHERE name = 'job'", (name,))
            for words in attacked.commands(sample):
                assert run(*words).code == 13, (name, words)
                assert everything(attacked.victim) == before, (name, words)
    finally:
        attacked.put_back(everything=True)


def write_hot_journal(log: Path, further: Path) -> None:
    """A journal as an interrupted transaction over several files leaves it (sqlite.org, "Database
    File Format", section 3): at its end stands the file that names all the others.
    """
    raw = log.read_bytes()
    size, nonce, magic = int.from_bytes(raw[16:18]), 1234, bytes.fromhex("d9d505f920a163d7")
    numbers = (1, nonce, len(raw) // size, 512, size)
    begin = (magic + b"".join(number.to_bytes(4) for number in numbers)).ljust(512, b"\0")
    check = (nonce + sum(raw[size - 200 : 0 : -200])) % 2**32
    record = (1).to_bytes(4) + raw[:size] + check.to_bytes(4)
    name = os.fsencode(further)
    end = (2**30 // size + 1).to_bytes(4) + name + len(name).to_bytes(4) + sum(name).to_bytes(4)
    journal = log.with_name(f"{log.name}-journal")
    journal.write_bytes(begin + record + end + magic)
    journal.chmod(0o600)


def test_what_a_journal_names_is_not_removed(
    attacked: Attacked, run: Fixture, sample: Fixture
) -> None:
    """SQLite takes what it names for a list of journals, and removes that in the end."""
    before = everything(attacked.victim)
    try:
        for words in attacked.commands(sample):
            for option in ((), () if words[0] in {"status", "report"} else ("--dry-run",)):
                write_hot_journal(attacked.job / "job.db", attacked.victim / "letter")
                answer = run(*words, *option)
                assert everything(attacked.victim) == before, words
                assert (answer.code, answer.is_one_error()) == (13, True), (words, answer.err)
    finally:
        attacked.put_back(everything=True)
        (attacked.job / "job.db-journal").unlink(missing_ok=True)
