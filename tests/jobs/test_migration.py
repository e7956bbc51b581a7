"""Jobs that older versions of the job log left half done end with this version as they should."""

from __future__ import annotations

import shutil
import sqlite3
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Unpack

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from sectool import jobs
from sectool.errors import JobLogDamaged, UsageError
from sectool.joblog import JobLog
from sectool.joblog.schema import SCHEMA_VERSION
from sectool.keys import KeySpecification
from sectool.outcome import State
from sectool.summary import Summary
from tests.support import checker, crash
from tests.support.checker import Key
from tests.support.specifications import Fields, fitting, specification

VECTORS = Path(__file__).parent / "vectors"
VERSIONS = ("v1", "v2")
STATES = ("mid-decrypt", "decrypted", "announced", "placed", "purged")
REENCRYPTED = {State.REENCRYPTED: 5, State.CLEAR: 1, State.MISSING_KEY: 1, State.MALFORMED: 1}
DECRYPTED = {State.CHECKPOINTED: 5, State.CLEAR: 1, State.MISSING_KEY: 1, State.MALFORMED: 1}

Place = Callable[[str], "OldJob"]


def key(name: str) -> Key:
    return Key(VECTORS / "keys" / f"{name}.crt", VECTORS / "keys" / f"{name}.key")


def history(name: str) -> KeySpecification:
    return KeySpecification((key(name).certificate, key(name).private_key))


def accepted(name: str) -> frozenset[str]:
    """The keys of the jobs are certified as an authority's, without an address."""
    certificate = x509.load_pem_x509_certificate(key(name).certificate.read_bytes())
    fingerprint = certificate.fingerprint(SHA256()).hex()
    return frozenset({f"{fingerprint}:authority", f"{fingerprint}:address"})


class OldJob:
    """A job of an older version and its mailbox, unpacked."""

    def __init__(self, directory: Path, version: str) -> None:
        self.old_version = version
        self.directory = directory
        self.maildir = directory / "Maildir"
        self.job = directory / "job"
        self.log = self.job / "job.db"
        with closing(sqlite3.connect(self.log)) as connection, connection:
            connection.execute(
                "UPDATE job SET value = ? WHERE name = 'mailbox'", (f"maildir:{self.maildir}",)
            )

    def specification(self, operation: str, /, **changes: Unpack[Fields]) -> jobs.Specification:
        usual: Fields = {
            "job": self.job,
            "keys": history("old"),
            "new_certificates": (key("new").certificate,),
            "accept_fingerprints": accepted("new") | accepted("stranger"),
            "workers": 0,
        }
        mailbox = self.maildir if operation == "decrypt" else None
        return specification(operation, mailbox, **fitting(operation, usual, changes))

    def run(self, operation: str, /, **changes: Unpack[Fields]) -> dict[State, int]:
        return counts(jobs.run(self.specification(operation, **changes)))

    def version(self) -> int:
        with closing(sqlite3.connect(self.log)) as connection:
            return int(connection.execute("PRAGMA user_version").fetchone()[0])

    def files(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.job)): path.read_bytes()
            for path in self.job.rglob("*")
            if path.is_file()
        }


def counts(summary: Summary) -> dict[State, int]:
    return {state: count for state, count in summary.counts.items() if count}


def rows(log: Path) -> list[str]:
    """Everything in a job log, as SQL."""
    with closing(sqlite3.connect(log)) as connection:
        return list(connection.iterdump())


@pytest.fixture(params=VERSIONS)
def unpack(tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    version: str = request.param

    def unpack(state: str) -> OldJob:
        directory = tmp_path / state
        shutil.rmtree(directory, ignore_errors=True)
        with tarfile.open(VECTORS / version / f"{state}.tar.xz") as archive:
            archive.extractall(directory, filter="tar")
        return OldJob(directory, version)

    return unpack


def test_a_job_killed_while_it_decrypted_ends_decrypting_and_encrypts(unpack: Place) -> None:
    job = unpack("mid-decrypt")
    with pytest.raises(UsageError, match="not finished"):
        job.run("encrypt")
    assert job.run("decrypt") == DECRYPTED
    assert job.run("encrypt") == REENCRYPTED


@pytest.mark.parametrize("state", ["decrypted", "announced", "placed"])
def test_a_job_killed_while_it_encrypted_ends_with_each_message_once(
    unpack: Place, state: str
) -> None:
    whole = unpack("decrypted")
    wanted = checker.meanings(whole.maildir, [key("old")])
    job = unpack(state)
    assert job.run("encrypt") == REENCRYPTED
    assert checker.meanings(job.maildir, [key("new")]) == wanted
    verified = {State.VERIFIED: 5, **{s: n for s, n in REENCRYPTED.items() if n == 1}}
    assert job.run("verify", verify_keys=history("new")) == verified


@pytest.mark.parametrize("state", ["announced", "placed"])
def test_a_job_killed_while_it_encrypted_can_be_rolled_back(unpack: Place, state: str) -> None:
    wanted = checker.meanings(unpack("decrypted").maildir, [])
    job = unpack(state)
    job.run("encrypt")
    job.run("rollback")
    assert checker.meanings(job.maildir, []) == wanted


def test_a_purged_job_still_says_purged(unpack: Place) -> None:
    job = unpack("purged")
    wanted = {State.PURGED: 5, **{s: n for s, n in REENCRYPTED.items() if n == 1}}
    assert job.run("verify", verify_keys=history("new")) == wanted


def test_another_recipient_than_the_old_log_fixed_is_refused(unpack: Place) -> None:
    job = unpack("placed")
    with pytest.raises(UsageError, match="other recipients"):
        job.run("encrypt", new_certificates=(key("stranger").certificate,))


@pytest.mark.parametrize("state", STATES)
def test_looking_and_rehearsing_write_nothing_into_an_old_job(unpack: Place, state: str) -> None:
    job = unpack(state)
    files = job.files()
    jobs.status(job.job)
    job.run("decrypt", dry_run=True)
    assert job.files() == files


def test_status_tells_the_same_of_a_job_before_and_after_its_migration(unpack: Place) -> None:
    job = unpack("placed")
    before = jobs.status(job.job)
    JobLog.open(job.log).close()
    assert job.version() == SCHEMA_VERSION
    assert jobs.status(job.job) == before


def test_the_old_log_is_kept_beside_the_new_one(unpack: Place) -> None:
    job = unpack("decrypted")
    before = rows(job.log)
    job.run("verify")
    copy = job.job / f"job.db.{job.old_version}"
    assert rows(copy) == before
    assert copy.stat().st_mode & 0o777 == 0o600


def test_a_copy_of_a_migration_that_did_not_come_about_is_replaced(unpack: Place) -> None:
    job = unpack("decrypted")
    before = rows(job.log)
    (job.job / f"job.db.{job.old_version}").write_bytes(b"older")
    (job.job / f"job.db.{job.old_version}.new").write_bytes(b"half")
    JobLog.open(job.log).close()
    assert rows(job.job / f"job.db.{job.old_version}") == before
    assert not (job.job / f"job.db.{job.old_version}.new").exists()


@pytest.mark.damages_logs
def test_an_old_log_that_somebody_gave_a_trigger_is_refused_as_damaged(unpack: Place) -> None:
    job = unpack("decrypted")
    with closing(sqlite3.connect(job.log)) as connection:
        connection.execute("CREATE TRIGGER t AFTER UPDATE ON message BEGIN DELETE FROM part; END")
    with pytest.raises(JobLogDamaged):
        job.run("encrypt")
    with pytest.raises(JobLogDamaged):
        jobs.status(job.job)
    assert not (job.job / f"job.db.{job.old_version}").exists()


@pytest.mark.damages_logs
def test_an_old_log_whose_rows_break_a_rule_is_damaged_and_stays_as_it_is(unpack: Place) -> None:
    job = unpack("decrypted")
    with closing(sqlite3.connect(job.log)) as connection, connection:
        connection.execute("INSERT INTO original VALUES (999, 'ab', 1, '', '')")
    before = job.log.read_bytes()
    with pytest.raises(JobLogDamaged, match="refers to none"):
        job.run("encrypt")
    assert job.log.read_bytes() == before


# Budget: 3 seconds.
def test_a_migration_killed_at_every_point_is_made_by_the_next_run(
    unpack: Place, whole: bool
) -> None:
    job = unpack("placed")
    trial = crash.Trial(job.directory, whole=whole)

    def migrating(names: list[str]) -> list[int]:
        found = [number for number, name in enumerate(names, 1) if ".migrate." in name]
        assert len(found) >= 8
        return found

    for where in trial.kills(job.specification("encrypt"), migrating):
        assert counts(jobs.status(job.job))[State.REENCRYPTED] == 2
        assert job.run("encrypt") == REENCRYPTED, where
        assert sorted(path.name for path in job.job.glob("job.db*")) == [
            "job.db",
            "job.db-journal",
            f"job.db.{job.old_version}",
        ], where


def test_a_migrated_log_has_exactly_the_tables_of_a_new_one(unpack: Place) -> None:
    def tables(path: Path) -> list[tuple[str, ...]]:
        with closing(sqlite3.connect(path)) as connection:
            return sorted(connection.execute("SELECT type, name, sql FROM sqlite_schema"))

    job = unpack("purged")
    JobLog.open(job.log).close()
    new = job.job / "new.db"
    JobLog.create(new).close()
    assert tables(job.log) == tables(new)


def test_checkpoints_of_older_versions_are_plain_and_not_mixed_with_sealed_ones(
    unpack: Place,
) -> None:
    job = unpack("mid-decrypt")
    with pytest.raises(UsageError, match="plain"):
        job.run("decrypt", seal_to=(key("new").certificate,))
    assert job.run("decrypt") == DECRYPTED
    assert not list(job.job.rglob("*.p7m"))
