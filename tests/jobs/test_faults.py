"""Faults of disks and of people: nothing is lost, nothing is hidden, the same command resumes.

F14, F16, F20-F22, F25, F27 and F39, some of them with chattr where that is there.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest

from sectool import jobs
from sectool.checkpoint import OriginalStore, OriginalToKeep
from sectool.errors import Interrupted, MessageVanished, NotThisMailbox, UsageError
from sectool.jobs.session.job import look_at_job
from sectool.message import BytesContent, open_regular_file
from sectool.outcome import MessageDigest, State
from sectool.summary import Summary
from tests.support import checker
from tests.support.faults import FaultyProcess, fault
from tests.support.mailboxes import CLEAR, Keys, Mail, encrypted, fill
from tests.support.specifications import Specify, fitting

ENCRYPTED = {
    State.REENCRYPTED: 5,
    State.CLEAR: 1,
    State.MISSING_KEY: 1,
    State.MALFORMED: 1,
}
EXCHANGED = {**ENCRYPTED, State.REWRAPPED: 3, State.REENCRYPTED: 2}


def counts(summary: Summary) -> dict[State, int]:
    assert sum(summary.counts.values()) == summary.messages
    return {state: count for state, count in summary.counts.items() if count}


def first_message(maildir: Path) -> Path:
    return next((maildir / "cur").glob("1300000001*"))


# --- the job log ------------------------------------------------------------------------


def die_inside_a_commit(log: Path) -> None:
    """A process writes half a transaction into the file and is killed."""
    child = os.fork()
    if not child:
        try:
            connection = sqlite3.connect(log, isolation_level=None)
            connection.execute("PRAGMA journal_mode = TRUNCATE")
            connection.execute("PRAGMA cache_size = 1")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("UPDATE message SET state = 'clear'")
            rows = [(number, 0, 1, "nonsense" * 20) for number in range(10_000, 12_000)]
            connection.executemany("INSERT INTO step VALUES (?, ?, ?, ?)", rows)
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)  # else the tests would go on in two processes
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_job_killed_inside_a_commit_is_found_again_without_naming_the_mailbox(
    maildir: Path, specify: Specify, tmp_path: Path, dry_run: bool
) -> None:
    decrypted = counts(jobs.run(specify("decrypt", maildir)))
    die_inside_a_commit(tmp_path / "job" / "job.db")
    assert (tmp_path / "job" / "job.db-journal").stat().st_size > 0
    if dry_run:
        assert counts(jobs.run(specify("encrypt", None, dry_run=True))) == decrypted
    else:
        assert counts(jobs.run(specify("encrypt", None))) == ENCRYPTED


def test_the_status_of_a_job_killed_inside_a_commit_is_what_was_committed(
    maildir: Path, specify: Specify, tmp_path: Path
) -> None:
    decrypted = counts(jobs.run(specify("decrypt", maildir)))
    die_inside_a_commit(tmp_path / "job" / "job.db")
    assert counts(jobs.status(tmp_path / "job")) == decrypted


# --- nothing is hidden --------------------------------------------------------------------


def test_a_message_whose_name_another_one_has_now_is_lost_not_forgotten(
    maildir: Path, specify: Specify
) -> None:
    jobs.run(specify("decrypt", maildir))
    victim = first_message(maildir)
    victim.unlink()
    victim.write_bytes(CLEAR + b"something else\n")
    wanted = {**ENCRYPTED, State.REENCRYPTED: 4, State.LOST: 1, State.NOT_IN_JOB: 1}
    assert counts(jobs.run(specify("encrypt", maildir))) == wanted


def test_a_lost_message_shows_where_the_others_took_over_each_others_names(
    specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir = tmp_path / "numbers"
    fill(maildir, [Mail("", f"cur/{n}:2,S", encrypted(n, keys.old)) for n in range(1, 5)])
    jobs.run(specify("decrypt", maildir))
    for number in range(2, 5):
        (maildir / "cur" / f"{number}:2,S").replace(maildir / "cur" / f"{number - 1}:2,S")
    summary = jobs.run(specify("encrypt", maildir))
    assert counts(summary) == {State.REENCRYPTED: 3, State.LOST: 1}


def test_a_wrong_mailbox_named_once_leaves_no_lost_messages_behind(
    maildir: Path, specify: Specify, tmp_path: Path
) -> None:
    jobs.run(specify("decrypt", maildir))
    fill(tmp_path / "other", [Mail("", f"cur/{n}.x:2,", CLEAR + b"%d\n" % n) for n in range(4)])
    with pytest.raises(NotThisMailbox):
        jobs.run(specify("encrypt", tmp_path / "other"))
    assert counts(jobs.run(specify("encrypt", maildir))) == ENCRYPTED


def test_new_mail_that_the_user_deletes_is_not_lost(maildir: Path, specify: Specify) -> None:
    jobs.run(specify("decrypt", maildir))
    arrival = maildir / "new" / "1500000000.M1P1.host"
    arrival.write_bytes(CLEAR + b"hello\n")
    assert jobs.run(specify("encrypt", maildir)).counts[State.NOT_IN_JOB] == 1
    arrival.unlink()
    assert counts(jobs.run(specify("encrypt", maildir))) == ENCRYPTED


def test_decrypt_makes_checkpoints_again_that_someone_removed(
    maildir: Path, specify: Specify, tmp_path: Path
) -> None:
    jobs.run(specify("decrypt", maildir))
    checkpoints = tmp_path / "job" / "checkpoints"
    names = {path.name for path in checkpoints.glob("*.eml")}
    shutil.rmtree(checkpoints)
    jobs.run(specify("decrypt", maildir))
    assert {path.name for path in checkpoints.glob("*.eml")} == names
    assert counts(jobs.run(specify("encrypt", maildir))) == ENCRYPTED


class PressedAtOnce:
    def check(self) -> None:
        raise Interrupted("interrupted")


def test_a_later_decrypt_that_was_interrupted_has_to_be_finished_before_encrypting(
    maildir: Path, specify: Specify
) -> None:
    jobs.run(specify("decrypt", maildir))
    with pytest.raises(Interrupted):
        jobs.run(specify("decrypt", maildir), cancel=PressedAtOnce())
    with pytest.raises(UsageError, match="not finished"):
        jobs.run(specify("encrypt", maildir))


# --- what cannot be done, and what is left behind -------------------------------------------


@pytest.fixture
def immovable(maildir: Path) -> Iterator[Path]:
    """A message that nobody can remove, link or rename."""
    path = first_message(maildir)
    chattr = shutil.which("chattr")
    if chattr is None or subprocess.run([chattr, "+i", path], check=False).returncode:
        pytest.skip("files cannot be made immutable here")
    yield path
    subprocess.run(["chattr", "-i", path], check=False)


def test_encrypting_a_part_of_what_was_decrypted_is_not_all_done(
    maildir: Path, specify: Specify
) -> None:
    jobs.run(specify("decrypt", maildir, selection=jobs.Selection(limit=1)))
    summary = jobs.run(specify("encrypt", maildir, partial=True))
    assert summary.counts[State.REENCRYPTED] == 1
    assert summary.exit_code == 3


@pytest.mark.parametrize("operation", ["encrypt", "rewrap"])
def test_an_old_copy_that_cannot_be_removed_gets_one_new_copy_and_is_tried_again(
    operation: str, maildir: Path, specify: Specify, keys: Keys, immovable: Path
) -> None:
    before = checker.meanings(maildir, [keys.old])
    if operation == "encrypt":
        jobs.run(specify("decrypt", maildir))
    spec = specify(operation, maildir, **fitting(operation, {"or_reencrypt": True}))
    done = ENCRYPTED if operation == "encrypt" else EXCHANGED
    stands = State.REENCRYPTED if operation == "encrypt" else State.REWRAPPED
    failed = {**done, stands: done[stands] - 1, State.FAILED: 1}
    assert counts(jobs.run(spec)) == failed
    census = checker.census(maildir)
    assert counts(jobs.run(spec)) == failed
    assert checker.census(maildir) == census
    subprocess.run(["chattr", "-i", immovable], check=True)
    assert counts(jobs.run(spec)) == done
    assert checker.meanings(maildir, [keys.new]) == before


def test_nothing_stays_in_the_spool_where_it_is_not_in_the_mailbox(
    maildir: Path, specify: Specify, tmp_path: Path
) -> None:
    jobs.run(specify("decrypt", maildir))
    (maildir / "tmp").rmdir()
    assert counts(jobs.run(specify("encrypt", maildir))) == ENCRYPTED
    assert list((tmp_path / "job" / "spool").iterdir()) == []


def test_what_an_earlier_run_left_in_the_job_directory_goes_where_the_mailbox_has_room_by_now(
    maildir: Path, specify: Specify, tmp_path: Path
) -> None:
    jobs.run(specify("decrypt", maildir))
    with look_at_job(tmp_path / "job") as job:
        left = tmp_path / "job" / "spool" / f"sectool.{job.name}.1"
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(CLEAR)
    jobs.run(specify("encrypt", maildir))
    assert not left.exists()


def test_no_message_is_encrypted_from_the_checkpoint_of_another_one(
    maildir: Path, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    before = checker.meanings(maildir, [keys.old])
    jobs.run(specify("decrypt", maildir))
    with closing(sqlite3.connect(tmp_path / "job" / "job.db")) as log, log:
        known = "SELECT content_digest FROM part JOIN checkpoint USING (content_digest)"
        one, two = (row[0] for row in log.execute(f"SELECT DISTINCT * FROM ({known}) LIMIT 2"))
        log.execute(
            "UPDATE part SET content_digest = iif(content_digest = ?1, ?2, ?1)"
            " WHERE content_digest IN (?1, ?2)",
            (one, two),
        )
    summary = jobs.run(specify("encrypt", maildir))
    assert summary.exit_code == 16
    assert summary.counts[State.FAILED] >= 2
    assert checker.meanings(maildir, [keys.old, keys.new]) == before


def test_an_original_whose_file_was_renamed_meanwhile_is_copied(tmp_path: Path) -> None:
    store = OriginalStore(tmp_path / "originals")
    store.prepare()
    digest = MessageDigest(sha256(CLEAR).hexdigest())
    assert store.keep([OriginalToKeep(digest, BytesContent(CLEAR))]).refused == {}
    assert store.path(digest).read_bytes() == CLEAR


def test_an_original_whose_name_another_file_has_now_is_copied(tmp_path: Path) -> None:
    store = OriginalStore(tmp_path / "originals")
    store.prepare()
    digest = MessageDigest(sha256(CLEAR).hexdigest())
    (tmp_path / "file").write_bytes(b"another message")
    store.keep(
        [OriginalToKeep(digest, BytesContent(CLEAR), partial(open_regular_file, tmp_path / "file"))]
    )
    assert store.path(digest).read_bytes() == CLEAR
    assert (tmp_path / "file").read_bytes() == b"another message"


@dataclass(frozen=True)
class VanishedContent:
    size: int = 1
    digest: str = "00" * 32

    def open(self) -> object:
        raise MessageVanished("it is gone")


def test_a_message_that_vanished_costs_the_others_no_original(tmp_path: Path) -> None:
    store = OriginalStore(tmp_path / "originals")
    store.prepare()
    digest = MessageDigest(sha256(CLEAR).hexdigest())
    gone = OriginalToKeep("00" * 32, VanishedContent())  # type: ignore[arg-type]
    kept = store.keep([gone, OriginalToKeep(digest, BytesContent(CLEAR))])
    assert list(kept.refused) == ["00" * 32]
    assert store.path(digest).exists()


# --- faults of the disk, by the system call ---------------------------------------------------


FAULTS = [
    ("sync=EIO@9", 1),
    ("sync=EIO@21", 1),
    ("rename=EIO@3+", 1),
    ("rename=EXDEV@4", 3),
    ("unlink=EIO@3", 1),
    ("link=EIO@1+", 3),
    ("write=ENOSPC@20", 17),
    ("write=EDQUOT@20+", 17),
    ("write=EIO@20+", 1),
    ("write=ENOSPC@4..8", 17),
]
"""What an encrypt run meets, and the code it ends with.

The first calls are about ``status.json``, whose failure is no failure of the run.
"""


@dataclass(frozen=True)
class Meeting:
    """A process that meets a fault in the mailbox or the job."""

    process: FaultyProcess
    text: str
    place: Path

    def run(self, code: int, *words: object) -> None:
        """Runs a command, which must end with this code and no traceback."""
        met = fault(self.text, under=(self.place / "Maildir", self.place / "job"))
        ended = self.process.command([*words, "--workers", "0"], self.place, fault=met)
        assert ended.met
        assert ended.code == code, ended.err
        assert "Traceback" not in ended.err


@pytest.mark.parametrize(("text", "code"), FAULTS)
def test_a_disk_fault_loses_nothing_is_told_and_resumes(
    faulty: FaultyProcess,
    maildir: Path,
    specify: Specify,
    keys: Keys,
    tmp_path: Path,
    text: str,
    code: int,
) -> None:
    before = checker.meanings(maildir, [keys.old])
    jobs.run(specify("decrypt", maildir))
    words = ("encrypt", maildir, "--job", tmp_path / "job", "--to", keys.new.certificate)
    Meeting(faulty, text, tmp_path).run(code, *words)
    at_the_fault = checker.meanings(maildir, [keys.old, keys.new])
    for mail, copies in before.items():
        assert copies <= at_the_fault[mail] <= 2 * copies
    assert counts(jobs.run(specify("encrypt", maildir))) == ENCRYPTED
    assert checker.meanings(maildir, [keys.new]) == before
    assert list((maildir / "tmp").iterdir()) == []


IN_REWRAP = [
    ("sync=EIO@9", 1),
    ("rename=EIO@3+", 1),
    ("link=EIO@1+", 3),
    ("write=EDQUOT@20+", 17),
]
"""The same for one that makes its job log in the same run."""


@pytest.mark.parametrize(("text", "code"), IN_REWRAP)
def test_a_disk_fault_in_an_exchange_of_recipients_loses_nothing_is_told_and_resumes(
    faulty: FaultyProcess,
    maildir: Path,
    specify: Specify,
    keys: Keys,
    tmp_path: Path,
    text: str,
    code: int,
) -> None:
    before = checker.meanings(maildir, [keys.old])
    words = ("--or-reencrypt", "--keys", keys.history, "--job", tmp_path / "job")
    to = ("--to", keys.new.certificate)
    Meeting(faulty, text, tmp_path).run(code, "rewrap", maildir, *words, *to)
    at_the_fault = checker.meanings(maildir, [keys.old, keys.new])
    for mail, copies in before.items():
        assert copies <= at_the_fault[mail] <= 2 * copies
    assert counts(jobs.run(specify("rewrap", maildir, or_reencrypt=True))) == EXCHANGED
    assert checker.meanings(maildir, [keys.new]) == before
