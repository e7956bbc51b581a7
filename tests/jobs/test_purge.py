"""purge: goes by what is in the mailbox now, and by nothing less than proof."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

from sectool import jobs
from sectool.errors import NotThisMailbox
from sectool.keys import KeySpecification
from sectool.outcome import State
from sectool.summary import Purged, Summary
from tests.support import checker
from tests.support.crash import killed_at
from tests.support.mailboxes import Keys, Mail, fill
from tests.support.specifications import Specify

OTHERS = {State.CLEAR: 1, State.MISSING_KEY: 1, State.MALFORMED: 1}
VERIFIED = {**OTHERS, State.VERIFIED: 5}
PURGED = (VERIFIED, 5)
REENCRYPTED = {**OTHERS, State.REENCRYPTED: 5}


def counts(summary: Summary) -> dict[State, int]:
    assert sum(summary.counts.values()) == summary.messages
    return {state: count for state, count in summary.counts.items() if count}


def told(summary: Summary) -> tuple[dict[State, int], int]:
    """The states of the messages, and of how many the job data were removed."""
    return counts(summary), summary.job_data_removed


def files(job: Path) -> tuple[int, int]:
    """How many checkpoints and originals there are."""
    return (
        len(list((job / "checkpoints").glob("*.eml"))),
        len(list((job / "originals").glob("*.eml"))),
    )


def dump(job: Path) -> list[str]:
    """Everything that stands in the job log but the number of its runs."""
    connection = sqlite3.connect(job / "job.db")
    try:
        return [line for line in connection.iterdump() if "'generation'" not in line]
    finally:
        connection.close()


@pytest.fixture
def new(keys: Keys) -> KeySpecification:
    return KeySpecification((keys.new.certificate, keys.new.private_key))


@pytest.fixture
def encrypted_job(maildir: Path, specify: Specify, tmp_path: Path) -> Path:
    jobs.run(specify("decrypt", maildir))
    jobs.run(specify("encrypt", maildir))
    return tmp_path / "job"


def message(maildir: Path, number: int) -> Path:
    wanted = b"Message-ID: <%d@example.org>" % number
    return next(p for p in maildir.rglob("cur/*") if wanted in p.read_bytes())


@pytest.mark.parametrize("workers", [0, 2])
def test_what_was_opened_with_the_new_key_is_purged(
    encrypted_job: Path, maildir: Path, specify: Specify, new: KeySpecification, workers: int
) -> None:
    census = checker.census(maildir)
    summary = jobs.run(specify("purge", None, verify_keys=new, workers=workers))
    assert told(summary) == PURGED
    assert (summary.purged.checkpoints, summary.purged.originals, summary.purged.kept) == (4, 5, 0)
    assert files(encrypted_job) == (0, 0)
    assert checker.census(maildir) == census


def test_a_proof_of_an_earlier_verify_counts(
    encrypted_job: Path, specify: Specify, new: KeySpecification
) -> None:
    jobs.run(specify("verify", None, verify_keys=new))
    assert told(jobs.run(specify("purge", None))) == PURGED


def test_without_a_proof_nothing_goes(encrypted_job: Path, specify: Specify) -> None:
    summary = jobs.run(specify("purge", None))
    assert counts(summary) == REENCRYPTED
    assert summary.purged == Purged(kept=9)
    assert summary.exit_code == 3
    assert files(encrypted_job) == (4, 5)


def test_an_unproven_message_is_purged_where_that_is_accepted(
    encrypted_job: Path, specify: Specify
) -> None:
    summary = jobs.run(specify("purge", None, accept_unproven=True))
    assert told(summary) == (REENCRYPTED, 5)
    assert files(encrypted_job) == (0, 0)


def test_mail_the_new_key_does_not_open_keeps_everything(
    maildir: Path, specify: Specify, keys: Keys, new: KeySpecification, tmp_path: Path
) -> None:
    jobs.run(specify("decrypt", maildir))
    jobs.run(specify("encrypt", maildir, new_certificates=(keys.stranger.certificate,)))
    summary = jobs.run(specify("purge", None, verify_keys=new, accept_unproven=True))
    assert counts(summary) == {**OTHERS, State.FAILED: 5}
    assert files(tmp_path / "job") == (4, 5)


def test_a_message_that_was_never_read_keeps_no_others_files(
    maildir: Path, specify: Specify, new: KeySpecification
) -> None:
    """Beyond a limit, and moved since with the mailbox, so that even its hint is another."""
    path = maildir / "cur" / "1300000099.M9P1.host:2,S"
    path.write_bytes(b"From: a@example.org\n\n")
    os.truncate(path, 10 * 1000**3)
    for operation in ("decrypt", "encrypt"):
        jobs.run(specify(operation, maildir))
    os.utime(path)
    summary = jobs.run(specify("purge", None, verify_keys=new))
    assert told(summary) == ({**VERIFIED, State.UNSUPPORTED: 1}, 5)


def make_older(job: Path, days: int, *, messages: int) -> None:
    """As if so many messages had been replaced earlier; first those that share no checkpoint."""
    with contextlib.closing(sqlite3.connect(job / "job.db")) as connection, connection:
        connection.execute(
            "UPDATE step SET at = at - ? WHERE message IN (SELECT message FROM message"
            " WHERE replaced ORDER BY (SELECT count(*) FROM part AS own JOIN part AS same"
            " USING (content_digest) WHERE own.message = message.message) LIMIT ?)",
            (days * 86_400 * 10**6, messages),
        )


@pytest.mark.parametrize(
    ("older", "gone", "kept"),
    [(0, (0, 0), 9), (4, (3, 4), 2), (5, (4, 5), 0)],
    ids=["none", "all but one that has the checkpoint of another", "all"],
)
def test_what_was_replaced_lately_is_kept_for_its_age(
    encrypted_job: Path,
    specify: Specify,
    new: KeySpecification,
    older: int,
    gone: tuple[int, int],
    kept: int,
) -> None:
    make_older(encrypted_job, 31, messages=older)
    age = timedelta(days=30)
    for dry_run in (True, False):
        summary = jobs.run(specify("purge", None, verify_keys=new, older_than=age, dry_run=dry_run))
        purged = summary.purged
        assert (purged.checkpoints, purged.originals) == gone
        assert (purged.kept, purged.too_young) == (kept, kept)
        assert summary.failure_code == 0, "what is young is no fault"
    assert files(encrypted_job) == (4 - gone[0], 5 - gone[1])


def test_what_stays_for_another_reason_is_not_called_young(
    encrypted_job: Path, specify: Specify
) -> None:
    summary = jobs.run(specify("purge", None, older_than=timedelta(days=30)))
    assert (summary.purged.kept, summary.purged.too_young) == (9, 0)
    assert summary.failure_code == 3
    assert files(encrypted_job) == (4, 5)


def test_a_second_purge_changes_nothing(
    encrypted_job: Path, specify: Specify, new: KeySpecification
) -> None:
    jobs.run(specify("purge", None, verify_keys=new))
    log = dump(encrypted_job)
    summary = jobs.run(specify("purge", None))
    assert told(summary) == PURGED
    assert summary.purged == Purged()
    assert dump(encrypted_job) == log


def test_a_dry_run_of_purge_tells_what_would_go_and_removes_nothing(
    encrypted_job: Path, specify: Specify, new: KeySpecification, tmp_path: Path
) -> None:
    census = checker.census(tmp_path)
    summary = jobs.run(specify("purge", None, verify_keys=new, dry_run=True))
    kept = [*(encrypted_job / "checkpoints").glob("*.eml")]
    kept += (encrypted_job / "originals").glob("*.eml")
    size = sum(path.stat().st_size for path in kept)
    assert summary.purged == Purged(4, 5, size, is_rehearsal=True)
    assert checker.census(tmp_path) == census


def test_a_message_that_is_not_there_now_keeps_its_files(
    encrypted_job: Path, maildir: Path, specify: Specify, new: KeySpecification
) -> None:
    jobs.run(specify("verify", None, verify_keys=new))
    message(maildir, 1).unlink()
    summary = jobs.run(specify("purge", None))
    assert told(summary) == ({**VERIFIED, State.VERIFIED: 4, State.LOST: 1}, 4)
    assert files(encrypted_job) == (1, 1)


def test_a_message_that_changed_since_it_was_opened_keeps_its_files(
    encrypted_job: Path, maildir: Path, specify: Specify, new: KeySpecification
) -> None:
    jobs.run(specify("verify", None, verify_keys=new))
    path = message(maildir, 1)
    status = path.stat()
    with path.open("r+b") as stream:
        stream.seek(-200, os.SEEK_END)
        stream.write(b"AAAA")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    summary = jobs.run(specify("purge", None))
    assert told(summary) == ({**VERIFIED, State.VERIFIED: 4, State.CHANGED: 1}, 4)
    assert files(encrypted_job) == (1, 1)


def test_a_checkpoint_that_two_messages_share_stays_while_one_needs_it(
    maildir: Path, specify: Specify, new: KeySpecification, tmp_path: Path
) -> None:
    jobs.run(specify("decrypt", maildir))
    jobs.run(specify("encrypt", maildir, selection=jobs.Selection(folder="Sent")))
    summary = jobs.run(specify("purge", None, verify_keys=new))
    assert told(summary) == ({**OTHERS, State.VERIFIED: 1, State.CHECKPOINTED: 4}, 1)
    assert files(tmp_path / "job") == (4, 0)
    done = told(jobs.run(specify("encrypt", None)))
    assert done == ({**OTHERS, State.VERIFIED: 1, State.REENCRYPTED: 4}, 1)
    assert told(jobs.run(specify("purge", None, verify_keys=new))) == PURGED
    assert files(tmp_path / "job") == (0, 0)


def test_what_was_not_replaced_goes_only_when_it_is_abandoned(
    maildir: Path, specify: Specify, tmp_path: Path
) -> None:
    jobs.run(specify("decrypt", maildir))
    summary = jobs.run(specify("purge", None, accept_unproven=True))
    assert counts(summary) == {**OTHERS, State.CHECKPOINTED: 5}
    assert files(tmp_path / "job") == (4, 0)
    summary = jobs.run(specify("purge", None, abandon=True))
    assert told(summary) == ({**OTHERS, State.READABLE: 5}, 5)
    assert files(tmp_path / "job") == (0, 0)


def test_what_was_abandoned_can_be_decrypted_again(
    maildir: Path, specify: Specify, keys: Keys
) -> None:
    before = checker.meanings(maildir, [keys.old])
    jobs.run(specify("decrypt", maildir))
    jobs.run(specify("purge", None, abandon=True))
    summary = jobs.run(specify("encrypt", None))
    assert told(summary) == ({**OTHERS, State.READABLE: 5}, 5)
    assert summary.exit_code == 3
    assert told(jobs.run(specify("decrypt", maildir))) == ({**OTHERS, State.CHECKPOINTED: 5}, 0)
    assert counts(jobs.run(specify("encrypt", None))) == REENCRYPTED
    assert checker.meanings(maildir, [keys.new]) == before


def test_after_a_rollback_the_originals_go_and_the_checkpoints_stay(
    encrypted_job: Path, maildir: Path, specify: Specify, keys: Keys
) -> None:
    jobs.run(specify("rollback", None))
    census = checker.census(maildir)
    summary = jobs.run(specify("purge", None))
    assert counts(summary) == {**OTHERS, State.ROLLED_BACK: 5}
    assert files(encrypted_job) == (4, 0)
    assert checker.census(maildir) == census
    jobs.run(specify("decrypt", maildir))
    assert counts(jobs.run(specify("encrypt", None))) == REENCRYPTED
    assert counts(jobs.run(specify("rollback", None))) == {**OTHERS, State.ROLLED_BACK: 5}


# --- later commands ---------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["decrypt", "encrypt", "verify"])
def test_later_commands_say_purged_and_change_nothing(
    encrypted_job: Path, maildir: Path, specify: Specify, new: KeySpecification, operation: str
) -> None:
    jobs.run(specify("purge", None, verify_keys=new))
    census = checker.census(maildir)
    summary = jobs.run(specify(operation, maildir))
    assert told(summary) == PURGED
    assert summary.exit_code == 3  # for the others
    assert checker.census(maildir) == census
    assert told(jobs.status(encrypted_job)) == PURGED


def test_a_purged_message_cannot_be_rolled_back_and_that_is_told(
    encrypted_job: Path, maildir: Path, specify: Specify, new: KeySpecification
) -> None:
    jobs.run(specify("purge", None, verify_keys=new))
    census = checker.census(maildir)
    summary = jobs.run(specify("rollback", None))
    assert told(summary) == PURGED
    assert summary.exit_code == 3
    assert checker.census(maildir) == census
    assert told(jobs.run(specify("encrypt", None))) == PURGED  # the job is not closed


def test_an_old_copy_restored_after_the_purge_needs_its_old_key(
    encrypted_job: Path, maildir: Path, specify: Specify, sample: list[Mail], new: KeySpecification
) -> None:
    jobs.run(specify("purge", None, verify_keys=new))
    message(maildir, 1).unlink()
    fill(maildir, sample[:1])
    summary = jobs.run(specify("verify", None))
    wanted = {**VERIFIED, State.VERIFIED: 4, State.LOST: 1, State.OLD_KEY: 1}
    assert told(summary) == (wanted, 5)


def test_a_wrong_mailbox_purges_nothing(
    encrypted_job: Path, specify: Specify, tmp_path: Path, new: KeySpecification
) -> None:
    jobs.run(specify("verify", None, verify_keys=new))
    fill(tmp_path / "other", [])
    with pytest.raises(NotThisMailbox):
        jobs.run(specify("purge", tmp_path / "other"))
    assert files(encrypted_job) == (4, 5)


def test_what_a_kill_left_that_the_log_has_not_goes_once_nothing_else_is_kept(
    maildir: Path, specify: Specify, tmp_path: Path
) -> None:
    """No later run meets a message that its owner removed in between."""
    mail = {path: path.read_bytes() for path in maildir.rglob("cur/*")}
    killed_at(specify("decrypt", maildir), "checkpoint.directory.after")
    for path in mail:
        path.unlink()
    left = files(tmp_path / "job")
    assert left == (4, 0)
    would = jobs.run(specify("purge", maildir, partial=True, dry_run=True)).purged
    assert (would.checkpoints, would.kept, files(tmp_path / "job")) == (4, 0, left)
    assert jobs.run(specify("purge", maildir, partial=True)).purged.checkpoints == 4
    assert files(tmp_path / "job") == (0, 0)

    for path, raw in mail.items():
        path.write_bytes(raw)
    jobs.run(specify("decrypt", maildir))
    killed_at(specify("encrypt", maildir), "original.directory.after")
    for path in mail:
        path.unlink()
    left = files(tmp_path / "job")
    assert left == (4, 5)
    summary = jobs.run(specify("purge", maildir, partial=True))
    assert (summary.purged.kept, summary.failure_code, files(tmp_path / "job")) == (9, 3, left)
    assert jobs.run(specify("purge", maildir, partial=True, abandon=True)).purged.originals == 5
    assert files(tmp_path / "job") == (0, 0)
